//! A global variable, as far as the application needs one.

use std::{
    fmt, mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A value behind a lock that is never held for long.
#[derive(Default)]
pub struct Global<T>(Mutex<T>);

impl<T> Global<T> {
    /// A variable with this value.
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Takes the value, and leaves the default. The caller drops it, on its own thread, and not under
    /// the lock.
    pub fn take(&self) -> T
    where
        T: Default,
    {
        mem::take(&mut self.lock())
    }

    /// Sets a value, and returns the one before.
    pub fn replace(&self, value: T) -> T {
        mem::replace(&mut self.lock(), value)
    }

    /// A clone of the value.
    #[track_caller]
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.lock().clone()
    }

    /// Looks at the value, or changes it.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: fmt::Debug> fmt::Debug for Global<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock().fmt(f)
    }
}
