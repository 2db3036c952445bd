//! Weak handles: they keep neither the value nor the session.

use std::{fmt, panic::Location, sync::Weak};

use super::{Guarded, guarded::Value};

/// A weak handle to a value that belongs to a [`Session`](super::Session). Made by
/// [`Guarded::downgrade`].
///
/// For caches, callbacks and tasks that should not keep a session from closing: they
/// [`upgrade`](Self::upgrade) for as long as they use the value.
///
/// ```
/// use std::time::Duration;
/// use sundown::session::Session;
///
/// let session = Session::new("matrix")?;
/// let client = session.guard("client")?;
/// let in_callback = client.downgrade();
/// assert_eq!(in_callback.upgrade().as_deref(), Some(&"client"));
///
/// drop(client);
/// assert!(in_callback.upgrade().is_none());
/// let _ = session.close_blocking(Duration::from_secs(5))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "it does nothing unless it is upgraded"]
pub struct GuardedWeak<T: Send + 'static> {
    value: Weak<Value<T>>,
    /// Where the handle was made that this comes from.
    original: &'static Location<'static>,
}

impl<T: Send + 'static> GuardedWeak<T> {
    pub(super) const fn new(value: Weak<Value<T>>, original: &'static Location<'static>) -> Self {
        Self { value, original }
    }

    /// A weak handle without a value, as a placeholder. [`upgrade`](Self::upgrade) returns `None`.
    #[track_caller]
    pub const fn empty() -> Self {
        Self::new(Weak::new(), Location::caller())
    }

    /// Makes a handle, unless the last one has been dropped. Also works while the session closes, which
    /// then waits for the new handle.
    #[track_caller]
    #[must_use = "the value is torn down when its last handle is dropped"]
    pub fn upgrade(&self) -> Option<Guarded<T>> {
        // Either the last handle finds this one and is not the last, or there is no value any more. So
        // nothing has to be counted here: a value is counted once, until its last handle is dropped.
        Some(Guarded::to(self.value.upgrade()?, Location::caller(), self.original))
    }
}

impl<T: Send + 'static> Clone for GuardedWeak<T> {
    fn clone(&self) -> Self {
        Self::new(Weak::clone(&self.value), self.original)
    }
}

impl<T: Send + 'static> fmt::Debug for GuardedWeak<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuardedWeak")
    }
}
