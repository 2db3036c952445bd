//! A gate that many threads pass until it is closed.

use std::{
    fmt,
    future::Future,
    mem::ManuallyDrop,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use thiserror::Error;

use crate::{
    fork::{self, GENERATIONS, OfProcess, PerProcess},
    latch::{Latch, Wait},
    park,
    shutdown::count,
    sync::{AtomicU64, Ordering},
};

/// Set for good when the gate is closed. The bits above count the entries; the upper half is the id of
/// the process that counts, or 0 before the first entry.
const CLOSED: u64 = 1;
/// One entry.
const ONE: u64 = 2;
/// Set if there are 2^30 entries. Nobody can enter then, so that the count does not overflow.
const FULL: u64 = 1 << 31;

const fn process(state: u64) -> u32 {
    (state >> 32) as u32
}

const fn inside(state: u64) -> usize {
    (state as u32 / ONE as u32) as usize
}

/// A gate in front of something that will go away: an interpreter that is about to be finalized, a
/// library that is about to be unloaded.
///
/// A thread that calls into it [enters](EntryGate::enter) before the call and leaves after it. To
/// take the thing away, close the gate and wait until nobody is inside. Joining the threads is not
/// enough: if the join has a limit, a thread that is still running after it calls in later (experiment 60).
///
/// With an `RwLock`, a thread that arrives after the writer blocks; a closed gate refuses it. Closing does
/// not wait for the threads inside: waiting is a separate call, with a limit.
///
/// # In a forked child
///
/// The threads that were inside do not exist in a forked child. There the gate is as new, except that a
/// closed one stays closed: nobody is inside, and an entry that the thread that called `fork` still holds
/// does not count. The gate notices the fork when it is closed, waited for or asked, and when another
/// thread enters. Entering is too cheap to ask the operating system each time. So if the thread that
/// called `fork` may enter first, let the child call [`forked_child`](crate::forked_child()) or
/// [`inside`](Self::inside) before; otherwise its entry counts as one from before the fork, and the gate says
/// that nobody is inside. The C interface and the package for Python do the former.
///
/// ```
/// use std::time::Duration;
/// use sundown::gate::{Closed, EntryGate};
///
/// let gate = EntryGate::new();
/// let inside = gate.enter().unwrap();
/// assert_eq!(gate.close(), 1, "one is inside");
/// assert_eq!(gate.enter().unwrap_err(), Closed);
/// assert_eq!(gate.wait_empty_blocking(Duration::ZERO).unwrap_err().inside, 1);
/// drop(inside);
/// assert!(gate.wait_empty_blocking(Duration::ZERO).is_ok());
/// ```
pub struct EntryGate {
    /// The process, the count and the closed bit in one atomic, so that nobody can enter between a look
    /// at one and a change of the other.
    state: AtomicU64,
    /// Fires when the gate is closed and nobody is inside. Both stay so. One for each process, because a
    /// thread may have locked its parent's.
    empty: PerProcess<Latch>,
}

/// The gate is closed, and no thread can enter.
#[derive(Clone, Copy, PartialEq, Eq, Error)]
#[error("the gate is closed, because the resource behind it is about to go away; do not use it")]
pub struct Closed;

/// The limit passed while threads were inside.
#[derive(Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "{} still inside the gate after {limit:.1?}; wait again, or keep the resource behind it",
    count(*.inside, "call")
)]
pub struct StillInside {
    /// The number of entries inside.
    pub inside: usize,
    /// How long this call waited.
    pub limit: Duration,
}

crate::debug_as_text!(Closed, StillInside);

