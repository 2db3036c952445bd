//! Who belongs to a group: a seat for each, with what is needed to wake it and to name it.
//!
//! The seats are spread over shards, each behind a lock of its own that is held for nanoseconds, and
//! within a shard over blocks that are never moved or given back while the registry lives: a million
//! seats cost no copying, and at most one block of slack for each shard.

use std::{borrow::Cow, mem, panic::Location, task::Waker};

use crate::sync::{Mutex, lock};

/// How many locks share the work. One under loom, so that its threads meet.
const SHARDS: usize = if cfg!(all(loom, not(shuttle))) { 1 } else { 16 };

/// How many seats are allocated at a time.
const BLOCK: usize = 64;

/// What names no seat.
const NONE: u32 = u32::MAX;

/// What a member is called, and where it was spawned.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) name: Cow<'static, str>,
    pub(crate) spawned_at: &'static Location<'static>,
}

/// Where a seat is: the shard in the low bits, the place in it above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat(u32);

impl Seat {
    /// A place that nobody sits in.
    pub(crate) const NOWHERE: Self = Self(NONE);

    const fn shard(self) -> usize {
        self.0 as usize % SHARDS
    }

    const fn place(self) -> usize {
        self.0 as usize / SHARDS
    }
}

enum Entry {
    /// A member, or without a label somebody who listens on a member's behalf.
    Taken { waker: Option<Waker>, label: Option<Label> },
    /// Nobody; the next free place of the shard.
    Free { next: u32 },
}

struct Shard {
    blocks: Vec<Vec<Entry>>,
    free: u32,
}

impl Shard {
    fn get_mut(&mut self, place: usize) -> Option<&mut Entry> {
        self.blocks.get_mut(place / BLOCK)?.get_mut(place % BLOCK)
    }

    fn insert(&mut self, entry: Entry) -> u32 {
        let place = self.free;
        if let Some(free) = self.get_mut(place as usize) {
            if let Entry::Free { next } = mem::replace(free, entry) {
                self.free = next;
            }
            return place;
        }
        let full = self.blocks.last().is_none_or(|block| block.len() == BLOCK);
        if full {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let before = (self.blocks.len() - 1) * BLOCK;
        let Some(block) = self.blocks.last_mut() else { return NONE };
        block.push(entry);
        u32::try_from(before + block.len() - 1).unwrap_or(NONE)
    }
}

/// The seats of a group.
pub(crate) struct Registry {
    shards: Box<[Mutex<Shard>]>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        let shard = || Mutex::new(Shard { blocks: Vec::new(), free: NONE });
        Self { shards: (0..SHARDS).map(|_| shard()).collect() }
    }

    fn shard(&self, at: usize) -> Option<&Mutex<Shard>> {
        self.shards.get(at)
    }

    /// Takes a seat, in the shard of this thread.
    pub(crate) fn sit(&self, waker: Option<Waker>, label: Option<Label>) -> Seat {
        let at = here();
        let Some(shard) = self.shard(at) else { return Seat::NOWHERE };
        let place = lock(shard).insert(Entry::Taken { waker, label });
        let seat = u64::from(place) * SHARDS as u64 + at as u64;
        Seat(u32::try_from(seat).unwrap_or(NONE))
    }

    /// Leaves a seat. What sat there is dropped after the lock.
    pub(crate) fn leave(&self, seat: Seat) {
        let Some(shard) = self.shard(seat.shard()).filter(|_| seat != Seat::NOWHERE) else {
            return;
        };
        let mut shard = lock(shard);
        let (free, place) = (shard.free, seat.place());
        let Some(entry) = shard.get_mut(place) else { return };
        let left = mem::replace(entry, Entry::Free { next: free });
        shard.free = u32::try_from(place).unwrap_or(NONE);
        drop(shard);
        drop(left);
    }

    /// Has the one in this seat woken by this waker from now on. Whoever calls this looks *then*
    /// whether what it is to be woken for has happened.
    pub(crate) fn set_waker(&self, seat: Seat, waker: &Waker) {
        let Some(shard) = self.shard(seat.shard()) else { return };
        let mut shard = lock(shard);
        let Some(Entry::Taken { waker: kept, .. }) = shard.get_mut(seat.place()) else { return };
        let before = match kept {
            Some(known) if known.will_wake(waker) => None,
            kept => kept.replace(waker.clone()),
        };
        drop(shard);
        drop(before);
    }

    /// Whether the one in this seat is woken by this waker.
    pub(crate) fn is_woken_by(&self, seat: Seat, waker: &Waker) -> bool {
        let Some(shard) = self.shard(seat.shard()) else { return false };
        matches!(
            lock(shard).get_mut(seat.place()),
            Some(Entry::Taken { waker: Some(known), .. }) if known.will_wake(waker)
        )
    }

    /// Wakes everybody who left a waker. The wakers stay: with wakers that are used up, one that was
    /// left after the news of a stop could be taken by the wake-up for that same news, come late,
    /// and be missing for the abort (loom found it; its twin is in `tests/loom.rs`).
    ///
    /// Wakers run outside the locks. Who comes meanwhile is missed: what the others are woken for
    /// must be visible before.
    pub(crate) fn wake_all(&self) {
        let mut woken = Vec::new();
        for shard in &self.shards {
            for block in 0.. {
                let shard = lock(shard);
                let Some(entries) = shard.blocks.get(block) else { break };
                woken.extend(entries.iter().filter_map(|entry| match entry {
                    Entry::Taken { waker, .. } => waker.clone(),
                    Entry::Free { .. } => None,
                }));
                drop(shard);
                woken.drain(..).for_each(Waker::wake);
            }
        }
    }

    /// The label of the member in this seat.
    pub(crate) fn label(&self, seat: Seat) -> Option<Label> {
        match lock(self.shard(seat.shard())?).get_mut(seat.place()) {
            Some(Entry::Taken { label, .. }) => label.clone(),
            _ => None,
        }
    }

    /// The labels of all members.
    pub(crate) fn labels(&self) -> Vec<Label> {
        let mut labels = Vec::new();
        for shard in &self.shards {
            let shard = lock(shard);
            labels.extend(shard.blocks.iter().flatten().filter_map(|entry| match entry {
                Entry::Taken { label, .. } => label.clone(),
                Entry::Free { .. } => None,
            }));
        }
        labels
    }
}

/// The shard of this thread: threads are dealt out over the shards as they come.
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
    let here = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
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
        seats.iter().skip(1).step_by(2).for_each(|seat| registry.leave(*seat));
        let again: Vec<_> = (0..100).map(|_| registry.sit(None, label("b"))).collect();
        assert!(again.iter().all(|seat| seats.contains(seat)), "no new seat was needed");
        assert_eq!(names(&registry).iter().filter(|name| *name == "b").count(), 100);
        seats.iter().step_by(2).chain(&again).for_each(|seat| registry.leave(*seat));
        assert!(names(&registry).is_empty());
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
        seats.iter().for_each(|seat| registry.leave(*seat));
        registry.wake_all();
        assert_eq!(counting.0.load(Ordering::Relaxed), 150, "nobody is left");
        assert_eq!(Arc::strong_count(&counting), 2);
    }
}
