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
mod life;
mod roster;
mod signals;

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    // Not loom's: these count its interleavings from outside.
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use loom::model::Builder;

/// How far a model is explored.
#[derive(Clone, Copy)]
enum Bound {
    /// Every interleaving.
    Full,
    /// Those with at most three preemptions.
    Three,
}

/// Explores a model, and prints what that took.
fn explore(name: &str, bound: Bound, model: impl Fn() + Send + Sync + 'static) {
    let began = Instant::now();
    let explored = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&explored);
    let mut builder = Builder::new();
    let bounded = match bound {
        Bound::Full => "unbounded",
        Bound::Three => {
            builder.preemption_bound = Some(3);
            "at most 3 preemptions"
        }
    };
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let explored = explored.load(Ordering::Relaxed);
    println!("model {name}: {explored} interleavings, {bounded}, {:.2?}", began.elapsed());
}

/// Explores a broken twin, which loom must catch.
fn must_be_caught(name: &str, says: &str, model: impl Fn() + Send + Sync + 'static) {
    let began = Instant::now();
    let caught = catch_unwind(AssertUnwindSafe(|| Builder::new().check(model)));
    let payload = caught.expect_err("the model cannot fail: loom did not catch its broken twin");
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or_default();
    assert!(text.contains(says), "caught for another reason: {text}");
    println!("twin {name}: caught, {:.2?}", began.elapsed());
}

/// Polls with a waker that wakes nobody: what is registered by it has to be replaced.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}
