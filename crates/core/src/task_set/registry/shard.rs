//! A part of a registry, behind a lock of its own.
//!
//! Its entries lie in blocks. A block whose last entry is freed is freed, too, except one: so the memory of
//! a burst returns, down to one block of at most 48 KiB, and a group whose size goes up and down around
//! the end of a block does not allocate each time. Entries are not moved. So one task that goes on keeps
//! its block.

use std::{mem, task::Waker};

use smallvec::{Array, SmallVec};

use super::{Count, Exit, Label};
use crate::waker::Wakers;

/// How many entries a block has: four blocks have 4, the next four have 8, and so on up to 1024. Nothing
/// is ever copied, at most a quarter is free while a group grows, and the entries of a large group lie
/// together on the heap: a group of a hundred thousand with as many small blocks ends a third slower.
const fn capacity(block: usize) -> usize {
    4 << min(block / 4, 8)
}

/// The first block after those that double.
const FIRST_EQUAL: usize = 36;

/// How many entries all blocks before that have.
const BEFORE_EQUAL: usize = first_of_doubling(FIRST_EQUAL);

const fn min(one: usize, other: usize) -> usize {
    if one < other { one } else { other }
}

/// The index of the first entry of a block.
const fn first_of(block: usize) -> usize {
    if block > FIRST_EQUAL {
        return BEFORE_EQUAL + (block - FIRST_EQUAL) * capacity(FIRST_EQUAL);
    }
    first_of_doubling(block)
}

const fn first_of_doubling(block: usize) -> usize {
    ((4 + block % 4) << (2 + block / 4)) - 16
}

/// The block that an index is in, and where in the block.
#[inline]
const fn find_in_blocks(index: u32) -> (usize, usize) {
    let index = index as usize;
    if index >= BEFORE_EQUAL {
        let beyond = index - BEFORE_EQUAL;
        return (FIRST_EQUAL + beyond / capacity(FIRST_EQUAL), beyond % capacity(FIRST_EQUAL));
    }
    // After adding 16, the blocks double in size at each power of two.
    let index = index + 16;
    let doubled = index.ilog2() - 4;
    let quarter = (index >> (doubled + 2)) & 3;
    (4 * doubled as usize + quarter, index & ((4 << doubled) - 1))
}

/// The index of no entry, and of no block.
pub(super) const NONE: u32 = u32::MAX;

pub(super) enum Entry {
    /// A task, or without a label a signal.
    Taken { waker: Option<Waker>, label: Option<Label> },
    /// Free, with the place in the block of the next free entry.
    Free { next: u32 },
}

struct Block {
    /// Not allocated while nothing is in it, unless it is the spare one.
    entries: Vec<Entry>,
    /// The first free entry.
    free: u32,
    taken: u32,
    /// The next block that has room, if this one has.
    next: u32,
}

pub(super) struct Shard {
    blocks: Vec<Block>,
    /// The first block that has room. The others follow it in a list.
    room: u32,
    /// The empty block that is kept.
    spare: u32,
    /// How many tasks run, how many completed, and how many were dropped before that.
    pub(super) running: u32,
    /// Whether a wake-up has passed here.
    pub(super) was_woken: bool,
    completed: usize,
    aborted: usize,
}

/// Where a walk through the wakers has come to.
#[derive(Default)]
pub(super) struct Position {
    block: usize,
    entry: usize,
}

/// What an entry was, and its block if that is no longer needed: to be dropped after the lock is released.
pub(super) struct Removed {
    pub(super) waker: Option<Waker>,
    _label: Option<Label>,
    _block: Vec<Entry>,
}

