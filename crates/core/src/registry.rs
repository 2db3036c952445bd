//! Who belongs to a group: a seat for each, with what is needed to wake it and to name it; how many
//! there are; and whether anybody may still come.
//!
//! The seats are spread over shards, each behind a lock of its own that is held for nanoseconds, and
//! within a shard over blocks that are neither moved nor given back while the registry lives: a
//! million seats cost no copying, and one seat costs few.
//!
//! Members are counted under the locks that they take anyway, to sit and to leave. What all of them
//! share is a count of the shards that have members: it changes when the first comes to a shard and
//! when the last leaves it, which in a large group is seldom.

mod shard;

use std::{borrow::Cow, panic::Location, task::Waker};

use crate::sync::{AtomicUsize, Mutex, Ordering, lock};
use shard::{Entry, NONE, Shard};

/// How many are woken between one lock and the next.
const WOKEN: usize = 16;

/// The state of the registry stands in the two high bits of a word, the number of shards with members
/// in the others: one atomic, so that "nobody is left" and "nobody comes any more" become true at
/// once. Here: anybody may come.
const OPEN: usize = 0;
/// It ends with its members: when none is left it is closed.
const CLOSING: usize = 1 << (usize::BITS - 2);
/// Nobody is here, and nobody comes any more.
const CLOSED: usize = CLOSING | 1 << (usize::BITS - 1);

/// What a member is called, and where it was spawned.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) name: Cow<'static, str>,
    pub(crate) spawned_at: &'static Location<'static>,
}

/// Where a seat is: the shard, and above that, in steps of how many shards there are, the place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat(u32);

impl Seat {
    /// A place that nobody sits in.
    pub(crate) const NOWHERE: Self = Self(NONE);
}

/// How somebody leaves a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// A member that has completed.
    Completed,
    /// A member that was dropped before.
    Aborted,
    /// A member that is counted elsewhere, or somebody who is no member.
    Otherwise,
}

/// How many members.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Are here.
    pub(crate) members: usize,
    /// Have left because they had completed.
    pub(crate) completed: usize,
    /// Have left because they were dropped before that.
    pub(crate) aborted: usize,
}

/// A cache line to itself, so that two threads with a shard each do not meet.
#[repr(align(64))]
struct CacheLine<T>(T);

/// The seats of a group.
pub(crate) struct Registry {
    shards: Box<[CacheLine<Mutex<Shard>>]>,
    occupied: AtomicUsize,
}

impl Registry {
    /// For many, who come and go on all processors.
    pub(crate) fn for_many() -> Self {
        Self::with_shards(shards())
    }

    /// For one, and a few that it may bring.
    #[cfg(not(loom))]
    pub(crate) fn for_one() -> Self {
        Self::with_shards(1)
    }

    /// For a model of threads that do not meet.
    #[cfg(loom)]
    pub(crate) fn for_two() -> Self {
        Self::with_shards(2)
    }

    fn with_shards(count: usize) -> Self {
        let shards = (0..count).map(|_| CacheLine(Mutex::new(Shard::new()))).collect();
        Self { shards, occupied: AtomicUsize::new(OPEN) }
    }

    /// Where a seat is: the lock of its shard, and its place there. Nowhere where nobody sits.
    #[inline]
    fn find(&self, seat: Seat) -> Option<(&Mutex<Shard>, u32)> {
        if seat == Seat::NOWHERE {
            return None;
        }
        // There is a power of two of them.
        let shards = self.shards.len();
        let CacheLine(shard) = self.shards.get(seat.0 as usize & (shards - 1))?;
        Some((shard, seat.0 >> shards.trailing_zeros()))
    }

    /// The shard of this thread, and its number.
    #[inline]
    fn here(&self) -> Option<(&Mutex<Shard>, usize)> {
        let at = here() & (self.shards.len() - 1);
        self.shards.get(at).map(|CacheLine(shard)| (shard, at))
    }

    /// The seat of a place in a shard.
    #[inline]
    fn seat(&self, place: u32, shard: usize) -> Seat {
        // Both fit, below the limit.
        Seat(place << self.shards.len().trailing_zeros() | shard as u32)
    }

