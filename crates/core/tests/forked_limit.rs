//! A limit in a forked child, which has none of the threads that keep its parent's.
#![cfg(all(unix, not(loom)))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    future::pending,
    process,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use fork::{Fork, WIFSIGNALED, WTERMSIG, fork, waitpid};
use futures::executor::block_on;
use rustix::process::{Pid, Signal, getpid, kill_process};
use sundown::limit::within;

/// Longer than anything here takes.
const PLENTY: Duration = Duration::from_secs(20);

fn a_limit_passes() -> bool {
    block_on(within(Duration::from_millis(5), pending::<()>())).is_none()
}

/// What a child does must be true, and must end. It is killed in the end, which tells how it went: an
/// orderly exit takes locks that a thread of the parent may have held.
fn in_a_child(does: impl FnOnce() -> bool) -> bool {
    match fork().unwrap() {
        Fork::Child => {
            let signal = if does() { Signal::KILL } else { Signal::ABORT };
            let _ = kill_process(getpid(), signal);
            process::abort();
        }
        Fork::Parent(child) => {
            let (told, is_told) = mpsc::channel();
            let waiting = thread::spawn(move || told.send(waitpid(child).unwrap()));
            let ended = is_told.recv_timeout(PLENTY);
            if ended.is_err() {
                let _ = kill_process(Pid::from_raw(child).unwrap(), Signal::ABORT);
            }
            let _ = waiting.join();
            ended.is_ok_and(|status| {
                WIFSIGNALED(status) && WTERMSIG(status) == Signal::KILL.as_raw()
            })
        }
    }
}

#[test]
fn a_forked_child_keeps_limits_whatever_its_parents_clock_was_doing() {
    let enough = AtomicBool::new(false);
    thread::scope(|scope| {
        // Its clock runs all the time, and its lock is held now and then.
        for _ in 0..2 {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let far = within(PLENTY, pending::<()>());
                    assert_eq!(block_on(within(Duration::from_micros(50), far)), None);
                }
            });
        }
        assert!(a_limit_passes());
        let kept = (0..50).all(|_| in_a_child(a_limit_passes));
        let nested = in_a_child(|| a_limit_passes() && in_a_child(a_limit_passes));
        enough.store(true, Ordering::Relaxed);
        assert!(kept, "a child kept no limit");
        assert!(nested, "a child of a child kept none");
    });
}
