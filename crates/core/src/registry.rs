//! Who belongs to a group: a seat for each, with what is needed to wake it and to name it.
//!
//! The seats are spread over shards, each behind a lock of its own that is held for nanoseconds, and
//! within a shard over blocks that are not given back while the registry lives and, but for the
//! first, never moved: a million seats cost no copying, at most one block of slack for each shard,
//! and one seat costs few.

use std::{borrow::Cow, mem, panic::Location, task::Waker};

use crate::sync::{Mutex, lock};

/// How many seats are allocated at a time, in a group that is not large; in the first block fewer,
/// as it grows. A hundred seats need two blocks.
const SMALL: usize = 56;

/// How many such blocks there are, and how many seats in them.
const SMALL_BLOCKS: usize = 64;
const SMALL_SEATS: usize = SMALL * SMALL_BLOCKS;

/// How many seats are allocated at a time after those. Blocks lie between the tasks in the heap, and
/// many small ones scatter these: a group of a hundred thousand ends by a third faster with few
/// large ones.
const LARGE: usize = 1024;

/// The block that a place is in, and where in it.
const fn find_in_blocks(place: usize) -> (usize, usize) {
    if place < SMALL_SEATS {
        return (place / SMALL, place % SMALL);
    }
    let place = place - SMALL_SEATS;
    (SMALL_BLOCKS + place / LARGE, place % LARGE)
}

/// How many are woken between one lock and the next.
const WOKEN: usize = 32;

/// What names no seat.
const NONE: u32 = u32::MAX;

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
    /// A member that has not, or somebody who is no member.
    Otherwise,
}

enum Entry {
    /// A member, or without a label somebody who listens on a member's behalf.
    Taken { waker: Option<Waker>, label: Option<Label> },
    /// Nobody; the next free place of the shard.
    Free { next: u32 },
}

/// A cache line to itself, so that two threads with a shard each do not meet.
#[repr(align(64))]
struct CacheLine<T>(T);

struct Shard {
    blocks: Vec<Vec<Entry>>,
    /// How many places there are, taken and free.
    places: usize,
    free: u32,
    /// How many members left a seat of this shard because they had completed.
    completed: usize,
}

impl Shard {
    fn get_mut(&mut self, place: usize) -> Option<&mut Entry> {
        let (block, at) = find_in_blocks(place);
        self.blocks.get_mut(block)?.get_mut(at)
    }

    fn insert(&mut self, entry: Entry) -> u32 {
        let place = self.free;
        if let Some(free) = self.get_mut(place as usize) {
            if let Entry::Free { next } = mem::replace(free, entry) {
                self.free = next;
            }
            return place;
        }
        let place = self.places;
        let (at, _) = find_in_blocks(place);
        if at == self.blocks.len() {
            self.blocks.push(Vec::with_capacity(match at {
                0 => 0,
                1..SMALL_BLOCKS => SMALL,
                _ => LARGE,
            }));
        }
        let Some(block) = self.blocks.last_mut() else { return NONE };
        block.push(entry);
        self.places += 1;
        u32::try_from(place).unwrap_or(NONE)
    }
}

/// The seats of a group.
pub(crate) struct Registry {
    shards: Box<[CacheLine<Mutex<Shard>>]>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        let shard = || Shard { blocks: Vec::new(), places: 0, free: NONE, completed: 0 };
        Self { shards: (0..shards()).map(|_| CacheLine(Mutex::new(shard()))).collect() }
    }

    /// Where a seat is: the lock of its shard, and its place there. Nowhere where nobody sits.
    fn find(&self, seat: Seat) -> Option<(&Mutex<Shard>, usize)> {
        if seat == Seat::NOWHERE {
            return None;
        }
        // There is a power of two of them.
        let (seat, shards) = (seat.0 as usize, self.shards.len());
        let CacheLine(shard) = self.shards.get(seat & (shards - 1))?;
        Some((shard, seat >> shards.trailing_zeros()))
    }

    /// Takes a seat, in the shard of this thread.
    pub(crate) fn sit(&self, waker: Option<Waker>, label: Option<Label>) -> Seat {
        let at = here() & (self.shards.len() - 1);
        let Some(CacheLine(shard)) = self.shards.get(at) else { return Seat::NOWHERE };
        let place = lock(shard).insert(Entry::Taken { waker, label });
        let seat = u64::from(place) * self.shards.len() as u64 + at as u64;
        Seat(u32::try_from(seat).unwrap_or(NONE))
    }

    /// Leaves a seat. What sat there is dropped after the lock.
    pub(crate) fn leave(&self, seat: Seat, how: Left) {
        let Some((shard, place)) = self.find(seat) else { return };
        let mut shard = lock(shard);
        if how == Left::Completed {
            shard.completed += 1;
        }
        let free = shard.free;
        let Some(entry) = shard.get_mut(place) else { return };
        let left = mem::replace(entry, Entry::Free { next: free });
        shard.free = u32::try_from(place).unwrap_or(NONE);
        drop(shard);
        drop(left);
    }

    /// How many members have left because they had completed.
    pub(crate) fn completed(&self) -> usize {
        self.shards.iter().map(|CacheLine(shard)| lock(shard).completed).sum()
    }

    /// Has the one in this seat woken by this waker from now on. Whoever calls this looks *then*
    /// whether what it is to be woken for has happened.
    pub(crate) fn set_waker(&self, seat: Seat, waker: &Waker) {
        let Some((shard, place)) = self.find(seat) else { return };
        let mut shard = lock(shard);
        let Some(Entry::Taken { waker: kept, .. }) = shard.get_mut(place) else { return };
        let before = match kept {
            Some(known) if known.will_wake(waker) => None,
            kept => kept.replace(waker.clone()),
        };
        drop(shard);
        drop(before);
    }

    /// Whether the one in this seat is woken by this waker.
    pub(crate) fn is_woken_by(&self, seat: Seat, waker: &Waker) -> bool {
        let Some((shard, place)) = self.find(seat) else { return false };
        matches!(
            lock(shard).get_mut(place),
            Some(Entry::Taken { waker: Some(known), .. }) if known.will_wake(waker)
        )
    }

    /// Wakes everybody who left a waker. The wakers stay: with wakers that are used up, one that was
    /// left after the news of a stop could be taken by the wake-up for that same news, come late,
    /// and be missing for the abort (loom found it; its twin is in `tests/loom`).
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
                    if count == WOKEN {
                        break false;
                    }
                    let Some(entry) = shard.get_mut(next) else { break true };
                    next += 1;
                    if let Entry::Taken { waker: Some(waker), .. } = entry
                        && let Some(slot) = woken.get_mut(count)
                    {
                        *slot = Some(waker.clone());
                        count += 1;
                    }
                };
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
    pub(crate) fn labels(&self) -> Vec<Label> {
        let mut labels = Vec::new();
        for CacheLine(shard) in &self.shards {
            let shard = lock(shard);
            labels.extend(shard.blocks.iter().flatten().filter_map(|entry| match entry {
                Entry::Taken { label, .. } => label.clone(),
                Entry::Free { .. } => None,
            }));
        }
        labels
    }
}