    /// How many places a shard has numbers for: more than there is memory for.
    #[inline]
    const fn limit(&self) -> u32 {
        NONE >> self.shards.len().trailing_zeros()
    }

    /// Gives a member a seat, unless the registry is closed.
    #[inline]
    pub(crate) fn enter(&self, label: Label) -> Option<Seat> {
        let (shard, at) = self.here()?;
        let mut shard = lock(shard);
        // Under the lock, so that nobody leaves the shard in between.
        if shard.is_full(self.limit()) || (shard.members == 0 && !self.occupy()) {
            return None;
        }
        Some(self.seat(shard.insert(None, Some(label)), at))
    }

    /// One more shard has members. `false` where the registry is closed.
    fn occupy(&self) -> bool {
        // AcqRel: the state that decides is current, and the count is ordered with it.
        let occupied = self.occupied.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            (word & CLOSED != CLOSED).then_some(word + 1)
        });
        occupied.is_ok()
    }

    /// Gives a seat to somebody who is no member, to be woken once.
    pub(crate) fn listen(&self, waker: Waker) -> Seat {
        let Some((shard, at)) = self.here() else { return Seat::NOWHERE };
        let mut shard = lock(shard);
        if shard.is_full(self.limit()) {
            return Seat::NOWHERE;
        }
        self.seat(shard.insert(Some(waker), None), at)
    }

    /// Leaves a seat. What sat there is dropped after the lock. Returns whether this closed the
    /// registry: whether the last member of one that is closing has left.
    ///
    /// All that a member did is visible to whoever sees the registry closed: it is released by the
    /// lock to the last who leaves the shard, and by that one in a chain of read-modify-writes that
    /// the last of all acquires.
    #[inline]
    pub(crate) fn leave(&self, seat: Seat, how: Left) -> bool {
        let Some((shard, place)) = self.find(seat) else { return false };
        let mut shard = lock(shard);
        let members = shard.members;
        let left = shard.remove(place, how);
        // Under the lock, so that nobody comes to the shard in between.
        let is_last = members == 1
            && shard.members == 0
            && self.occupied.fetch_sub(1, Ordering::AcqRel) == CLOSING | 1;
        drop(shard);
        drop(left);
        is_last && self.close_if_empty()
    }

    /// Ends with the members who are here. Returns whether there are none, so that this closed it.
    pub(crate) fn begin_to_close(&self) {
        // AcqRel: who comes in later sees what was done before.
        self.occupied.fetch_or(CLOSING, Ordering::AcqRel);
    }

    /// Closes a registry that is closing and has no members. Returns whether this call did it, which
    /// is true once.
    pub(crate) fn close_if_empty(&self) -> bool {
        // Acquires what the members did, and releases it to who finds the registry closed.
        let closed =
            self.occupied.compare_exchange(CLOSING, CLOSED, Ordering::AcqRel, Ordering::Relaxed);
        closed.is_ok()
    }

    /// Whether there are no members.
    #[cfg_attr(loom, expect(dead_code, reason = "needed where tasks are spawned"))]
    pub(crate) fn is_empty(&self) -> bool {
        // Pairs with the release of those who left.
        self.occupied.load(Ordering::Acquire) & !CLOSED == OPEN
    }

    /// Counts the members, those who are here and those who have left. Shard by shard: who comes
    /// or leaves meanwhile may be counted or not.
    pub(crate) fn count(&self) -> Count {
        let mut sum = Count::default();
        for CacheLine(shard) in &self.shards {
            let Count { members, completed, aborted } = lock(shard).count();
            sum.members += members;
            sum.completed += completed;
            sum.aborted += aborted;
        }
        sum
    }

    /// Has the member in this seat woken by this waker, once. Whoever calls this looks *then*
    /// whether what it is to be woken for has happened. Returns whether a wake-up has been through
    /// here before, and so the waker is there for the next.
    #[inline]
    pub(crate) fn leave_waker(&self, seat: Seat, waker: &Waker) -> bool {
        let Some((shard, place)) = self.find(seat) else { return true };
        let mut shard = lock(shard);
        if let Some(Entry::Taken { waker: kept @ None, .. }) = shard.get_mut(place) {
            *kept = Some(waker.clone());
        }
        shard.was_woken
    }

    /// The same for somebody who is no member, and may be polled by another task each time.
    pub(crate) fn replace_waker(&self, seat: Seat, waker: Waker) {
        let Some((shard, place)) = self.find(seat) else { return };
        let mut shard = lock(shard);
        let Some(Entry::Taken { waker: kept, .. }) = shard.get_mut(place) else { return };
        let before = kept.replace(waker);
        drop(shard);
        drop(before);
    }

    /// Wakes everybody who left a waker, and uses the wakers up: most who are woken leave for good.
    /// Who stays leaves its waker again, until [`Registry::leave_waker`] says that this wake-up
    /// cannot take it any more: it could otherwise take one that was left after the news that it is
    /// for was heard, and that would be missing for the next (loom found it; its twin is in
    /// `tests/loom`).
    ///
    /// Wakers run outside the locks. Who comes meanwhile is missed: what the others are woken for
    /// must be visible before.
    pub(crate) fn wake_all(&self) {
        // Not on the heap: a group of one is told to stop as well.
        let mut woken = [const { None::<Waker> }; WOKEN];
        for CacheLine(shard) in &self.shards {
            let mut next = 0;
            loop {
                let mut shard = lock(shard);
                let mut count = 0;
                // A seat past the last is the end of the shard.
                let is_last = loop {
                    let Some(slot) = woken.get_mut(count) else { break false };
                    let Some(entry) = shard.get_mut(next) else { break true };
                    next += 1;
                    if let Entry::Taken { waker: waker @ Some(_), .. } = entry {
                        *slot = waker.take();
                        count += 1;
                    }
                };
                shard.was_woken |= is_last;
                drop(shard);
                woken.iter_mut().take(count).filter_map(Option::take).for_each(Waker::wake);
                if is_last {
                    break;
                }
            }
        }
    }

    /// The label of the member in this seat.
    pub(crate) fn label(&self, seat: Seat) -> Option<Label> {
        let (shard, place) = self.find(seat)?;
        match lock(shard).get_mut(place) {
            Some(Entry::Taken { label, .. }) => label.clone(),
            _ => None,
        }
    }

    /// The labels of all members.
    #[cfg_attr(loom, expect(dead_code, reason = "needed where tasks are spawned"))]
    pub(crate) fn labels(&self) -> Vec<Label> {
        let mut labels = Vec::new();
        for CacheLine(shard) in &self.shards {
            labels.extend(lock(shard).labels());
        }
        labels
    }
}