impl EntryGate {
    /// An open gate.
    #[must_use]
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        let empty = PerProcess::new([const { OfProcess::new(Latch::new()) }; GENERATIONS]);
        Self { state: AtomicU64::new(0), empty }
    }

    /// An open gate.
    #[must_use]
    #[cfg(loom)]
    pub fn new() -> Self {
        let empty = std::array::from_fn::<_, GENERATIONS, _>(|_| OfProcess::new(Latch::new()));
        Self { state: AtomicU64::new(0), empty: PerProcess::new(empty) }
    }

    /// Enters. Dropping the returned entry leaves. Never blocks.
    ///
    /// An entry that you `mem::forget` never leaves. Use this for a thread that can never return.
    ///
    /// # Errors
    ///
    /// [`Closed`], if the gate has been closed. Also if 2^30 entries are inside.
    pub fn enter(&self) -> Result<Entry<'_>, Closed> {
        // Relaxed, here and below: this atomic's own order decides whether the gate is open, and the
        // caller relies on nothing that others did before. What happens inside is ordered before the
        // end of what is behind the gate by `leave`.
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            if state & (CLOSED | FULL) != 0 {
                return Err(Closed);
            }
            let process = process(state);
            if process == 0 || process != fork::last_seen() {
                // The first entry, or the first of this thread.
                if process != fork::this_process() {
                    state = self.adopt();
                    continue;
                }
            }
            match self.state.compare_exchange_weak(
                state,
                state + ONE,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(Entry { gate: self, process }),
                Err(changed) => state = changed,
            }
        }
    }

    /// Makes this the process that counts. If another did, that was before a fork, and those who were
    /// inside do not exist here. Returns the state.
    fn adopt(&self) -> u64 {
        let this = fork::this_process();
        // Relaxed: if this is not the process, the exchange decides.
        let mut state = self.state.load(Ordering::Relaxed);
        while process(state) != this {
            let adopted = u64::from(this) << 32 | state & CLOSED;
            // Relaxed: in a forked child, all memory is as the only thread of that moment saw it.
            match self.state.compare_exchange_weak(
                state,
                adopted,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    if adopted & CLOSED != 0 {
                        self.fire();
                    }
                    return adopted;
                }
                Err(changed) => state = changed,
            }
        }
        state
    }

    /// The gate is closed, and nobody is inside.
    fn fire(&self) {
        // If there is none for this process, `wait_empty` has none either, and goes on waiting.
        if let Ok(empty) = self.empty.get() {
            empty.fire();
        }
    }

    /// Closes the gate permanently and returns the number of entries inside. Never blocks. A second call
    /// only returns the number.
    pub fn close(&self) -> usize {
        self.adopt();
        // Acquire: if nobody is inside, what those did who have left is seen here and passed on by
        // the latch. Release: see `is_closed`.
        let inside = inside(self.state.fetch_or(CLOSED, Ordering::AcqRel));
        if inside == 0 {
            self.fire();
        }
        inside
    }

    /// Waits in async code until the gate is closed and no thread is inside. Everything done inside
    /// happens-before the end of this wait. While the gate is open, this keeps waiting.
    ///
    /// If 16 generations of processes that used the gate have forked one another, this waits for ever in
    /// the last one.
    pub fn wait_empty(&self) -> impl Future<Output = ()> + Unpin + '_ {
        WaitEmpty { gate: self, wait: None }
    }

    /// Same as [`wait_empty`](Self::wait_empty), on a plain thread and with a limit. A limit of zero
    /// checks once; [`Duration::MAX`] means no limit.
    ///
    /// # Errors
    ///
    /// [`StillInside`], if the limit passes first. You can wait again.
    pub fn wait_empty_blocking(&self, limit: Duration) -> Result<(), StillInside> {
        park::wait(self.wait_empty(), limit)
            .ok_or_else(|| StillInside { inside: self.inside(), limit })
    }

    /// The number of entries inside (a snapshot).
    #[must_use]
    pub fn inside(&self) -> usize {
        // A number for a report, which orders nothing.
        inside(self.adopt())
    }

    /// Whether the gate has been closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        // Acquire pairs with the release in `close`: what the closer did before is visible.
        self.state.load(Ordering::Acquire) & CLOSED != 0
    }

    fn leave(&self, entered_in: u32) {
        // Relaxed: the exchange decides.
        let mut state = self.state.load(Ordering::Relaxed);
        // An entry from before a fork has not been counted here.
        while process(state) == entered_in {
            // Release: what was done inside comes before leaving. Acquire: the last to leave has seen
            // what the others did inside, and passes it on by the latch.
            match self.state.compare_exchange_weak(
                state,
                state - ONE,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    if state & CLOSED != 0 && inside(state) == 1 {
                        self.fire();
                    }
                    return;
                }
                Err(changed) => state = changed,
            }
        }
    }
}

