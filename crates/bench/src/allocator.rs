//! Counts allocations on request, and keeps pages that the system would take back.

#![allow(unsafe_code, reason = "an allocator has no other way")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
};

/// The system's allocator, with a counter.
pub struct Counting;

static IS_ASKED: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicI64 = AtomicI64::new(0);

/// Begins to count the bytes that are allocated and not yet freed.
pub fn begin() {
    LIVE.store(0, Ordering::Relaxed);
    IS_ASKED.store(true, Ordering::SeqCst);
}

/// Ends the count, and returns by how many bytes the live heap grew, on all threads. It does not
/// include what the system's allocator needs for itself.
pub fn end() -> i64 {
    IS_ASKED.store(false, Ordering::SeqCst);
    LIVE.load(Ordering::SeqCst)
}

/// Lets the heap keep its pages. Otherwise one subject would pay for pages that another one gave back
/// to the system.
pub fn keep_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const NEVER: i32 = -1;
        const LARGEST: i32 = 32 << 20;
        // SAFETY: sets two parameters of malloc to values that its manual allows, before any other
        // thread is started.
        unsafe {
            libc::mallopt(libc::M_TRIM_THRESHOLD, NEVER);
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST);
        }
    }
}

fn add(bytes: i64) {
    // Off while time is measured. Then it is one load of a flag that nobody writes.
    if IS_ASKED.load(Ordering::Relaxed) {
        LIVE.fetch_add(bytes, Ordering::Relaxed);
    }
}

fn size(layout: Layout) -> i64 {
    i64::try_from(layout.size()).unwrap_or(i64::MAX)
}

// SAFETY: passes every call to the system's allocator with the same arguments, which are as valid
// there. Counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(size(layout));
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(size(layout));
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(-size(layout));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        add(i64::try_from(new_size).unwrap_or(i64::MAX) - size(layout));
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}
