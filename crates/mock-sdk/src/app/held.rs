//! How the application holds what it got from the SDK.

use std::{fmt, ops::Deref, sync::Arc};

use sundown::session::{Guarded, Session};

use super::global::Global;

/// A handle of a client, or of something that depends on one. Dereferences to it.
pub struct Held<T: Send + 'static>(How<T>);

enum How<T: Send + 'static> {
    /// Whoever drops the last clone drops the value, on its own thread.
    Plainly(Arc<T>),
    /// The last clone hands the value to its session.
    Guarded(Guarded<T>),
}

impl<T: Send + 'static> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            How::Plainly(value) => value,
            How::Guarded(value) => value,
        }
    }
}

impl<T: Send + 'static> Clone for Held<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        Self(match &self.0 {
            How::Plainly(value) => How::Plainly(Arc::clone(value)),
            How::Guarded(value) => How::Guarded(value.clone()),
        })
    }
}

impl<T: fmt::Debug + Send + 'static> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// The session that should guard a handle is closed, or there is none. The value has been dropped.
#[derive(Debug, thiserror::Error)]
#[error("a handle of the client cannot be held: {0}")]
pub struct NotHeld(String);

/// How the application holds its handles. Clones agree.
#[derive(Clone, Debug, Default)]
pub enum Holding {
    /// Plainly, as the application of the write-up does.
    #[default]
    Plain,
    /// Guarded by the session that is current when the handle is made. Without one nothing can be held.
    Guarded(Arc<Global<Option<Session>>>),
}

impl Holding {
    /// Guards all handles by this session.
    #[must_use]
    pub fn guarded_by(session: &Session) -> Self {
        Self::Guarded(Arc::new(Global::new(Some(session.clone()))))
    }

    #[track_caller]
    pub(super) fn hold<T: Send + 'static>(&self, value: T) -> Result<Held<T>, NotHeld> {
        let Self::Guarded(session) = self else {
            return Ok(Held(How::Plainly(Arc::new(value))));
        };
        let session = session.get().ok_or_else(|| NotHeld("there is no session".to_owned()))?;
        // A refused value is dropped here, which is on the runtime: only its tasks call this.
        let guarded = session.guard(value).map_err(|refused| NotHeld(refused.to_string()))?;
        Ok(Held(How::Guarded(guarded)))
    }
}
