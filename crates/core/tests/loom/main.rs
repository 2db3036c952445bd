//! Every interleaving of the signals, explored by loom on the shipped source.
//!
//! `cargo xtask loom` runs this and prints how many interleavings were explored; so does, without
//! a table, `RUSTFLAGS="--cfg loom" cargo test -p core --release --test loom`. Models of two threads
//! are explored in full, except for those of the crew in which a member awaits the stop, and that of
//! a life with a guest: where that was tried, several minutes were not enough. Those and all larger ones are explored with at most
//! three preemptions, and their line says so. Loom knows no time: a limit is
//! never reached, and a timeout is modelled by a thread that races.
//!
//! A model that cannot fail shows nothing. So each has a broken twin beside it, which makes the
//! mistake that the shipped code avoids, and which loom must catch.
#![cfg(all(loom, not(shuttle)))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a model fails by panicking")]

mod crew;
mod entry;
mod explore;
mod life;
mod roster;
mod signals;

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use explore::{Bound, explore, must_be_caught};

/// Polls with a waker that wakes nobody: what is registered by it has to be replaced.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}
