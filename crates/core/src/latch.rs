//! A one-shot event for any number of waiters.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use smallvec::SmallVec;

use crate::{
    park,
    sync::{AtomicBool, Mutex, Ordering, lock},
    waker::{self, Helpers, ToWake},
};

/// Fires once and wakes everyone who waits, in async code of any executor and on plain threads.
///
/// `tokio::sync::Notify::notify_waiters` wakes only those who wait *now*: a later waiter waits for the
/// next notification, and a plain thread cannot wait at all. A fired latch stays fired: later waits
/// complete at once.
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
/// assert!(latch.wait_blocking(Duration::ZERO), "a later wait completes at once");
/// ```
pub struct Latch {
    fired: AtomicBool,
    waiters: Mutex<Waiters>,
    /// Of the component whose callers wait.
    helpers: Option<Arc<Helpers>>,
}

/// Registered wakers, in a slab with a free list. Removing a waker is O(1).
struct Waiters {
    slots: SmallVec<[Slot; 1]>,
    /// The first free slot, or [`END_OF_LIST`]. Each free slot names the next.
    free: usize,
    /// How many have come.
    came: u64,
}

enum Slot {
    /// A waker, and when its waiter came: the slots are not in this order.
    Taken(u64, Waker),
    Free {
        next: usize,
    },
}

impl Slot {
    fn came(&self) -> u64 {
        match self {
            Self::Taken(came, _) => *came,
            Self::Free { .. } => u64::MAX,
        }
    }

    fn into_waker(self) -> Option<Waker> {
        match self {
            Self::Taken(_, waker) => Some(waker),
            Self::Free { .. } => None,
        }
    }
}

/// Ends the list of free slots.
const END_OF_LIST: usize = usize::MAX;

impl Latch {
    /// A latch that has not fired.
    #[cfg(not(loom))]
    #[must_use]
    pub const fn new() -> Self {
        Self { fired: AtomicBool::new(false), waiters: Mutex::new(Waiters::EMPTY), helpers: None }
    }

    /// A latch that has not fired.
    // Not `const`: loom's `Mutex::new` is not.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self { fired: AtomicBool::new(false), waiters: Mutex::new(Waiters::EMPTY), helpers: None }
    }

    /// A latch that the callers of a component wait for.
    pub(crate) fn of(helpers: &Arc<Helpers>) -> Self {
        Self { helpers: Some(Arc::clone(helpers)), ..Self::new() }
    }

    /// Fires the latch and wakes all waiters, in the order in which they came. Returns whether *this*
    /// call fired it: true exactly once.
    ///
    /// The call that fired happens-before the return of every wait that completes. Tokio's wakers run first,
    /// on the calling thread: they only queue a task. Others may block, and run on another thread, for
    /// which this waits at most 50 ms. A waker that panics is reported by the panic hook, and the other
    /// waiters are woken all the same.
    pub fn fire(&self) -> bool {
        let waiters = self.set_fired();
        let is_first = waiters.is_some();
        // Wakers run caller code, which may use this latch: no lock is held.
        waker::wake(waiters);
        is_first
    }

    /// Fires the latch, and returns the wakers of all waiters, to be woken when the caller has done
    /// everything else. `None` if it has fired before.
    pub(crate) fn set_fired(&self) -> Option<ToWake<'_>> {
        if self.has_fired() {
            return None;
        }
        // Whoever sees that it has fired sees that wakers may be called.
        let to_wake = ToWake::begin(self.helpers.as_ref());
        // Release publishes what was done before to waits that complete without the lock; Acquire
        // lets a later call see what the first did.
        if self.fired.swap(true, Ordering::AcqRel) {
            return None;
        }
        // A waiter that registered before we took this lock is in here. A waiter that takes the lock
        // after us sees that the latch has fired, because the flag was set before we took it.
        let mut slots = mem::take(&mut lock(&self.waiters).slots);
        // Takes linear time if no slot was used twice.
        slots.sort_unstable_by_key(Slot::came);
        Some(to_wake.with(slots.into_iter().filter_map(Slot::into_waker).collect()))
    }

    /// Whether the latch has fired.
    #[must_use]
    pub fn has_fired(&self) -> bool {
        // Acquire pairs with the release in `fire`.
        self.fired.load(Ordering::Acquire)
    }

    /// Waits in async code until the latch has fired. Dropping the future removes its waker.
    pub const fn wait(&self) -> Wait<'_> {
        Wait { latch: self, slot: None }
    }

    /// Waits on a plain thread until the latch has fired or the limit has passed. Returns whether it
    /// has fired.
    ///
    /// With a limit of zero it checks once and does not block; [`Duration::MAX`] means no limit. On a
    /// worker of a runtime this blocks the worker: await [`Latch::wait`] there.
    #[must_use]
    pub fn wait_blocking(&self, limit: Duration) -> bool {
        self.has_fired() || park::wait(self.wait(), limit).is_some()
    }
}

