//! One switch between `std` and `loom`: the models of `tests/loom` check the shipped source.
//!
//! With `--cfg shuttle` besides, it is shuttle that runs them, by random schedules: for numbers of
//! threads that loom cannot explore in full.

#[cfg(all(loom, not(shuttle)))]
pub(crate) use loom::thread_local;
#[cfg(shuttle)]
pub(crate) use shuttle::thread_local;

// ANCHOR: switch
#[cfg(all(loom, not(shuttle)))]
pub(crate) use loom::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering},
};
// ANCHOR_END: switch

use std::sync::PoisonError;

/// Locks, whether a thread panicked while it held the lock or not.
///
/// Nothing of ours panics under a lock, and wakers and destructors of others are called only after
/// it: what it guards is whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
