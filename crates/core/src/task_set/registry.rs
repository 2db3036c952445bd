//! The tasks of a set: a slot for each, with the waker that wakes it and its name. Also how many there
//! are, and whether more may come.
//!
//! The slots are spread over shards, each behind a lock of its own that is held for nanoseconds. The first
//! is that of the thread that makes the registry; the others are made when another thread brings a task.
//! Within a shard the slots are spread over blocks that are not moved: a million slots cost no copying, one
//! slot costs little, and the memory of a block returns when its last task has left.
//!
//! Tasks are counted under the locks that they take anyway, when they come and when they go. What all
//! of them share is the number of shards that have tasks. It changes when the first task comes to a
//! shard and when the last one leaves it, which is rare in a large group.

mod shard;

use std::{borrow::Cow, iter, panic::Location, sync::OnceLock, task::Waker};

use smallvec::SmallVec;

use super::padded::Padded;
use crate::{
    shutdown::StillRunning,
    sync::{AtomicUsize, Mutex, Ordering, lock},
    this_thread,
    waker::{self, Wakers},
};
use shard::{Entry, NONE, Position, Shard};

/// How many are woken between one lock and the next. One in a model, so that a shard takes several
/// rounds.
const BATCH: usize = if cfg!(loom) { 1 } else { 16 };

// The two high bits of a word are the state of the registry, the others the number of shards that have
// tasks. They are one atomic, so that "no task is left" and "none comes any more" become true at once.

/// Tasks may come, and the registry stays open when all have left.
const OPEN: usize = 0;
/// The registry closes when the last task leaves.
const CLOSING: usize = 1 << (usize::BITS - 2);
/// No task is here, and none comes any more.
const CLOSED: usize = CLOSING | 1 << (usize::BITS - 1);

/// The name of a task, and where it was spawned.
#[derive(Clone, Debug)]
pub struct Label {
    /// Its name.
    pub name: Cow<'static, str>,
    /// The caller of `spawn`.
    pub spawned_at: &'static Location<'static>,
}

impl Label {
    /// A label with the caller's location.
    #[track_caller]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), spawned_at: Location::caller() }
    }
}

impl From<Label> for StillRunning {
    fn from(Label { name, spawned_at }: Label) -> Self {
        Self { name: name.into_owned(), spawned_at, awaits: None }
    }
}

/// Where an entry is: its shard in the low bits, its index in the shard above them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u32);

impl Slot {
    /// No slot.
    pub const NONE: Self = Self(NONE);
}

/// How a task leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It completed.
    Completed,
    /// It was dropped before it completed.
    Aborted,
    /// It is counted elsewhere, or it was no task but a signal.
    Uncounted,
}

/// How many tasks there are and were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Have not ended.
    pub running: usize,
    /// Completed.
    pub completed: usize,
    /// Were dropped before they completed.
    pub aborted: usize,
}

/// The tasks of a set.
pub struct Registry {
    /// The shard of the thread that made the registry.
    first: Padded<Mutex<Shard>>,
    /// The other shards, made when another thread brings a task. Made under the lock of the first one.
    others: OnceLock<Box<[Padded<Mutex<Shard>>]>>,
    /// How many shards there are or would be: a power of two.
    shards: usize,
    /// The number of the thread that made the registry.
    home: usize,
    occupied: AtomicUsize,
}

impl Registry {
    /// For many tasks, which come and go on all processors.
    pub(super) fn for_many() -> Self {
        Self::with_shards(shards())
    }

    /// With so many shards, a power of two.
    pub(super) fn with_shards(count: usize) -> Self {
        Self {
            first: Padded::new(Mutex::new(Shard::new())),
            others: OnceLock::new(),
            shards: count,
            home: this_thread::number(),
            occupied: AtomicUsize::new(OPEN),
        }
    }

    /// A shard by its number, if it was made.
    #[inline]
    fn shard(&self, at: usize) -> Option<&Mutex<Shard>> {
        if at == 0 {
            Some(&self.first)
        } else {
            self.others.get()?.get(at - 1).map(|shard| &**shard)
        }
    }

    /// The shards that were made. It looks for the others only after the first has been locked.
    fn all_shards(&self) -> impl Iterator<Item = &Mutex<Shard>> {
        let others = iter::once_with(|| self.others.get()).flatten().flatten();
        iter::once(&self.first).chain(others).map(|shard| &**shard)
    }

