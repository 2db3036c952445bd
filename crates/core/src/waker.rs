//! Wakers are foreign code: cloning, waking or dropping one may panic, block, or call back into the kit.
//!
//! Call these helpers without a lock. They catch each panic, after the panic hook has reported it, so
//! that one bad waker loses no other waiter and ends no thread of the kit. A waker that blocks blocks
//! its caller. `Waker::will_wake` only compares pointers, so it may be called anywhere.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::Waker,
};

use crate::panics;

/// Wakes a waker.
pub(crate) fn wake(waker: Waker) {
    contain(|| waker.wake());
}

/// Wakes all wakers, in order. A waker that panics keeps none of the others from being woken.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(wake);
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
        wake_all(wakers);
        assert_eq!(counts.0.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_waker_whose_destructor_panics_is_dropped() {
        let counts = Arc::new(Counts::default());
        discard([Waker::from(Arc::new(PanicsInDrop)), Waker::from(Arc::clone(&counts))]);
        assert_eq!(Arc::strong_count(&counts), 1);
    }
}
