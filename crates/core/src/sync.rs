//! One switch between `std` and `loom`, so that the models in `tests/loom` check the shipped source.
//!
//! With `--cfg shuttle` in addition, shuttle runs the models by random schedules, with more threads
//! than loom can explore.

#[cfg(all(loom, not(shuttle)))]
pub(crate) use loom::{thread, thread_local};
#[cfg(shuttle)]
pub(crate) use shuttle::{thread, thread_local};
#[cfg(not(loom))]
pub(crate) use std::thread;

// ANCHOR: switch
#[cfg(all(loom, not(shuttle)))]
pub(crate) use loom::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
};
#[cfg(shuttle)]
pub(crate) use shuttle::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
};
#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc, Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
};
// ANCHOR_END: switch

use std::sync::PoisonError;

/// Locks a mutex, even if a thread panicked while it held the lock.
///
/// No code of ours panics under a lock, and foreign wakers and destructors run only after it is
/// released. So what the lock guards is whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
