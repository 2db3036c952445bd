//! Runtimes that are owned, on both flavours.

mod block_on;
mod callers;
mod drops;
mod ending;
mod foreign;
mod rest;
mod starting;

use std::future::pending;

use sundown::runtime::{RuntimeBuilder, RuntimeOwner};

use crate::fixtures::{owned, until};

/// A test on either flavour. No two tests share a name: threads are found by name.
fn on_both_flavours(name: &str, test: impl Fn(RuntimeBuilder)) {
    test(RuntimeOwner::builder(format!("{name}-c")).current_thread());
    test(RuntimeOwner::builder(format!("{name}-m")).workers(2));
}

/// Spawns a task that does not listen to its signal, and returns whether it has been dropped.
fn spawn_deaf(owner: &RuntimeOwner) -> impl Fn() -> bool + Clone + Send + Sync + use<> {
    let (owned, is_dropped) = owned();
    drop(owner.spawn("deaf", |_| async move {
        let _owned = owned;
        pending::<()>().await;
    }));
    is_dropped
}

/// On Linux, threads can be counted from outside.
fn no_thread_is_left(component: &str) {
    if cfg!(target_os = "linux") {
        until("the end of the last thread", || threads(component) == 0);
    }
}

fn threads(component: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with(component)).count()
}
