//! The handles of a session.

use std::{fmt, mem, ops::Deref, panic::Location, sync::Arc};

use super::Core;

/// A handle of a value that belongs to a [`Session`](super::Session). It is used like a reference,
/// and cloned like an `Arc`.
///
/// The handle that is dropped last, on whatever thread, hands the value to the session's reaper and
/// returns: it takes microseconds, whatever the value's destructor does. That holds in async code,
/// on plain threads, and while a thread's locals are being destroyed.
///
/// What is taken *out* of a handle, `T::clone()` say, is an ordinary `T` that the session does not
/// know: use [`Guarded::map`] for what depends on the value.
#[must_use = "the value is torn down when its last handle is dropped"]
pub struct Guarded<T: Send + 'static> {
    value: Arc<Value<T>>,
    made_at: &'static Location<'static>,
}

/// What all handles of a value share. It goes when the last handle goes.
struct Value<T: Send + 'static> {
    /// There until this is dropped.
    inner: Option<T>,
    core: Arc<Core>,
}

impl<T: Send + 'static> Guarded<T> {
    /// The first handle of a value that has been entered in the roster.
    pub(super) fn new(value: T, core: Arc<Core>, made_at: &'static Location<'static>) -> Self {
        core.roster.made(made_at);
        Self { value: Arc::new(Value { inner: Some(value), core }), made_at }
    }

    /// Derives a value from this one, a room from a client say, that belongs to the same session.
    /// It is a value of its own, with handles of its own; this one need not outlive it.
    ///
    /// It is welcome while the session closes, too: as long as this handle is there the session is
    /// not closed.
    #[track_caller]
    pub fn map<U: Send + 'static>(&self, derive: impl FnOnce(&T) -> U) -> Guarded<U> {
        let derived = derive(self);
        let core = &self.value.core;
        core.roster.bring();
        Guarded::new(derived, Arc::clone(core), Location::caller())
    }
}

impl<T: Send + 'static> Deref for Guarded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.value.inner {
            Some(value) => value,
            None => unreachable!("a value is there until its last handle is gone"),
        }
    }
}

impl<T: Send + 'static> Clone for Guarded<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        let made_at = Location::caller();
        self.value.core.roster.made(made_at);
        Self { value: Arc::clone(&self.value), made_at }
    }
}

impl<T: Send + 'static> Drop for Guarded<T> {
    fn drop(&mut self) {
        // The value after that: nobody is told of a handle that holds nothing.
        self.value.core.roster.gone(self.made_at);
    }
}

impl<T: Send + 'static> Drop for Value<T> {
    fn drop(&mut self) {
        let Core { reaper, roster, .. } = &*self.core;
        if reaper.forked_from().is_some() {
            mem::forget(self.inner.take());
            return;
        }
        if let Some(value) = self.inner.take() {
            reaper.take(Box::new(value));
        }
        // After it was handed over: who sees the session without values finds them all there.
        roster.leave();
    }
}

impl<T: fmt::Debug + Send + 'static> fmt::Debug for Guarded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guarded").field(&**self).finish()
    }
}
