//! Evidence from the system: it finds what is open, whatever its name, and confirms only what it saw.
#![cfg(target_os = "linux")]

mod open_files;
mod others;
mod random;

use std::sync::{Mutex, MutexGuard, PoisonError};

use sundown::evidence::{Evidence, Unconfirmed};

/// Tests that delete open files take this. For evidence on a directory that is gone, a deleted file of
/// another test may have been in it.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[track_caller]
fn against(evidence: &impl Evidence) -> String {
    match evidence.check() {
        Err(Unconfirmed::Against(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn unavailable(evidence: &impl Evidence) -> String {
    match evidence.check() {
        Err(Unconfirmed::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn confirmed(evidence: &impl Evidence) {
    assert_eq!(evidence.check(), Ok(()));
}
