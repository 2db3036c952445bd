//! A part of a registry, behind a lock of its own.

use std::{mem, task::Waker};

use super::{Label, Left};

/// How many seats are allocated at a time, in a group that is not large. The very first has a place
/// in the shard itself, for a group of one.
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
    /// How many places there are, taken and free, and how many there may be.
    places: u32,
    limit: u32,
    /// The first that is free.
    free: u32,
    /// How many members sit here.
    pub(super) members: usize,
    /// How many left because they had completed.
    pub(super) completed: usize,
    /// How many left because they were dropped.
    pub(super) aborted: usize,
    /// Whether a wake-up has been through here.
    pub(super) was_woken: bool,
}

impl Shard {
    /// One that numbers its places below a limit.
    pub(super) const fn new(limit: u32) -> Self {
        Self {
            blocks: Vec::new(),
            places: 0,
            limit,
            free: NONE,
            members: 0,
            completed: 0,
            aborted: 0,
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
        self.members += usize::from(label.is_some());
        let entry = Entry::Taken { waker, label };
        let free = self.free;
        if free != NONE
            && let Some(place) = self.get_mut(free as usize)
        {
            if let Entry::Free { next } = mem::replace(place, entry) {
                self.free = next;
            }
            return free;
        }
        let place = self.places;
        let (at, _) = find_in_blocks(place as usize);
        if at == self.blocks.len() {
            self.add_block();
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push(entry);
            self.places += 1;
        }
        place
    }

    #[cold]
    fn add_block(&mut self) {
        self.blocks.push(Vec::with_capacity(match self.blocks.len() {
            0 => 0,
            1..SMALL_BLOCKS => SMALL,
            _ => LARGE,
        }));
    }

    /// Leaves a place. Returns what sat there, to be dropped after the lock.
    #[inline]
    pub(super) fn remove(&mut self, place: usize, how: Left) -> Option<Entry> {
        let free = self.free;
        let left = mem::replace(self.get_mut(place)?, Entry::Free { next: free });
        self.free = u32::try_from(place).unwrap_or(NONE);
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
        for place in 0..SMALL_SEATS + 3 * LARGE {
            let found = find_in_blocks(place);
            if found != expected {
                assert_eq!(found, (expected.0 + 1, 0), "place {place}");
            }
            expected = (found.0, found.1 + 1);
        }
    }

    #[test]
    fn a_seat_and_its_label_are_small() {
        assert!(size_of::<Entry>() <= 48, "{}", size_of::<Entry>());
    }
}