/// How many locks share the work, a power of two: as many as there are processors, within reason,
/// because whoever tells a group something goes through all of them.
#[cfg(any(not(loom), shuttle))]
fn shards() -> usize {
    use std::{sync::OnceLock, thread};
    // Asked once: the system reads files to answer.
    static SHARDS: OnceLock<usize> = OnceLock::new();
    *SHARDS.get_or_init(|| {
        thread::available_parallelism().map_or(1, |count| count.get().next_power_of_two().min(16))
    })
}

/// One, so that the threads of a model meet.
#[cfg(all(loom, not(shuttle)))]
const fn shards() -> usize {
    1
}

/// The number of this thread: threads are dealt out over the shards as they come.
#[cfg(any(not(loom), shuttle))]
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

#[cfg(all(loom, not(shuttle)))]
const fn here() -> usize {
    0
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn label(name: &'static str) -> Option<Label> {
        Some(Label { name: name.into(), spawned_at: Location::caller() })
    }

    fn names(registry: &Registry) -> Vec<String> {
        let mut names: Vec<_> =
            registry.labels().into_iter().map(|label| label.name.into_owned()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn a_seat_that_was_left_is_taken_again() {
        let registry = Registry::new();
        let seats: Vec<_> = (0..200).map(|_| registry.sit(None, label("a"))).collect();
        seats.iter().skip(1).step_by(2).for_each(|seat| registry.leave(*seat, Left::Otherwise));
        let again: Vec<_> = (0..100).map(|_| registry.sit(None, label("b"))).collect();
        assert!(again.iter().all(|seat| seats.contains(seat)), "no new seat was needed");
        assert_eq!(names(&registry).iter().filter(|name| *name == "b").count(), 100);
        seats
            .iter()
            .step_by(2)
            .chain(&again)
            .for_each(|seat| registry.leave(*seat, Left::Otherwise));
        assert!(names(&registry).is_empty());
    }

    #[test]
    fn every_place_is_in_one_block_and_the_next_follows_it() {
        let mut expected = (0, 0);
        for place in 0..SMALL_SEATS + 3 * LARGE {
            let found = find_in_blocks(place);
            if found != expected {
                assert_eq!(found, (expected.0 + 1, 0), "place {place}");
            }
            expected = (found.0, found.1 + 1);
        }
    }

    #[test]
    fn a_seat_in_a_large_block_is_found_again() {
        let registry = Registry::new();
        let seats: Vec<_> =
            (0..SMALL_SEATS + LARGE + 1).map(|_| registry.sit(None, label("a"))).collect();
        assert!(seats.iter().all(|seat| registry.label(*seat).is_some()));
        seats.iter().for_each(|seat| registry.leave(*seat, Left::Completed));
        assert!(names(&registry).is_empty());
        assert_eq!(registry.completed(), seats.len());
    }

    #[test]
    fn a_seat_and_its_label_are_small() {
        assert!(size_of::<Entry>() <= 48, "{}", size_of::<Entry>());
    }

    #[test]
    fn everybody_is_woken_once_and_nothing_of_the_waker_is_kept() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        #[derive(Default)]
        struct Counting(AtomicUsize);
        impl std::task::Wake for Counting {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let (registry, counting) = (Registry::new(), Arc::new(Counting::default()));
        let waker = Waker::from(Arc::clone(&counting));
        let seats: Vec<_> = (0..150).map(|_| registry.sit(None, None)).collect();
        for seat in &seats {
            registry.set_waker(*seat, &waker);
            assert!(registry.is_woken_by(*seat, &waker));
        }
        registry.wake_all();
        assert_eq!(counting.0.load(Ordering::Relaxed), 150);
        seats.iter().for_each(|seat| registry.leave(*seat, Left::Otherwise));
        registry.wake_all();
        assert_eq!(counting.0.load(Ordering::Relaxed), 150, "nobody is left");
        assert_eq!(Arc::strong_count(&counting), 2);
    }
}