/// How many locks share the work, a power of two: as many as there are processors, within reason,
/// because whoever tells a group something goes through all of them.
#[cfg(not(loom))]
fn shards() -> usize {
    use std::{sync::OnceLock, thread};
    // Asked once: the system reads files to answer.
    static SHARDS: OnceLock<usize> = OnceLock::new();
    *SHARDS.get_or_init(|| {
        thread::available_parallelism().map_or(1, |count| count.get().next_power_of_two().min(16))
    })
}

/// One, so that the threads of a model meet.
#[cfg(loom)]
const fn shards() -> usize {
    1
}

/// The number of this thread: threads are dealt out over the shards as they come.
#[cfg(not(loom))]
#[inline]
fn here() -> usize {
    use std::{
        cell::Cell,
        sync::atomic::{AtomicUsize, Ordering},
    };
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        // Without a destructor, and so there as long as the thread is.
        static HERE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let here = HERE.get();
    if here != usize::MAX {
        return here;
    }
    // A number, which publishes nothing.
    let here = NEXT.fetch_add(1, Ordering::Relaxed);
    HERE.set(here);
    here
}

/// The number that a model has given to this thread.
#[cfg(loom)]
use modelled::here;
#[cfg(loom)]
pub(crate) mod modelled {
    use std::cell::Cell;

    use crate::sync::thread_local;

    thread_local! {
        static HERE: Cell<usize> = Cell::new(0);
    }

    pub(crate) fn here() -> usize {
        HERE.with(Cell::get)
    }

