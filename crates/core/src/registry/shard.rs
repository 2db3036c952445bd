//! A part of a registry, behind a lock of its own.

use std::{mem, task::Waker};

use super::{Count, Label, Left};

/// How many seats a block has: four blocks have four, the next four have eight, and so on. Nothing is
/// ever copied, a quarter at the most is free, and what belongs to many lies together in the heap: a
/// group of a hundred thousand with as many small blocks ends a third slower.
const fn capacity(block: usize) -> usize {
    4 << (block / 4)
}

/// The block that a place is in, and where in it.
#[inline]
const fn find_in_blocks(place: u32) -> (usize, usize) {
    // Counted from here, each power of two is where the blocks begin to be twice as large.
    let place = (place as usize).saturating_add(16);
    let doubled = place.ilog2() - 4;
    let quarter = (place >> (doubled + 2)) & 3;
    (4 * doubled as usize + quarter, place & ((4 << doubled) - 1))
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
    /// How many places there are, taken and free.
    places: u32,
    /// The first that is free.
    free: u32,
    /// How many members sit here, how many have left because they had completed, and how many
    /// because they were dropped.
    pub(super) members: u32,
    completed: usize,
    aborted: usize,
    /// Whether a wake-up has been through here.
    pub(super) was_woken: bool,
}

impl Shard {
    pub(super) const fn new() -> Self {
        Self {
            blocks: Vec::new(),
            places: 0,
            free: NONE,
            members: 0,
            completed: 0,
            aborted: 0,
            was_woken: false,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut Entry> {
        let (block, at) = find_in_blocks(place);
        self.blocks.get_mut(block)?.get_mut(at)
    }

    /// Whether so many places are taken.
    pub(super) const fn is_full(&self, limit: u32) -> bool {
        self.free == NONE && self.places >= limit
    }

    /// Takes a place, in a shard that is not full.
    #[inline]
    pub(super) fn insert(&mut self, waker: Option<Waker>, label: Option<Label>) -> u32 {
        self.members += u32::from(label.is_some());
        let free = self.free;
        if free != NONE
            && let Some(entry) = self.get_mut(free)
            && let Entry::Free { next } = *entry
        {
            // A free place has nothing to drop.
            mem::forget(mem::replace(entry, Entry::Taken { waker, label }));
            self.free = next;
            return free;
        }
        let place = self.places;
        if find_in_blocks(place).0 == self.blocks.len() {
            self.add_block();
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push(Entry::Taken { waker, label });
            self.places += 1;
        }
        place
    }

    #[cold]
    fn add_block(&mut self) {
        self.blocks.push(Vec::with_capacity(capacity(self.blocks.len())));
    }

    /// Leaves a place. Returns what sat there, to be dropped after the lock.
    #[inline]
    pub(super) fn remove(&mut self, place: u32, how: Left) -> Option<Entry> {
        let free = self.free;
        let left = mem::replace(self.get_mut(place)?, Entry::Free { next: free });
        self.free = place;
        match how {
            Left::Completed => self.completed += 1,
            Left::Aborted => self.aborted += 1,
            Left::Otherwise => {}
        }
        if matches!(left, Entry::Taken { label: Some(_), .. }) {
            self.members -= 1;
        }
        Some(left)
    }

    pub(super) const fn count(&self) -> Count {
        Count { members: self.members as usize, completed: self.completed, aborted: self.aborted }
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
        for place in 0..100_000 {
            if expected.1 == capacity(expected.0) {
                expected = (expected.0 + 1, 0);
            }
            assert_eq!(find_in_blocks(place), expected, "place {place}");
            expected.1 += 1;
        }
    }

    #[test]
    fn a_seat_is_small_and_a_shard_is_a_cache_line() {
        assert!(size_of::<Entry>() <= 48, "{}", size_of::<Entry>());
        let shard = size_of::<crate::sync::Mutex<Shard>>();
        assert!(shard <= 64, "{shard}");
    }
}
