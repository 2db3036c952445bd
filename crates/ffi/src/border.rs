//! What every function does when it is called from C: no panic leaves it, and no null pointer gets in.

use std::{
    ffi::{CStr, c_char},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::{SundownAnswer, SundownCode, fork::Process};

/// Runs the body of a function. A panic of it becomes a code.
pub(crate) fn guarded(body: impl FnOnce() -> Result<(), SundownCode>) -> SundownCode {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => SundownCode::Ok,
        Ok(Err(code)) => code,
        Err(payload) => {
            // The destructor of a payload may panic.
            std::mem::forget(payload);
            SundownCode::Panicked
        }
    }
}

/// Writes a value if the caller wants it.
///
/// # Safety
///
/// `place` is null, or valid for a write.
pub(crate) unsafe fn write_if_wanted<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: the caller promises that. What was there is plain numbers, which need no drop.
        unsafe { place.write(value) }
    }
}

/// Writes an answer if the caller wants it.
///
/// # Safety
///
/// As for [`write_if_wanted`].
pub(crate) unsafe fn answer(place: *mut SundownAnswer, answer: impl FnOnce() -> SundownAnswer) {
    if !place.is_null() {
        let answer = answer();
        // SAFETY: the caller promises that.
        unsafe { place.write(answer) }
    }
}

/// Refuses a null pointer.
pub(crate) fn not_null<T>(pointer: *const T) -> Result<(), SundownCode> {
    if pointer.is_null() { Err(SundownCode::NullPointer) } else { Ok(()) }
}

/// A share of what a handle stands for, so that it lives as long as this call.
///
/// # Errors
///
/// The handle is null.
///
/// # Safety
///
/// The handle is null, or comes from [`Arc::into_raw`] and has not been freed.
pub(crate) unsafe fn share<T>(handle: *const T) -> Result<Arc<T>, SundownCode> {
    not_null(handle)?;
    // SAFETY: the handle has a share, which the caller has not given back.
    unsafe { Arc::increment_strong_count(handle) };
    // SAFETY: this is the share that was just made.
    Ok(unsafe { Arc::from_raw(handle) })
}

/// Copies a name. Bytes that are not UTF-8 are replaced.
///
/// # Safety
///
/// The name is null, or ends with a zero byte.
pub(crate) unsafe fn name(name: *const c_char) -> Option<String> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller promises the zero byte, and the text is copied before this returns.
    Some(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
}

/// A limit in milliseconds. The greatest number means none.
pub(crate) const fn limit(milliseconds: u64) -> Duration {
    match milliseconds {
        u64::MAX => Duration::MAX,
        milliseconds => Duration::from_millis(milliseconds),
    }
}

/// One of the handles of a kind that keep the library from being unloaded.
pub(crate) struct Counted {
    kind: &'static AtomicUsize,
    made_in: Process,
    is_counted: AtomicBool,
}

impl Counted {
    pub(crate) fn new(kind: &'static AtomicUsize) -> Self {
        // Relaxed, here and below: whoever unloads the library has seen the calls that changed this return.
        kind.fetch_add(1, Ordering::Relaxed);
        Self { kind, made_in: Process::this(), is_counted: AtomicBool::new(true) }
    }

    /// Counts no more, if this is a forked child. Its parent's threads may have had shares of what this is part of,
    /// and nobody gives those back here.
    pub(crate) fn give_up_in_child(&self) {
        if Process::this() != self.made_in {
            self.give_up();
        }
    }

    fn give_up(&self) {
        if self.is_counted.swap(false, Ordering::Relaxed) {
            self.kind.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::panic, reason = "that is what it is about")]
    fn a_panic_does_not_cross_the_border() {
        assert_eq!(guarded(|| panic!("a bug")), SundownCode::Panicked);
        assert_eq!(guarded(|| Err(SundownCode::Closed)), SundownCode::Closed);
        assert_eq!(guarded(|| Ok(())), SundownCode::Ok);
    }

    #[test]
    fn only_the_greatest_number_means_no_limit() {
        assert_eq!(limit(u64::MAX), Duration::MAX);
        assert_eq!(limit(u64::MAX - 1), Duration::from_millis(u64::MAX - 1));
    }
}