impl Waiters {
    const EMPTY: Self = Self { slots: SmallVec::new_const(), free: END_OF_LIST, came: 0 };

    /// Whether the waker of this slot will do for a task that is polled with `waker`.
    fn will_wake(&self, slot: Option<usize>, waker: &Waker) -> bool {
        let slot = slot.and_then(|at| self.slots.get(at));
        matches!(slot, Some(Slot::Taken(_, registered)) if registered.will_wake(waker))
    }

    /// Puts a waker into a slot, into a free one if there is none yet. Returns the slot, and the waker
    /// that was there.
    fn register(&mut self, slot: Option<usize>, waker: Waker) -> (usize, Option<Waker>) {
        let at = slot.unwrap_or(self.free);
        if let Some(Slot::Taken(_, registered)) = self.slots.get_mut(at) {
            return (at, Some(mem::replace(registered, waker)));
        }
        self.came += 1;
        let taken = Slot::Taken(self.came, waker);
        match self.slots.get_mut(at) {
            Some(slot) => {
                if let Slot::Free { next } = mem::replace(slot, taken) {
                    self.free = next;
                }
                (at, None)
            }
            None => {
                self.slots.push(taken);
                (self.slots.len() - 1, None)
            }
        }
    }

    /// Frees a slot. Returns `None` once `fire` has taken the slots.
    fn remove(&mut self, at: usize) -> Option<Waker> {
        let slot = self.slots.get_mut(at)?;
        let removed = mem::replace(slot, Slot::Free { next: self.free });
        self.free = at;
        removed.into_waker()
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
            // `fire` has taken the slots, or will take whichever there are. So there is nothing to
            // remove. Forget the slot, so 100,000 completed waits do not contend for the lock in
            // `drop`.
            self.slot = None;
            return Poll::Ready(());
        }
        let waker = context.waker();
        if self.slot.is_some() && lock(&self.latch.waiters).will_wake(self.slot, waker) {
            // It is still registered. If `fire` has come since, it will wake this waker.
            return Poll::Pending;
        }
        // Cloning is caller code, which may use this latch: do not hold the lock.
        let Some(waker) = waker::clone(waker) else { return Poll::Pending };
        let mut waiters = lock(&self.latch.waiters);
        // Check again under the lock. If `fire` has not taken the slots yet, it will wake this one.
        // Otherwise the flag is set.
        if self.latch.has_fired() {
            drop(waiters);
            self.slot = None;
            waker::discard([waker]);
            return Poll::Ready(());
        }
        let (slot, replaced) = waiters.register(self.slot, waker);
        drop(waiters);
        self.slot = Some(slot);
        waker::discard(replaced);
        Poll::Pending
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let Some(at) = self.slot else { return };
        let removed = lock(&self.latch.waiters).remove(at);
        // A waker's destructor is caller code: do not hold the lock.
        waker::discard(removed);
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
