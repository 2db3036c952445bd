//! Wakers are foreign code: cloning, waking or dropping one may panic, block, or call back into the kit.
//!
//! Call these helpers without a lock. They catch each panic, after the panic hook has reported it, so
//! that one bad waker loses no other waiter and ends no thread of the kit. `Waker::will_wake` only compares
//! pointers, so it may be called anywhere.

mod helpers;
#[cfg(not(loom))]
mod threads;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::Waker,
};

use crate::panics;

pub use helpers::Helpers;
pub(crate) use helpers::{ToWake, Wakers};
use threads::is_known;
#[cfg(not(loom))]
pub(crate) use threads::{THREAD, is_helper_here};

/// Models know only those that wake nobody, and call all wakers in place.
#[cfg(loom)]
mod threads {
    use super::{ToWake, Waker};

    pub(super) fn is_known(waker: &Waker) -> bool {
        waker.will_wake(Waker::noop())
    }

    pub(super) fn wake<'a>(all: impl Iterator<Item = ToWake<'a>>) {
        // As on threads: those that cannot block are called one component after another.
        for mut of_one in all {
            super::wake_all_in_place(std::mem::take(&mut of_one.wakers));
        }
    }
}

/// Wakes all wakers. None keeps another from being woken, and all together do not keep this thread for much
/// longer than 50 ms. Call this when everything else has been done.
pub(crate) fn wake<'a>(all: impl IntoIterator<Item = ToWake<'a>>) {
    threads::wake(all.into_iter());
}

/// Wakes a waker on this thread, which it blocks if it blocks. Returns none.
pub(crate) fn wake_in_place(waker: Waker) -> Option<Waker> {
    contain(|| waker.wake());
    None
}

/// Wakes all wakers on this thread, in order. A waker that panics keeps none of the others from being woken.
pub(crate) fn wake_all_in_place(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(|waker| _ = wake_in_place(waker));
}

/// Clones the waker of the task that is being polled. If `clone` panics, this wakes the task through
/// the original and returns `None`: return `Pending`, and the task will be polled again.
pub(crate) fn clone(waker: &Waker) -> Option<Waker> {
    let clone = contain(|| waker.clone());
    if clone.is_none() {
        contain(|| waker.wake_by_ref());
    }
    clone
}

/// Drops wakers that need not be woken.
pub(crate) fn discard(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(|waker| {
        contain(|| drop(waker));
    });
}

/// Runs code of a waker, and drops the payload of its panic.
fn contain<R>(code: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(code)).map_err(panics::discard).ok()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        panic::resume_unwind,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    /// Panics when it is dropped.
    struct PanicsInDrop;

    impl Drop for PanicsInDrop {
        fn drop(&mut self) {
            resume_unwind(Box::new("dropped"));
        }
    }

    impl Wake for PanicsInDrop {
        fn wake(self: Arc<Self>) {}
    }

    /// Panics when it is woken, and the payload's destructor panics, too.
    struct PanicsInWake;

    impl Wake for PanicsInWake {
        fn wake(self: Arc<Self>) {
            resume_unwind(Box::new(PanicsInDrop));
        }
    }

    #[derive(Default)]
    struct Counts(AtomicUsize);

    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_waker_that_panics_keeps_none_from_being_woken() {
        let counts = Arc::new(Counts::default());
        let wakers = [0, 1, 2].map(|at| match at {
            1 => Waker::from(Arc::new(PanicsInWake)),
            _ => Waker::from(Arc::clone(&counts)),
        });
        wake([ToWake::new(None, wakers.into_iter().collect())]);
        assert_eq!(counts.0.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_waker_whose_destructor_panics_is_dropped() {
        let counts = Arc::new(Counts::default());
        discard([Waker::from(Arc::new(PanicsInDrop)), Waker::from(Arc::clone(&counts))]);
        assert_eq!(Arc::strong_count(&counts), 1);
    }
}
