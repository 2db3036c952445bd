//! Every interleaving of the primitives, explored by loom on the shipped source.
//!
//! `cargo xtask loom` runs this and prints how many interleavings were explored. By hand, without a
//! table: `RUSTFLAGS="--cfg loom" cargo test -p core --release --test loom`.
//!
//! Models of two threads are explored in full, except those in which a task awaits the stop, and those of
//! a lifecycle that is shut down: for those, several minutes were not enough. They and all larger models are
//! explored with at most three preemptions, and their line says so. Loom knows no time: a limit is
//! never reached, and a timeout is modelled by a thread that races.
//!
//! A model that cannot fail shows nothing. So each has a broken twin beside it, which makes the mistake
//! that the shipped code avoids, and which loom must catch.
#![cfg(all(loom, not(shuttle)))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a model fails by panicking")]

mod callers;
mod clock;
mod closing_service;
mod entry_gate;
mod explore;
mod grace;
mod handle_count;
mod lifecycle;
mod pattern;
mod primitives;
mod quiet;
mod roll_call;
mod task_set;
mod twins;
mod wakers;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc as StdArc,
    task::{Context, Poll, Waker},
};

use loom::{sync::Arc, thread};
use sundown::{
    stop::Stop,
    task_set::{Label, Member, Place, SpawnedBy, TaskSet},
};

use explore::{Bound, explore, must_be_caught};

/// Runs `other` on a thread of its own, with a clone of `shared`.
fn beside<S, R>(shared: &S, other: impl FnOnce(S) -> R + 'static) -> thread::JoinHandle<R>
where
    S: Clone + 'static,
    R: 'static,
{
    let shared = shared.clone();
    thread::spawn(move || other(shared))
}

/// What several threads share.
fn shared<T: Default>() -> Arc<T> {
    Arc::default()
}

/// Polls with a waker that wakes nobody: what it registers has to be replaced.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A task that is spawned from outside, to be polled by a thread of the model. `None` if it is refused.
fn member<W, F>(tasks: &StdArc<TaskSet>, work: W) -> Option<Member<W, F>>
where
    W: FnOnce(Stop) -> F,
    F: Future<Output = ()>,
{
    let place = Place::new(tasks, Label::new("task"), SpawnedBy::Outsider).ok()?;
    Some(Member::new(place, work))
}
