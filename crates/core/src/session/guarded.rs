//! The handles of a session.

use std::{fmt, mem, ops::Deref, panic::Location, sync::Arc};

use super::Core;

/// A handle to a value that belongs to a [`Session`](super::Session). Use it like a reference, and clone
/// it like an `Arc`.
///
/// The last clone of an `Arc` runs the destructor. The last handle sends the value to the session and
/// returns. That takes microseconds, whatever the destructor does, and works in async code, on plain
/// threads, and while a thread's locals are being destroyed.
///
/// A `T` that you clone *out* of a handle is an ordinary `T`, which the session does not see. To make a
/// value that depends on this one, use [`Guarded::map`].
#[must_use = "the value is torn down when its last handle is dropped"]
pub struct Guarded<T: Send + 'static> {
    value: Arc<Value<T>>,
    made_at: &'static Location<'static>,
}

/// State shared by all handles to a value. Dropped with the last handle.
struct Value<T: Send + 'static> {
    /// `Some` until this is dropped.
    inner: Option<T>,
    core: Arc<Core>,
}

impl<T: Send + 'static> Guarded<T> {
    /// Makes the first handle to a value that has been counted.
    pub(super) fn new(value: T, core: Arc<Core>, made_at: &'static Location<'static>) -> Self {
        core.call_sites.add(made_at);
        Self { value: Arc::new(Value { inner: Some(value), core }), made_at }
    }

    /// Derives a value from this one, for example a room from a client. The new value belongs to the
    /// same session and has its own handles. It may outlive this one.
    ///
    /// This also works while the session closes: the session is not closed as long as this handle
    /// exists.
    #[track_caller]
    pub fn map<U: Send + 'static>(&self, derive: impl FnOnce(&T) -> U) -> Guarded<U> {
        let derived = derive(self);
        let core = &self.value.core;
        core.count.add_derived();
        Guarded::new(derived, Arc::clone(core), Location::caller())
    }
}

impl<T: Send + 'static> Deref for Guarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value.inner {
            Some(value) => value,
            None => unreachable!("the value exists until its last handle is dropped"),
        }
    }
}

impl<T: Send + 'static> Clone for Guarded<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        let made_at = Location::caller();
        self.value.core.call_sites.add(made_at);
        Self { value: Arc::clone(&self.value), made_at }
    }
}

impl<T: Send + 'static> Drop for Guarded<T> {
    fn drop(&mut self) {
        // Before the value is queued: no report lists a handle without a value.
        self.value.core.call_sites.remove(self.made_at);
    }
}

impl<T: Send + 'static> Drop for Value<T> {
    fn drop(&mut self) {
        let Core { reaper, count, .. } = &*self.core;
        if reaper.forked_from().is_some() {
            mem::forget(self.inner.take());
            return;
        }
        if let Some(value) = self.inner.take() {
            reaper.take(Box::new(value));
        }
        // After it was queued: a caller who sees the session without values finds all of them in the
        // reaper.
        count.remove();
    }
}

impl<T: fmt::Debug + Send + 'static> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guarded").field(&**self).finish()
    }
}