impl Default for EntryGate {
    fn default() -> Self {
        Self::new()
    }
}

/// A wait for an empty gate.
struct WaitEmpty<'a> {
    gate: &'a EntryGate,
    wait: Option<(&'a OfProcess<Latch>, ManuallyDrop<Wait<'a>>)>,
}

impl WaitEmpty<'_> {
    /// Forgets a wait from before a fork: its latch may be locked for ever.
    fn forget_parent(&mut self) {
        if self.wait.as_ref().is_some_and(|(latch, _)| !latch.is_of_this_process()) {
            self.wait = None;
        }
    }
}

impl Future for WaitEmpty<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.forget_parent();
        let gate = self.gate;
        if self.wait.is_none() {
            gate.adopt();
            let Ok(latch) = gate.empty.get() else { return Poll::Pending };
            self.wait = Some((latch, ManuallyDrop::new(latch.wait())));
        }
        match &mut self.wait {
            Some((_, wait)) => Pin::new(&mut **wait).poll(context),
            None => Poll::Pending,
        }
    }
}

impl Drop for WaitEmpty<'_> {
    fn drop(&mut self) {
        self.forget_parent();
        if let Some((_, wait)) = self.wait.take() {
            drop(ManuallyDrop::into_inner(wait));
        }
    }
}

/// An entry into an [`EntryGate`]. Dropping it leaves the gate.
#[derive(Debug)]
#[must_use = "dropping the entry leaves the gate at once"]
pub struct Entry<'a> {
    gate: &'a EntryGate,
    /// The process that counted it.
    process: u32,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.gate.leave(self.process);
    }
}

impl fmt::Debug for EntryGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryGate")
            .field("closed", &self.is_closed())
            .field("inside", &self.inside())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;
    use crate::limit::PLENTY;

    #[test]
    fn nobody_enters_a_closed_gate_and_the_last_to_leave_lets_the_closer_through() {
        let gate = Arc::new(EntryGate::new());
        let (first, second) = (gate.enter().unwrap(), gate.enter().unwrap());
        assert_eq!((gate.inside(), gate.is_closed()), (2, false));
        let waiter = thread::spawn({
            let gate = Arc::clone(&gate);
            move || gate.wait_empty_blocking(PLENTY)
        });
        assert_eq!((gate.close(), gate.is_closed()), (2, true));
        assert_eq!(gate.enter().unwrap_err(), Closed);
        drop(first);
        let still = gate.wait_empty_blocking(Duration::ZERO).unwrap_err();
        assert_eq!(still, StillInside { inside: 1, limit: Duration::ZERO });
        drop(second);
        assert_eq!(waiter.join().unwrap(), Ok(()));
        assert_eq!(gate.close(), 0, "it may be closed again");
    }

    #[test]
    fn an_open_gate_is_not_empty_however_few_are_inside() {
        let gate = EntryGate::new();
        drop(gate.enter());
        assert!(gate.wait_empty_blocking(Duration::ZERO).is_err());
        gate.close();
        assert!(gate.wait_empty_blocking(Duration::ZERO).is_ok());
    }

    #[test]
    fn a_forgotten_entry_never_leaves() {
        let gate = EntryGate::new();
        std::mem::forget(gate.enter());
        gate.close();
        assert_eq!(gate.wait_empty_blocking(Duration::from_millis(5)).unwrap_err().inside, 1);
    }
}
