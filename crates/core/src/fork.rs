//! Whether this is still the process that something belongs to.
//!
//! A forked child has a copy of all memory and only the thread that called `fork`. A lock that any
//! other thread held at that moment stays locked for ever. So before a forked child touches anything
//! that threads share, it must find out that it is a child (experiment 55).

use std::{
    cell::Cell,
    io,
    ops::Deref,
    // Not loom's: a fork copies all memory as it is, so the order of these writes is not in question.
    sync::atomic::{AtomicU32, Ordering},
};

#[cfg(not(loom))]
thread_local! {
    /// The id of the process that this thread last found itself in, or 0 if it has not asked; and how often
    /// [`TOLD`] had been told then.
    static LAST_SEEN: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

#[cfg(loom)]
crate::sync::thread_local! {
    static LAST_SEEN: Cell<(u32, u32)> = Cell::new((0, 0));
}

/// How often this process or an ancestor was told by [`forked_child`](crate::forked_child()) that it is a child.
#[cfg(not(loom))]
static TOLD: AtomicU32 = AtomicU32::new(0);

/// How many bits an id of a process has at most, on systems that fork: Linux has up to 2^22 of them.
const BITS: u32 = 22;

/// This process is a forked child, whatever its id is.
///
/// This touches no thread-local: at its first access from a thread, glibc takes a lock of the loader, which another
/// thread of the parent may have held.
#[cfg(not(loom))]
pub(crate) fn told() {
    // Relaxed: there is only this thread.
    TOLD.fetch_add(1, Ordering::Relaxed);
}

fn times_told() -> u32 {
    #[cfg(loom)]
    return 0;
    // Relaxed: as in `told`.
    #[cfg(not(loom))]
    TOLD.load(Ordering::Relaxed)
}

/// The id that the operating system gave to a process, for people.
const fn for_people(id: u32) -> u32 {
    if cfg!(all(unix, not(loom))) { id & ((1 << BITS) - 1) } else { id }
}

/// The id of this process, and in the bits above it how often it was told that it is a child. Asks the operating
/// system, which takes 50 to 300 ns.
pub(crate) fn this_process() -> u32 {
    let this = id();
    LAST_SEEN.with(|seen| seen.set((this, times_told())));
    this
}

/// The id that this thread last got from [`this_process`]; 0 if it has not asked since the process was told that
/// it is a child. Costs nothing. In a forked child that was not told, it is the parent's only on the thread that
/// called `fork`, until that thread asks: all other threads are new.
pub(crate) fn last_seen() -> u32 {
    let (id, told) = LAST_SEEN.with(Cell::get);
    if told == times_told() { id } else { 0 }
}

#[cfg(not(loom))]
fn id() -> u32 {
    std::process::id() ^ times_told() << BITS
}

/// A model plays a fork by changing this.
#[cfg(loom)]
pub mod model {
    use std::cell::Cell;

    thread_local! {
        static ID: Cell<u32> = const { Cell::new(1) };
    }

    /// Lets all threads of this model be in another process from now on. Loom runs them on one thread.
    pub fn set_process(id: u32) {
        ID.set(id);
    }

    pub(super) fn id() -> u32 {
        ID.get()
    }
}

#[cfg(loom)]
use model::id;

/// The process that something belongs to.
pub(crate) struct ProcessGuard {
    /// The id of the process; 0 until one has claimed it.
    owner: AtomicU32,
}

impl ProcessGuard {
    /// For something that belongs to the process that uses it first.
    pub(crate) const fn unclaimed() -> Self {
        Self { owner: AtomicU32::new(0) }
    }

    /// For something that belongs to this process.
    #[cfg(not(loom))]
    pub(crate) fn this_process() -> Self {
        Self { owner: AtomicU32::new(this_process()) }
    }

    /// Claims it for this process, unless another process owns it.
    ///
    /// # Errors
    ///
    /// The id of the owner, if that is another process.
    pub(crate) fn claim(&self) -> Result<(), u32> {
        let this = this_process();
        // Relaxed: a fork copies all memory as it is, so no order with other writes is needed.
        match self.owner.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed) {
            Err(owner) if owner != this => Err(for_people(owner)),
            _ => Ok(()),
        }
    }

    /// The id of the process that owns it, if this process is not the owner but its forked child.
    pub(crate) fn forked_from(&self) -> Option<u32> {
        // Relaxed: as in `claim`.
        let owner = self.owner.load(Ordering::Relaxed);
        (owner != this_process()).then_some(for_people(owner))
    }
}

/// How many generations of processes can have a value of their own.
pub(crate) const GENERATIONS: usize = if cfg!(loom) { 2 } else { 16 };

/// One value for each process, for a `static` that threads share: one for this process, one for a child
/// that it forks, one for the child of that, and so on. A child has copies of its ancestors' values,
/// which may be locked by threads that it does not have, so it never touches them.
///
/// This suffices for 16 generations of processes that each used their value and forked without `exec`.
///
/// ```ignore
/// static COUNTS: PerProcess<Mutex<u32>> =
///     PerProcess::new([const { OfProcess::new(Mutex::new(0)) }; GENERATIONS]);
/// *COUNTS.get()?.lock() += 1;
/// ```
pub(crate) struct PerProcess<T>([OfProcess<T>; GENERATIONS]);

impl<T> PerProcess<T> {
    pub(crate) const fn new(values: [OfProcess<T>; GENERATIONS]) -> Self {
        Self(values)
    }

    /// The value of this process. Takes no lock.
    ///
    /// # Errors
    ///
    /// If every value belongs to an ancestor of this process.
    pub(crate) fn get(&self) -> io::Result<&OfProcess<T>> {
        let claimed = self.0.iter().find(|value| value.process.claim().is_ok());
        claimed.ok_or_else(|| {
            io::Error::other(format!("{GENERATIONS} processes forked one another and left no slot"))
        })
    }

    /// Whether this process or an ancestor has used its value. Costs nothing, while [`get`](Self::get) asks
    /// the operating system.
    #[cfg(not(loom))]
    pub(crate) fn is_used(&self) -> bool {
        let [OfProcess { process: first, .. }, ..] = &self.0;
        // Relaxed: a use that happened before this call is seen, and one beside it may come later.
        first.owner.load(Ordering::Relaxed) != 0
    }
}

/// A value of the process that used it first.
pub(crate) struct OfProcess<T> {
    process: ProcessGuard,
    value: T,
}

impl<T> OfProcess<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self { process: ProcessGuard::unclaimed(), value }
    }

    /// Whether this is still the process that used it first. If not, this is a forked child: do not
    /// touch the value.
    pub(crate) fn is_of_this_process(&self) -> bool {
        self.process.forked_from().is_none()
    }
}

impl<T> Deref for OfProcess<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}