    /// The shard of a slot, and the index there.
    #[inline]
    fn find(&self, slot: Slot) -> Option<(&Mutex<Shard>, u32)> {
        if slot == Slot::NONE {
            return None;
        }
        let shard = self.shard(slot.0 as usize & (self.shards - 1))?;
        Some((shard, slot.0 >> self.shards.trailing_zeros()))
    }

    /// The shard of this thread, and its number. Threads are spread over the shards in turn.
    #[inline]
    fn shard_here(&self) -> Option<(&Mutex<Shard>, usize)> {
        let at = this_thread::number().wrapping_sub(self.home) & (self.shards - 1);
        if at > 0 && self.others.get().is_none() {
            self.make_others();
        }
        self.shard(at).map(|shard| (shard, at))
    }

    /// Makes the other shards, under the lock of the first one. A command is stored, and then the first
    /// shard is locked for the wake-up. So either that lock comes later, and the wake-up finds the other
    /// shards; or it came before, and whoever makes them here sees the command.
    #[cold]
    fn make_others(&self) {
        let first = lock(&self.first);
        let shard = |_| Padded::new(Mutex::new(Shard::new()));
        self.others.get_or_init(|| (1..self.shards).map(shard).collect());
        drop(first);
    }

    #[inline]
    fn slot(&self, index: u32, shard: usize) -> Slot {
        // Both fit, because the index is below the limit.
        Slot(index << self.shards.trailing_zeros() | shard as u32)
    }

    /// How many slots a shard has numbers for: more than there is memory for.
    #[inline]
    const fn limit(&self) -> u32 {
        NONE >> self.shards.trailing_zeros()
    }

    /// Gives a task a slot, unless the registry is closed.
    #[inline]
    pub(super) fn insert(&self, label: Label) -> Option<Slot> {
        let (shard, at) = self.shard_here()?;
        let mut shard = lock(shard);
        // Under the lock, so that no task leaves the shard in between.
        if shard.is_full(self.limit()) || (shard.running == 0 && !self.occupy()) {
            return None;
        }
        Some(self.slot(shard.insert(None, Some(label)), at))
    }

