//! A part of a registry, behind a lock of its own.

use std::{mem, task::Waker};

use super::{Count, Exit, Label};

/// How many entries a block has: four blocks have 4, the next four have 8, and so on. Nothing is ever
/// copied, at most a quarter is free, and the entries of a large group lie together on the heap: a
/// group of a hundred thousand with as many small blocks ends a third slower.
const fn capacity(block: usize) -> usize {
    4 << (block / 4)
}

/// The block that an index is in, and where in the block.
#[inline]
const fn find_in_blocks(index: u32) -> (usize, usize) {
    // After adding 16, the blocks double in size at each power of two.
    let index = (index as usize).saturating_add(16);
    let doubled = index.ilog2() - 4;
    let quarter = (index >> (doubled + 2)) & 3;
    (4 * doubled as usize + quarter, index & ((4 << doubled) - 1))
}

/// The index of no entry.
pub(super) const NONE: u32 = u32::MAX;

pub(super) enum Entry {
    /// A task, or without a label a signal.
    Taken { waker: Option<Waker>, label: Option<Label> },
    /// Free, with the index of the next free entry.
    Free { next: u32 },
}

pub(super) struct Shard {
    blocks: Vec<Vec<Entry>>,
    /// How many entries there are, taken and free.
    len: u32,
    /// The first free entry.
    free: u32,
    /// How many tasks run, how many completed, and how many were dropped before that.
    pub(super) running: u32,
    completed: usize,
    aborted: usize,
    /// Whether a wake-up has passed here.
    pub(super) was_woken: bool,
}

impl Shard {
    pub(super) const fn new() -> Self {
        Self {
            blocks: Vec::new(),
            len: 0,
            free: NONE,
            running: 0,
            completed: 0,
            aborted: 0,
            was_woken: false,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Entry> {
        let (block, at) = find_in_blocks(index);
        self.blocks.get_mut(block)?.get_mut(at)
    }

    /// Whether so many entries are taken.
    pub(super) const fn is_full(&self, limit: u32) -> bool {
        self.free == NONE && self.len >= limit
    }

    /// Takes an entry, in a shard that is not full.
    #[inline]
    pub(super) fn insert(&mut self, waker: Option<Waker>, label: Option<Label>) -> u32 {
        self.running += u32::from(label.is_some());
        let free = self.free;
        if free != NONE
            && let Some(entry) = self.get_mut(free)
            && let Entry::Free { next } = *entry
        {
            // A free entry has nothing to drop.
            mem::forget(mem::replace(entry, Entry::Taken { waker, label }));
            self.free = next;
            return free;
        }
        let index = self.len;
        if find_in_blocks(index).0 == self.blocks.len() {
            self.add_block();
        }
        if let Some(block) = self.blocks.last_mut() {
            block.push(Entry::Taken { waker, label });
            self.len += 1;
        }
        index
    }

    #[cold]
    fn add_block(&mut self) {
        self.blocks.push(Vec::with_capacity(capacity(self.blocks.len())));
    }

    /// Frees an entry. Returns what was in it, to be dropped after the lock is released.
    #[inline]
    pub(super) fn remove(&mut self, index: u32, exit: Exit) -> Option<Entry> {
        let free = self.free;
        let removed = mem::replace(self.get_mut(index)?, Entry::Free { next: free });
        self.free = index;
        match exit {
            Exit::Completed => self.completed += 1,
            Exit::Aborted => self.aborted += 1,
            Exit::Uncounted => {}
        }
        if matches!(removed, Entry::Taken { label: Some(_), .. }) {
            self.running -= 1;
        }
        Some(removed)
    }

    pub(super) const fn count(&self) -> Count {
        Count { running: self.running as usize, completed: self.completed, aborted: self.aborted }
    }

    /// The labels of the tasks.
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
    fn every_index_is_in_one_block_and_the_next_follows_it() {
        let mut expected = (0, 0);
        for index in 0..100_000 {
            if expected.1 == capacity(expected.0) {
                expected = (expected.0 + 1, 0);
            }
            assert_eq!(find_in_blocks(index), expected, "index {index}");
            expected.1 += 1;
        }
    }

    #[test]
    fn an_entry_is_small_and_a_shard_is_a_cache_line() {
        assert!(size_of::<Entry>() <= 48, "{}", size_of::<Entry>());
        let shard = size_of::<crate::sync::Mutex<Shard>>();
        assert!(shard <= 64, "{shard}");
    }
}
