//! Which thread this is.

#[cfg(not(loom))]
use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

/// A number that no other thread of the process has, given out in turn.
///
/// It can be had before and after the thread's other thread-locals exist, because a constant without a
/// destructor lives as long as the thread. That is not so of `std::thread::current`.
#[cfg(not(loom))]
#[inline]
pub(crate) fn number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    let number = NUMBER.get();
    if number != usize::MAX {
        return number;
    }
    // Relaxed: a number that no other thread gets, and that publishes nothing.
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    NUMBER.set(number);
    number
}

#[cfg(loom)]
crate::sync::thread_local! {
    static NUMBER: std::cell::Cell<usize> = std::cell::Cell::new(0);
}

/// The number that a model has given to this thread; 0 without one.
#[cfg(loom)]
pub(crate) fn number() -> usize {
    NUMBER.with(std::cell::Cell::get)
}

/// Gives this thread of a model a number.
#[cfg(loom)]
pub fn set_number(number: usize) {
    NUMBER.with(|cell| cell.set(number));
}
