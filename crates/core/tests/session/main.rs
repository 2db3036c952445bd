//! Sessions: wherever the last handle dies, whatever the destructor does then, and what closing tells.
#![cfg(not(loom))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod closing;
mod destructors;
mod evidence;
#[cfg(unix)]
mod forked;
mod handles;
mod properties;
mod runtime;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sundown::session::{Held, Session};
use tokio::{
    runtime::{Builder, Runtime},
    task::spawn_blocking,
};

/// Far longer than anything here takes, on a machine that may be busy.
const PLENTY: Duration = Duration::from_secs(60);

/// Not enough for what does not end.
const SHORT: Duration = Duration::from_millis(50);

/// Enough for a teardown and a check that answers, on a machine that may be busy. It is used up where
/// the answer is no.
const ENOUGH: Duration = Duration::from_secs(1);

/// Does something when it is dropped.
struct OnDrop<F: FnOnce()>(Option<F>);

fn on_drop<F: FnOnce()>(what: F) -> OnDrop<F> {
    OnDrop(Some(what))
}

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(what) = self.0.take() {
            what();
        }
    }
}

/// A value like a pool: its destructor needs a context, and posts two closers.
struct Pool {
    closed: Arc<AtomicUsize>,
}

impl Drop for Pool {
    fn drop(&mut self) {
        for _ in 0..2 {
            let closed = Arc::clone(&self.closed);
            spawn_blocking(move || closed.fetch_add(1, Ordering::SeqCst));
        }
    }
}

fn pool() -> (Pool, impl Fn() -> usize) {
    let closed = Arc::new(AtomicUsize::new(0));
    (Pool { closed: Arc::clone(&closed) }, move || closed.load(Ordering::SeqCst))
}

fn session() -> Session {
    Session::new("test").unwrap()
}

/// Neither has a time driver.
fn both_flavours(test: impl Fn(&Runtime)) {
    test(&Builder::new_current_thread().build().unwrap());
    test(&Builder::new_multi_thread().worker_threads(2).build().unwrap());
}

fn handles(held: &[Held]) -> usize {
    held.iter().map(|held| held.handles).sum()
}