    pub(crate) fn sit_in(shard: usize) {
        HERE.with(|here| here.set(shard));
    }
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

    /// A third as many of each kind.
    const MANY: usize = 5001;

    fn enter(registry: &Registry, name: &'static str) -> Seat {
        let label = Label { name: name.into(), spawned_at: Location::caller() };
        registry.enter(label).unwrap_or(Seat::NOWHERE)
    }

    fn names(registry: &Registry) -> Vec<String> {
        let mut names: Vec<_> =
            registry.labels().into_iter().map(|label| label.name.into_owned()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_seat_that_was_left_is_taken_again() {
        let registry = Registry::for_many();
        let seats: Vec<_> = (0..200).map(|_| enter(&registry, "a")).collect();
        for seat in seats.iter().skip(1).step_by(2) {
            registry.leave(*seat, Left::Otherwise);
        }
        let again: Vec<_> = (0..100).map(|_| enter(&registry, "b")).collect();
        assert!(again.iter().all(|seat| seats.contains(seat)), "no new seat was needed");
        assert_eq!(names(&registry).iter().filter(|name| *name == "b").count(), 100);
        assert_eq!(registry.count().members, 200);
        for seat in seats.iter().step_by(2).chain(&again) {
            assert!(!registry.is_empty());
            registry.leave(*seat, Left::Otherwise);
        }
        assert!(registry.is_empty() && names(&registry).is_empty());
    }

    #[test]
    fn many_are_found_again_and_counted_when_they_leave() {
        let registry = Registry::for_many();
        let seats: Vec<_> = (0..MANY).map(|_| enter(&registry, "a")).collect();
        assert!(seats.iter().all(|seat| registry.label(*seat).is_some()));
        for (at, seat) in seats.iter().enumerate() {
            let how = [Left::Completed, Left::Aborted, Left::Otherwise][at % 3];
            registry.leave(*seat, how);
        }
        assert!(names(&registry).is_empty());
        let third = MANY / 3;
        assert_eq!(registry.count(), Count { members: 0, completed: third, aborted: third });
    }

    #[test]
    fn the_last_who_leaves_closes_a_registry_that_is_closing() {
        for registry in [Registry::for_one(), Registry::for_many()] {
            let (one, other) = (enter(&registry, "one"), enter(&registry, "other"));
            let listener = registry.listen(Waker::noop().clone());
            registry.begin_to_close();
            assert!(!registry.close_if_empty() && !registry.leave(one, Left::Completed));
            let brought = enter(&registry, "brought");
            assert!(!registry.leave(other, Left::Completed));
            assert!(registry.leave(brought, Left::Completed), "the last");
            registry.begin_to_close();
            assert!(!registry.close_if_empty(), "once");
            let label = Label { name: "late".into(), spawned_at: Location::caller() };
            assert!(registry.enter(label).is_none(), "closed is for good");
            assert!(!registry.leave(listener, Left::Otherwise), "who listens is not waited for");
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
    fn everybody_is_woken_once_for_each_waker_and_nothing_of_it_is_kept() {
        let (registry, counting) = (Registry::for_many(), Arc::new(Counting::default()));
        let waker = Waker::from(Arc::clone(&counting));
        let seats: Vec<_> = (0..150).map(|_| enter(&registry, "a")).collect();
        let listener = registry.listen(waker.clone());
        for expected in [false, true] {
            counting.0.store(0, Ordering::Relaxed);
            for seat in &seats {
                for _ in 0..2 {
                    assert_eq!(registry.leave_waker(*seat, &waker), expected, "was woken before");
                }
            }
            registry.wake_all();
            assert_eq!(counting.0.load(Ordering::Relaxed), 150 + usize::from(!expected));
        }
        registry.wake_all();
        assert_eq!(
            counting.0.load(Ordering::Relaxed),
            150,
            "who does not come again is left alone"
        );
        registry.replace_waker(listener, waker.clone());
        registry.leave(listener, Left::Otherwise);
        for seat in seats {
            registry.leave(seat, Left::Otherwise);
        }
        assert_eq!(Arc::strong_count(&counting), 2);
    }
}
