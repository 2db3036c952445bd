//! A signal that is given once, to any number of waiters.
//!
//! `tokio::sync::Notify` wakes whoever waits *now*: who comes later waits for the next time, and a
//! plain thread cannot wait for it at all. A latch stays open: who comes later passes.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::{
    blocking,
    sync::{AtomicBool, Mutex, Ordering, lock},
};

/// Fires once, and wakes all who wait, in async code of any executor and on plain threads.
///
/// ```
/// use std::{sync::Arc, thread, time::Duration};
/// use sundown::latch::Latch;
///
/// let latch = Arc::new(Latch::new());
/// let waiter = thread::spawn({
///     let latch = Arc::clone(&latch);
///     move || latch.wait_blocking(Duration::from_secs(5))
/// });
/// assert!(latch.fire(), "this call fired it");
/// assert!(waiter.join().unwrap(), "the waiter was told in time");
/// assert!(latch.wait_blocking(Duration::ZERO), "who comes later passes");
/// ```
pub struct Latch {
    fired: AtomicBool,
    waiters: Mutex<Waiters>,
}

/// Who waits. Registered only while the latch has not fired, under the lock.
struct Waiters {
    slots: Vec<Slot>,
    /// The first of the free slots, each of which names the next; [`NONE`] where there is none.
    free: usize,
}

/// No larger than a waker: a hundred thousand of them may wait.
enum Slot {
    Taken(Waker),
    Free { next: usize },
}

/// What names no slot.
const NONE: usize = usize::MAX;

impl Latch {
    /// A latch that has not fired.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self { fired: AtomicBool::new(false), waiters: Mutex::new(Waiters::NOBODY) }
    }

    /// A latch that has not fired.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self { fired: AtomicBool::new(false), waiters: Mutex::new(Waiters::NOBODY) }
    }

    /// Fires, and wakes all who wait, in the order in which they came. Returns whether *this* call
    /// fired it: true exactly once.
    ///
    /// What the firing thread did before is visible to whoever is woken or passes. Wakers run on
    /// this thread; those of an executor only put a task into its queue.
    pub fn fire(&self) -> bool {
        // Release publishes what was done before, to those who pass without the lock; Acquire lets
        // a loser see what the winner did.
        if self.fired.swap(true, Ordering::AcqRel) {
            return false;
        }
        // Whoever registered did so before this lock, and is in here; whoever comes after it finds
        // the latch fired, because this lock was held after it was.
        let slots = mem::take(&mut lock(&self.waiters).slots);
        for slot in slots {
            if let Slot::Taken(waker) = slot {
                waker.wake();
            }
        }
        true
    }

    /// Whether it has fired.
    #[must_use]
    pub fn has_fired(&self) -> bool {
        // Pairs with the release in `fire`.
        self.fired.load(Ordering::Acquire)
    }

    /// Waits in async code until the latch has fired. Dropping the future leaves nothing behind.
    pub const fn wait(&self) -> Wait<'_> {
        Wait { latch: self, slot: None }
    }

    /// Waits on this thread, for at most so long; a limit of zero looks once, [`Duration::MAX`] is
    /// no limit. Returns whether the latch has fired. On a runtime's worker it blocks that worker:
    /// there, `.await` [`Latch::wait`].
    #[must_use]
    pub fn wait_blocking(&self, limit: Duration) -> bool {
        self.has_fired() || blocking::wait(self.wait(), limit).is_some()
    }
}

impl Waiters {
    const NOBODY: Self = Self { slots: Vec::new(), free: NONE };

    fn insert(&mut self, waker: Waker) -> usize {
        let at = self.free;
        match self.slots.get_mut(at) {
            Some(slot) => {
                if let Slot::Free { next } = mem::replace(slot, Slot::Taken(waker)) {
                    self.free = next;
                }
                at
            }
            None => {
                self.slots.push(Slot::Taken(waker));
                self.slots.len() - 1
            }
        }
    }

    /// Frees a slot. After the latch has fired there are none.
    fn remove(&mut self, at: usize) -> Option<Slot> {
        let slot = self.slots.get_mut(at)?;
        let removed = mem::replace(slot, Slot::Free { next: self.free });
        self.free = at;
        Some(removed)
    }
}

/// A wait for a [`Latch`], in async code.
#[must_use = "a future does nothing unless it is awaited"]
pub struct Wait<'a> {
    latch: &'a Latch,
    slot: Option<usize>,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.latch.has_fired() {
            // `fire` has taken the slots or is about to, and nobody adds to them: nothing is left to
            // clear when this is dropped, and so a hundred thousand of those who pass do not queue
            // for the lock.
            self.slot = None;
            return Poll::Ready(());
        }
        let waker = context.waker();
        let mut waiters = lock(&self.latch.waiters);
        // Under the lock: either `fire` has not taken the slots yet, and will find this one, or it
        // has, and the flag is up.
        if self.latch.has_fired() {
            return Poll::Ready(());
        }
        let replaced = match self.slot.and_then(|at| waiters.slots.get_mut(at)) {
            Some(Slot::Taken(known)) if known.will_wake(waker) => None,
            Some(slot) => Some(mem::replace(slot, Slot::Taken(waker.clone()))),
            None => {
                self.slot = Some(waiters.insert(waker.clone()));
                None
            }
        };
        drop(waiters);
        // Somebody else's destructor: not under the lock.
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let Some(at) = self.slot else { return };
        let left = lock(&self.latch.waiters).remove(at);
        drop(left);
    }
}

impl Default for Latch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Latch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latch").field("fired", &self.has_fired()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Wait<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("latch", self.latch).finish_non_exhaustive()
    }
}
