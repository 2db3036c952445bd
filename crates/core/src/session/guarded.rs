//! The handles of a session.

use std::{fmt, mem, ops::Deref, panic::Location, sync::Arc};

use super::Core;

/// A handle of a value that belongs to a [`Session`](super::Session). Use it like a reference, and clone
/// it like an `Arc`.
///
/// Where the last clone of an `Arc` runs the destructor, the last handle hands the value to the session
/// and returns. That takes microseconds, whatever the destructor does: in async code, on plain threads,
/// and while a thread's locals are being destroyed.
///
/// What you take *out* of a handle, for example by `T::clone()`, is an ordinary `T` that the session
/// does not know. Use [`Guarded::map`] for what depends on the value.
#[must_use = "the value is torn down when its last handle is dropped"]
pub struct Guarded<T: Send + 'static> {
    value: Arc<Value<T>>,
    made_at: &'static Location<'static>,
}

/// What all handles of a value share. It is dropped with the last handle.
struct Value<T: Send + 'static> {
    /// `Some` until this is dropped.
    inner: Option<T>,
    core: Arc<Core>,
}

impl<T: Send + 'static> Guarded<T> {
    /// The first handle of a value that has been counted.
    pub(super) fn new(value: T, core: Arc<Core>, made_at: &'static Location<'static>) -> Self {
        core.count.add_handle(made_at);
        Self { value: Arc::new(Value { inner: Some(value), core }), made_at }
    }

    /// Derives a value from this one, for example a room from a client. It belongs to the same session,
    /// and is a value of its own with handles of its own. This one need not outlive it.
    ///
    /// This works while the session closes, too: as long as this handle exists, the session is not
    /// closed.
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
            None => unreachable!("the value is there until its last handle is dropped"),
        }
    }
}

impl<T: Send + 'static> Clone for Guarded<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        let made_at = Location::caller();
        self.value.core.count.add_handle(made_at);
        Self { value: Arc::clone(&self.value), made_at }
    }
}

impl<T: Send + 'static> Drop for Guarded<T> {
    fn drop(&mut self) {
        // The value goes after that: nobody is shown a handle that holds nothing.
        self.value.core.count.remove_handle(self.made_at);
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
        // Only after it was handed over: everyone who sees the session without values finds all of them
        // in the reaper.
        count.remove();
    }
}

impl<T: fmt::Debug + Send + 'static> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guarded").field(&**self).finish()
    }
}
