//! A part of a registry, behind a lock of its own.

use std::{mem, task::Waker};

use super::{Count, Label, Left};

/// How many seats the first block has, and each after it twice as many as the one before: nothing is
/// ever copied, and no more is free than taken.
const FIRST: usize = 4;

/// How many they have at the most, so that a million seats waste no more than this many in a shard.
const LARGEST: usize = 1024;

/// How many blocks there are before the first of the largest, and how many seats in them.
const GROWING: usize = (LARGEST / FIRST).ilog2() as usize;
const GROWING_SEATS: usize = LARGEST - FIRST;

/// How many seats a block has.
const fn capacity(block: usize) -> usize {
    if block < GROWING { FIRST << block } else { LARGEST }
}

/// The block that a place is in, and where in it.
#[inline]
const fn find_in_blocks(place: usize) -> (usize, usize) {
    if place < GROWING_SEATS {
        // Counted from here, a block begins at each power of two.
        let place = place + FIRST;
        let block = (place / FIRST).ilog2();
        return (block as usize, place - (FIRST << block));
    }
    let place = place - GROWING_SEATS;
    (GROWING + place / LARGEST, place % LARGEST)
}

/// What names no place.
pub(super) const NONE: u32 = u32::MAX;

pub(super) enum Entry {
    /// A member, or without a label somebody who listens on a member's behalf.
    Taken { waker: Option<Waker>, label: Option<Label> },
    /// Nobody; the next free place of the shard.
    Free { next: u32 },
}

pub(super) struct Shard {
    blocks: Vec<Vec<Entry>>,
    /// How many places there are, taken and free; how many the blocks have room for; and how many
    /// there may be.
    places: u32,
    room: u32,
    limit: u32,
    /// The first that is free.
    free: u32,
    pub(super) count: Count,
    /// Whether a wake-up has been through here.
    pub(super) was_woken: bool,
}

impl Shard {
    /// One that numbers its places below a limit.
    pub(super) const fn new(limit: u32) -> Self {
        Self {
            blocks: Vec::new(),
            places: 0,
            room: 0,
            limit,
            free: NONE,
            count: Count { members: 0, completed: 0, aborted: 0 },
            was_woken: false,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Entry> {
        let (block, at) = find_in_blocks(place);
        self.blocks.get_mut(block)?.get_mut(at)
    }

    /// Whether places have run out of numbers, which are more than there is memory for.
    pub(super) const fn is_full(&self) -> bool {
        self.free == NONE && self.places >= self.limit
    }

    /// Takes a place, in a shard that is not full.
    #[inline]
    pub(super) fn insert(&mut self, waker: Option<Waker>, label: Option<Label>) -> u32 {
        self.count.members += usize::from(label.is_some());
        let free = self.free;
        if free != NONE
            && let Some(entry) = self.get_mut(free as usize)
            && let Entry::Free { next } = *entry
        {
            // A free place has nothing to drop.
            mem::forget(mem::replace(entry, Entry::Taken { waker, label }));
            self.free = next;
            return free;
        }
        if self.places == self.room {
            self.add_block();
        }
        let place = self.places;
        if let Some(block) = self.blocks.last_mut() {
            block.push(Entry::Taken { waker, label });
            self.places += 1;
        }
        place
    }

    #[cold]
    fn add_block(&mut self) {
        let seats = capacity(self.blocks.len());
        self.blocks.push(Vec::with_capacity(seats));
        self.room += u32::try_from(seats).unwrap_or(0);
    }

    /// Leaves a place. Returns what sat there, to be dropped after the lock.
    #[inline]
    pub(super) fn remove(&mut self, place: usize, how: Left) -> Option<Entry> {
        let free = self.free;
        let left = mem::replace(self.get_mut(place)?, Entry::Free { next: free });
        self.free = u32::try_from(place).unwrap_or(NONE);
        match how {
            Left::Completed => self.count.completed += 1,
            Left::Aborted => self.count.aborted += 1,
            Left::Otherwise => {}
        }
        if matches!(left, Entry::Taken { label: Some(_), .. }) {
            self.count.members -= 1;
        }
        Some(left)
    }

    /// The labels of the members.
    pub(super) fn labels(&self) -> impl Iterator<Item = Label> {
        self.blocks.iter().flatten().filter_map(|entry| match entry {
            Entry::Taken { label, .. } => label.clone(),
            Entry::Free { .. } => None,
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_in_one_block_and_the_next_follows_it() {
        let mut expected = (0, 0);
        for place in 0..4 * LARGEST {
            if expected.1 == capacity(expected.0) {
                expected = (expected.0 + 1, 0);
            }
            assert_eq!(find_in_blocks(place), expected, "place {place}");
            expected.1 += 1;
        }
    }

    #[test]
    fn a_seat_and_its_label_are_small() {
        assert!(size_of::<Entry>() <= 48, "{}", size_of::<Entry>());
    }
}