impl Shard {
    pub(super) const fn new() -> Self {
        Self {
            blocks: Vec::new(),
            room: NONE,
            spare: NONE,
            running: 0,
            was_woken: false,
            completed: 0,
            aborted: 0,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut Entry> {
        let (block, at) = find_in_blocks(index);
        self.blocks.get_mut(block)?.entries.get_mut(at)
    }

    /// Whether so many entries are taken that there is no number for another block of them.
    pub(super) fn is_full(&self, limit: u32) -> bool {
        self.room == NONE && first_of(self.blocks.len() + 1) > limit as usize
    }

    /// Takes an entry, in a shard that is not full.
    #[inline]
    pub(super) fn insert(&mut self, waker: Option<Waker>, label: Option<Label>) -> u32 {
        if self.room == NONE {
            self.add_block();
        }
        let index = self.room;
        let Some(block) = self.blocks.get_mut(index as usize) else { return NONE };
        self.running += u32::from(label.is_some());
        let taken = Entry::Taken { waker, label };
        let mut at = block.free;
        match block.entries.get_mut(at as usize) {
            Some(entry @ &mut Entry::Free { next }) => {
                // A free entry has nothing to drop.
                mem::forget(mem::replace(entry, taken));
                block.free = next;
            }
            _ => {
                at = block.entries.len() as u32;
                if at == 0 {
                    block.entries.reserve_exact(capacity(index as usize));
                }
                block.entries.push(taken);
            }
        }
        if block.taken == 0 {
            // Now it is not empty.
            self.spare = NONE;
        }
        block.taken += 1;
        if block.taken as usize == capacity(index as usize) {
            self.room = block.next;
        }
        first_of(index as usize) as u32 + at
    }

    #[cold]
    fn add_block(&mut self) {
        self.room = self.blocks.len() as u32;
        self.blocks.push(Block { entries: Vec::new(), free: NONE, taken: 0, next: NONE });
    }

    /// Frees an entry.
    #[inline]
    pub(super) fn remove(&mut self, index: u32, exit: Exit) -> Option<Removed> {
        let (at_block, at) = find_in_blocks(index);
        let block = self.blocks.get_mut(at_block)?;
        let entry = block.entries.get_mut(at)?;
        let Entry::Taken { waker, label } = mem::replace(entry, Entry::Free { next: block.free })
        else {
            return None;
        };
        block.free = at as u32;
        if block.taken as usize == capacity(at_block) {
            block.next = self.room;
            self.room = at_block as u32;
        }
        block.taken -= 1;
        let emptied = if block.taken == 0 { self.emptied(at_block as u32) } else { Vec::new() };
        match exit {
            Exit::Completed => self.completed += 1,
            Exit::Aborted => self.aborted += 1,
            Exit::Uncounted => {}
        }
        self.running -= u32::from(label.is_some());
        Some(Removed { waker, _label: label, _block: emptied })
    }

    /// Keeps an empty block if the next entry comes into it. Returns the block that is not kept: this one,
    /// or the one that was kept before.
    #[cold]
    fn emptied(&mut self, block: u32) -> Vec<Entry> {
        let unneeded =
            if self.room == block { mem::replace(&mut self.spare, block) } else { block };
        match self.blocks.get_mut(unneeded as usize) {
            Some(unneeded) => {
                unneeded.free = NONE;
                mem::take(&mut unneeded.entries)
            }
            None => Vec::new(),
        }
    }

    /// Takes wakers, from a position on, until there are as many in `tasks` as need no allocation. The wakers
    /// of signals go to `signals`. Returns whether the end was reached.
    pub(super) fn take_wakers<const MOST: usize>(
        &mut self,
        position: &mut Position,
        tasks: &mut SmallVec<[Waker; MOST]>,
        signals: &mut Wakers,
    ) -> bool
    where
        [Waker; MOST]: Array<Item = Waker>,
    {
        while let Some(block) = self.blocks.get_mut(position.block) {
            for entry in block.entries.iter_mut().skip(position.entry) {
                match entry {
                    Entry::Taken { waker: waker @ Some(_), label: Some(_) } => {
                        if tasks.len() == MOST {
                            return false;
                        }
                        if let Some(waker) = waker.take() {
                            tasks.push(waker);
                        }
                    }
                    Entry::Taken { waker, label: None } => signals.extend(waker.take()),
                    _ => {}
                }
                position.entry += 1;
            }
            *position = Position { block: position.block + 1, entry: 0 };
        }
        true
    }

    pub(super) const fn count(&self) -> Count {
        Count { running: self.running as usize, completed: self.completed, aborted: self.aborted }
    }

    /// The labels of the tasks.
    pub(super) fn labels(&self) -> impl Iterator<Item = Label> {
        self.blocks.iter().flat_map(|block| &block.entries).filter_map(|entry| match entry {
            Entry::Taken { label, .. } => label.clone(),
            Entry::Free { .. } => None,
        })
    }

    /// For how many entries memory is allocated.
    #[cfg(all(test, not(loom)))]
    pub(super) fn allocated(&self) -> usize {
        self.blocks.iter().map(|block| block.entries.capacity()).sum()
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
            assert_eq!(first_of(expected.0) + expected.1, index as usize);
            expected.1 += 1;
        }
    }

    #[test]
    fn an_entry_is_small_and_a_shard_is_a_cache_line() {
        assert!(size_of::<Entry>() <= 48, "{}", size_of::<Entry>());
        let shard = size_of::<crate::sync::Mutex<Shard>>();
        assert!(shard <= 64, "{shard}");
    }

    fn label() -> Option<Label> {
        Some(Label::new("task"))
    }

    #[test]
    fn the_memory_of_a_burst_returns_in_whatever_order_it_ends() {
        let len = 100_000;
        for step in [1, 7, len - 1] {
            let mut shard = Shard::new();
            let all: Vec<_> = (0..len).map(|_| shard.insert(None, label())).collect();
            assert!(shard.allocated() >= all.len());
            // The step and the length have no common divisor.
            for at in 0..len {
                drop(shard.remove(all[at * step % len], Exit::Completed).unwrap());
            }
            assert!(shard.allocated() <= 1024, "{}", shard.allocated());
            assert_eq!((shard.running, shard.count().completed), (0, len));
            let again: Vec<_> = (0..len).map(|_| shard.insert(None, label())).collect();
            assert!(again.iter().all(|index| (*index as usize) < len + 1024), "it grew");
            assert_eq!(shard.labels().count(), len);
        }
    }

    #[test]
    fn a_group_around_the_end_of_a_block_does_not_allocate_each_time() {
        let mut shard = Shard::new();
        let full: Vec<_> = (0..BEFORE_EQUAL).map(|_| shard.insert(None, label())).collect();
        let mut allocated = Vec::new();
        for _ in 0..10 {
            let one_more = shard.insert(None, label());
            allocated.push(shard.allocated());
            drop(shard.remove(one_more, Exit::Completed));
            allocated.push(shard.allocated());
        }
        assert!(allocated.iter().all(|now| *now == allocated[0]), "{allocated:?}");
        assert!(shard.remove(full[0], Exit::Completed).is_some());
        assert!(shard.remove(full[0], Exit::Completed).is_none(), "it is free already");
    }

    #[test]
    fn one_that_goes_on_keeps_no_more_than_its_block() {
        let mut shard = Shard::new();
        let mut all: Vec<_> = (0..50_000).map(|_| shard.insert(None, label())).collect();
        let left = all.swap_remove(40_000);
        for index in all {
            drop(shard.remove(index, Exit::Completed));
        }
        assert!(shard.allocated() <= 2 * 1024, "{}", shard.allocated());
        assert!(shard.get_mut(left).is_some() && shard.labels().count() == 1);
    }
}
