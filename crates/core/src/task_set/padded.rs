//! Keeps values in different cache lines.

use std::ops::Deref;

/// A value with nothing else in its cache line: writes to its neighbours do not slow its readers down.
///
/// By padding and not by alignment: the allocator takes several times as long for memory that is aligned
/// to a cache line, and a group of one task must not pay for that.
#[repr(C)]
pub struct Padded<T> {
    _before: [u64; 8],
    value: T,
    _after: [u64; 8],
}

impl<T> Padded<T> {
    pub const fn new(value: T) -> Self {
        Self { _before: [0; 8], value, _after: [0; 8] }
    }
}

impl<T> Deref for Padded<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}
