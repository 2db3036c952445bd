//! Runtimes that are owned, on both flavours. Nothing here waits by sleeping.
#![cfg(not(loom))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod block_on;
mod callers;
mod drops;
mod ending;
mod starting;
#[path = "../tasks/told.rs"]
mod told;

use std::{
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use sundown::runtime::{RuntimeBuilder, RuntimeOwner};
use told::told;

/// Far longer than anything here takes, on a machine that may be busy.
const PLENTY: Duration = Duration::from_secs(60);

/// So short that what does not end by itself is dropped. Whether that takes effect within the limit
/// is up to the machine; that it takes effect is not.
const SHORT: Duration = Duration::from_millis(20);

/// A test on either flavour. What it is given is not named twice: threads are told by name.
fn both_flavours(name: &str, test: impl Fn(RuntimeBuilder)) {
    test(RuntimeOwner::builder(format!("{name}-c")).current_thread());
    test(RuntimeOwner::builder(format!("{name}-m")).workers(2));
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PLENTY, "it never came: {what}");
        thread::yield_now();
    }
}

/// What blocks until it is let go.
struct Stuck {
    let_go: mpsc::Sender<()>,
    has_begun: mpsc::Receiver<()>,
}

fn stuck() -> (Stuck, impl FnOnce() + Send + 'static) {
    let ((let_go, is_let_go), (begun, has_begun)) = (mpsc::channel(), mpsc::channel());
    let blocks = move || {
        begun.send(()).unwrap();
        let _ = is_let_go.recv();
    };
    (Stuck { let_go, has_begun }, blocks)
}

/// On Linux they can be counted from outside.
fn no_thread_is_left(component: &str) {
    if !cfg!(target_os = "linux") {
        return;
    }
    until("the last thread", || threads(component) == 0);
}

fn threads(component: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with(component)).count()
}