    /// Counts one more shard that has tasks. Returns `false` if the registry is closed.
    fn occupy(&self) -> bool {
        // AcqRel: the decision rests on the current state, and the count is ordered with it.
        let occupied = self.occupied.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            (word & CLOSED != CLOSED).then_some(word + 1)
        });
        occupied.is_ok()
    }

    /// Gives a slot to a signal, which is no task, to be woken once.
    pub(super) fn listen(&self, waker: Waker) -> Slot {
        let Some((shard, at)) = self.shard_here() else { return Slot::NONE };
        let mut shard = lock(shard);
        if shard.is_full(self.limit()) {
            return Slot::NONE;
        }
        self.slot(shard.insert(Some(waker), None), at)
    }

    /// Frees a slot. Returns whether this closed the registry, that is, whether the last task of a
    /// closing registry has left.
    ///
    /// Everything that a task did is visible to everyone who sees the registry closed: the lock
    /// releases it to the task that leaves the shard last, and that one releases it in a chain of
    /// read-modify-writes that the last of all acquires.
    #[inline]
    pub(super) fn remove(&self, slot: Slot, exit: Exit) -> bool {
        let Some((shard, index)) = self.find(slot) else { return false };
        let mut shard = lock(shard);
        let running = shard.running;
        let removed = shard.remove(index, exit);
        // Under the lock, so that no task comes to the shard in between.
        let is_last = running == 1
            && shard.running == 0
            && self.occupied.fetch_sub(1, Ordering::AcqRel) == CLOSING | 1;
        drop(shard);
        // A foreign destructor: not under the lock.
        if let Some(removed) = removed {
            waker::discard(removed.waker);
        }
        is_last && self.close_if_empty()
    }

    /// From here on the registry closes when the last task leaves.
    pub(super) fn begin_to_close(&self) {
        // AcqRel: a task that comes later sees what was done before.
        self.occupied.fetch_or(CLOSING, Ordering::AcqRel);
    }

    /// Keeps the registry from closing until it is [released](Self::release). Returns `false` if it is closed.
    pub(super) fn hold(&self) -> bool {
        // As a shard that has tasks.
        self.occupy()
    }

    /// The end of a [hold](Self::hold). Returns whether this closed the registry.
    pub(super) fn release(&self) -> bool {
        // AcqRel: as when the last task leaves a shard.
        self.occupied.fetch_sub(1, Ordering::AcqRel) == CLOSING | 1 && self.close_if_empty()
    }

    /// Closes a registry that is closing and has no tasks. Returns whether this call did it: true
    /// once.
    pub(super) fn close_if_empty(&self) -> bool {
        // Acquires what the tasks did, and releases it to everyone who finds the registry closed.
        let closed =
            self.occupied.compare_exchange(CLOSING, CLOSED, Ordering::AcqRel, Ordering::Relaxed);
        closed.is_ok()
    }

    /// Whether there are no tasks.
    pub fn is_empty(&self) -> bool {
        // Acquire pairs with the release of the tasks that left.
        self.occupied.load(Ordering::Acquire) & !CLOSED == OPEN
    }

    /// Counts the tasks that run and those that have ended. It goes from shard to shard: a task that
    /// comes or goes meanwhile may be counted or not.
    pub fn count(&self) -> Count {
        let mut sum = lock(&self.first).count();
        for shard in self.others.get().into_iter().flatten() {
            let Count { running, completed, aborted } = lock(shard).count();
            sum.running += running;
            sum.completed += completed;
            sum.aborted += aborted;
        }
        sum
    }

    /// Leaves the waker of the task in this slot, to be woken once. The caller must *then* look
    /// whether what it wants to be woken for has happened. Returns whether a wake-up has passed here
    /// before, so that the waker is there for the next.
    #[inline]
    pub(super) fn leave_waker(&self, slot: Slot, waker: Waker) -> bool {
        let Some((shard, index)) = self.find(slot) else { return true };
        let mut shard = lock(shard);
        let unused = match shard.get_mut(index) {
            Some(Entry::Taken { waker: kept @ None, .. }) => kept.replace(waker),
            _ => Some(waker),
        };
        let was_woken = shard.was_woken;
        drop(shard);
        waker::discard(unused);
        was_woken
    }

    /// The same for a signal, which may be polled by another task each time.
    pub(super) fn replace_waker(&self, slot: Slot, waker: Waker) {
        let Some((shard, index)) = self.find(slot) else { return };
        let mut shard = lock(shard);
        let Some(Entry::Taken { waker: kept, .. }) = shard.get_mut(index) else { return };
        let before = kept.replace(waker);
        drop(shard);
        // A foreign destructor: not under the lock.
        waker::discard(before);
    }

    /// Wakes every task that left a waker, and returns the wakers of the signals, to be woken after the
    /// tasks of all sets. The wakers are used up, because most tasks that are woken leave for good.
    ///
    /// A task that stays leaves its waker again, until [`Registry::leave_waker`] says that this
    /// wake-up cannot take it any more. It could otherwise take a waker that was left after its
    /// command was seen, and then none would be there for the next command. (Loom found this; its
    /// twin is in `tests/loom`.)
    ///
    /// Wakers run outside the locks. A task that comes meanwhile is missed, so the command must be
    /// visible before.
    #[must_use]
    pub(super) fn wake_tasks(&self) -> Wakers {
        let mut signals = Wakers::new();
        // On the stack, because a group with one task must not pay for an allocation at every stop.
        let mut wakers = SmallVec::<[Waker; BATCH]>::new();
        for shard in self.all_shards() {
            let mut position = Position::default();
            loop {
                let mut shard = lock(shard);
                let is_last = shard.take_wakers(&mut position, &mut wakers, &mut signals);
                // Not before the last batch: until then a waker in here may still be taken.
                shard.was_woken |= is_last;
                drop(shard);
                waker::wake_all_in_place(wakers.drain(..));
                if is_last {
                    break;
                }
            }
        }
        signals
    }

    /// The label of the task in this slot.
    pub(super) fn label(&self, slot: Slot) -> Option<Label> {
        let (shard, index) = self.find(slot)?;
        match lock(shard).get_mut(index) {
            Some(Entry::Taken { label, .. }) => label.clone(),
            _ => None,
        }
    }

    /// The label of the task in this slot, unless so many tasks of its shard were aborted before.
    pub(super) fn label_of_aborted(&self, slot: Slot, most: usize) -> Option<Label> {
        let (shard, index) = self.find(slot)?;
        let mut shard = lock(shard);
        match (shard.count().aborted < most, shard.get_mut(index)) {
            (true, Some(Entry::Taken { label, .. })) => label.clone(),
            _ => None,
        }
    }

    /// The labels of all tasks.
    pub fn labels(&self) -> Vec<Label> {
        let mut labels = Vec::new();
        for shard in self.all_shards() {
            labels.extend(lock(shard).labels());
        }
        labels
    }
}

