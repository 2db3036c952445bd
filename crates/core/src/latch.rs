//! A signal that is given once, to any number of waiters.

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

/// Fires once and wakes everyone who waits, in async code of any executor and on plain threads.
///
/// `tokio::sync::Notify` wakes those who wait *now*: a later waiter waits for the next notification,
/// and a plain thread cannot wait at all. A latch stays open: later waiters pass.
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
/// assert!(waiter.join().unwrap(), "the waiter was woken in time");
/// assert!(latch.wait_blocking(Duration::ZERO), "a later waiter passes");
/// ```
pub struct Latch {
    fired: AtomicBool,
    waiters: Mutex<Waiters>,
}

/// Those who wait. A slot keeps its index while it is taken, and freed slots are used again, so a
/// waiter that gives up costs the others nothing.
struct Waiters {
    slots: Vec<Slot>,
    /// The first free slot, or [`NONE`]. Each free slot names the next.
    free: usize,
}

/// No larger than a waker: a hundred thousand may wait.
enum Slot {
    Taken(Waker),
    Free { next: usize },
}

/// The index of no slot.
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

    /// Fires, and wakes all waiters in the order in which they came. Returns whether *this* call
    /// fired the latch: true exactly once.
    ///
    /// What the firing thread did before is visible to everyone who is woken or passes. Wakers run
    /// on this thread; those of an executor only put a task into its queue.
    pub fn fire(&self) -> bool {
        // Release publishes what was done before to those who pass without the lock; Acquire lets a
        // loser see what the winner did.
        if self.fired.swap(true, Ordering::AcqRel) {
            return false;
        }
        // A waiter that registered did so before we hold this lock, and is in here. A waiter that
        // comes after us sees that the latch has fired, because we set that before we took the lock.
        let slots = mem::take(&mut lock(&self.waiters).slots);
        // The lock is free by now: a waker is foreign code, and may come back to this latch.
        for slot in slots {
            if let Slot::Taken(waker) = slot {
                waker.wake();
            }
        }
        true
    }

    /// Whether the latch has fired.
    #[must_use]
    pub fn has_fired(&self) -> bool {
        // Acquire pairs with the release in `fire`.
        self.fired.load(Ordering::Acquire)
    }

    /// Waits in async code until the latch has fired. If the future is dropped, nothing of it is
    /// left behind.
    pub const fn wait(&self) -> Wait<'_> {
        Wait { latch: self, slot: None }
    }

    /// Waits on a plain thread until the latch has fired or the limit has passed. Returns whether it
    /// has fired.
    ///
    /// A limit of zero looks once; [`Duration::MAX`] means no limit. On a worker of a runtime this
    /// blocks the worker: await [`Latch::wait`] there.
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

    /// Frees a slot. Once the latch has fired, there are none.
    fn remove(&mut self, at: usize) -> Option<Slot> {
        let slot = self.slots.get_mut(at)?;
        let removed = mem::replace(slot, Slot::Free { next: self.free });
        self.free = at;
        Some(removed)
    }
}

/// A wait for a [`Latch`], in async code.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Wait<'a> {
    latch: &'a Latch,
    slot: Option<usize>,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.latch.has_fired() {
            // `fire` has taken the slots or is about to, and nobody adds any. So there is nothing to
            // clean up, and a hundred thousand who pass do not queue for the lock when they go.
            self.slot = None;
            return Poll::Ready(());
        }
        let waker = context.waker();
        let mut waiters = lock(&self.latch.waiters);
        // Again under the lock: either `fire` has not taken the slots yet and will find this one, or
        // it has, and the flag is set.
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
        // A foreign destructor: not under the lock.
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let Some(at) = self.slot else { return };
        let removed = lock(&self.latch.waiters).remove(at);
        // A foreign destructor: not under the lock.
        drop(removed);
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