/// How many shards a large registry has: as many as there are processors, rounded up to a power of
/// two, and at most 16, because a command goes through all of them.
#[cfg(not(loom))]
fn shards() -> usize {
    use std::{num::NonZeroUsize, thread};

    use once_cell::race::OnceNonZeroUsize;

    // Asked once or so: the system reads files to answer. No `OnceLock`: a child that was forked meanwhile would
    // wait for ever when it makes a group of its own.
    static PROCESSORS: OnceNonZeroUsize = OnceNonZeroUsize::new();
    let asked = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    PROCESSORS.get_or_init(asked).get().next_power_of_two().min(16)
}

/// One, so that the threads of a model meet.
#[cfg(loom)]
const fn shards() -> usize {
    1
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::Wake,
    };

    use super::*;

    /// A third of them of each kind.
    const MANY: usize = 5001;

    fn insert(registry: &Registry, name: &'static str) -> Slot {
        registry.insert(Label::new(name)).unwrap_or(Slot::NONE)
    }

    fn names(registry: &Registry) -> Vec<String> {
        let mut names: Vec<_> =
            registry.labels().into_iter().map(|label| label.name.into_owned()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_freed_slot_is_used_again() {
        let registry = Registry::for_many();
        let slots: Vec<_> = (0..200).map(|_| insert(&registry, "a")).collect();
        for slot in slots.iter().skip(1).step_by(2) {
            registry.remove(*slot, Exit::Uncounted);
        }
        let again: Vec<_> = (0..100).map(|_| insert(&registry, "b")).collect();
        assert!(again.iter().all(|slot| slots.contains(slot)), "no new slot was needed");
        assert_eq!(names(&registry).iter().filter(|name| *name == "b").count(), 100);
        assert_eq!(registry.count().running, 200);
        for slot in slots.iter().step_by(2).chain(&again) {
            assert!(!registry.is_empty());
            registry.remove(*slot, Exit::Uncounted);
        }
        assert!(registry.is_empty() && names(&registry).is_empty());
    }

    #[test]
    fn many_are_found_again_and_counted_when_they_leave() {
        let registry = Registry::for_many();
        let slots: Vec<_> = (0..MANY).map(|_| insert(&registry, "a")).collect();
        assert!(slots.iter().all(|slot| registry.label(*slot).is_some()));
        for (at, slot) in slots.iter().enumerate() {
            let exit = [Exit::Completed, Exit::Aborted, Exit::Uncounted][at % 3];
            registry.remove(*slot, exit);
        }
        assert!(names(&registry).is_empty());
        let third = MANY / 3;
        assert_eq!(registry.count(), Count { running: 0, completed: third, aborted: third });
    }

    #[test]
    fn the_last_task_that_leaves_closes_a_registry_that_is_closing() {
        for registry in [Registry::with_shards(1), Registry::for_many()] {
            let (one, other) = (insert(&registry, "one"), insert(&registry, "other"));
            let signal = registry.listen(Waker::noop().clone());
            registry.begin_to_close();
            assert!(!registry.close_if_empty() && !registry.remove(one, Exit::Completed));
            let late = insert(&registry, "spawned by the other");
            assert!(!registry.remove(other, Exit::Completed));
            assert!(registry.remove(late, Exit::Completed), "the last");
            registry.begin_to_close();
            assert!(!registry.close_if_empty(), "once");
            assert_eq!(insert(&registry, "too late"), Slot::NONE, "closed is for good");
            assert!(!registry.remove(signal, Exit::Uncounted), "nobody waits for a signal");
        }
    }

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_waker_is_woken_once_and_nothing_of_it_is_kept() {
        let (registry, counting) = (Registry::for_many(), Arc::new(Counting::default()));
        let waker = Waker::from(Arc::clone(&counting));
        let slots: Vec<_> = (0..150).map(|_| insert(&registry, "a")).collect();
        let signal = registry.listen(waker.clone());
        for expected in [false, true] {
            counting.0.store(0, Ordering::Relaxed);
            for slot in &slots {
                for _ in 0..2 {
                    assert_eq!(
                        registry.leave_waker(*slot, waker.clone()),
                        expected,
                        "was woken before"
                    );
                }
            }
            waker::wake_all_in_place(registry.wake_tasks());
            assert_eq!(counting.0.load(Ordering::Relaxed), 150 + usize::from(!expected));
        }
        waker::wake_all_in_place(registry.wake_tasks());
        assert_eq!(counting.0.load(Ordering::Relaxed), 150, "no waker, no wake-up");
        registry.replace_waker(signal, waker.clone());
        registry.remove(signal, Exit::Uncounted);
        for slot in slots {
            registry.remove(slot, Exit::Uncounted);
        }
        assert_eq!(Arc::strong_count(&counting), 2);
    }
}
