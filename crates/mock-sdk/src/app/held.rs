//! How an application holds what it got from the SDK.

use std::{error::Error, fmt, ops::Deref, sync::Arc};

use sundown::session::Session;

use super::globals::Global;
use crate::{
    client::{Client, Room, Timeline},
    sync::SyncService,
};

/// A handle, however it is held: plainly, or guarded by something that takes care of its end. The
/// rest of the application does not know which.
pub struct Held<T>(Box<dyn Hold<T>>);

trait Hold<T>: Send + Sync {
    fn get(&self) -> &T;
    fn again(&self) -> Box<dyn Hold<T>>;
}

impl<T, H: Deref<Target = T> + Clone + Send + Sync + 'static> Hold<T> for H {
    fn get(&self) -> &T {
        self
    }

    fn again(&self) -> Box<dyn Hold<T>> {
        Box::new(self.clone())
    }
}

impl<T> Held<T> {
    /// Holds through a guard. Clones of it are clones of the guard.
    pub fn by(guard: impl Deref<Target = T> + Clone + Send + Sync + 'static) -> Self {
        Self(Box::new(guard))
    }
}

impl<T: Send + Sync + 'static> Held<T> {
    /// Holds plainly: whoever drops the last clone drops the value, where that happens.
    pub fn plainly(value: T) -> Self {
        Self::by(Arc::new(value))
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.get()
    }
}

impl<T> Clone for Held<T> {
    fn clone(&self) -> Self {
        Self(self.0.again())
    }
}

impl<T: fmt::Debug> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.get().fmt(f)
    }
}

/// A handle could not be held as it should: its session has been closed, say. What was to be held is
/// dropped with this.
#[derive(Debug, thiserror::Error)]
#[error("a handle of the client cannot be held: {0}")]
pub struct NotHeld(#[from] pub Box<dyn Error + Send + Sync>);

/// Decides how an application holds whatever it gets from the SDK.
pub trait Holding: Send + Sync {
    /// The client, right after it was made.
    ///
    /// # Errors
    ///
    /// [`NotHeld`], as for all of these.
    fn client(&self, client: Client) -> Result<Held<Client>, NotHeld>;

    /// Its sync service.
    ///
    /// # Errors
    ///
    /// [`NotHeld`].
    fn sync_service(&self, service: SyncService) -> Result<Held<SyncService>, NotHeld>;

    /// A room of it.
    ///
    /// # Errors
    ///
    /// [`NotHeld`].
    fn room(&self, room: Room) -> Result<Held<Room>, NotHeld>;

    /// A timeline of such a room.
    ///
    /// # Errors
    ///
    /// [`NotHeld`].
    fn timeline(&self, timeline: Timeline) -> Result<Held<Timeline>, NotHeld>;
}

/// Holds everything plainly, as the application of the write-up does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plainly;

impl Holding for Plainly {
    fn client(&self, client: Client) -> Result<Held<Client>, NotHeld> {
        Ok(Held::plainly(client))
    }

    fn sync_service(&self, service: SyncService) -> Result<Held<SyncService>, NotHeld> {
        Ok(Held::plainly(service))
    }

    fn room(&self, room: Room) -> Result<Held<Room>, NotHeld> {
        Ok(Held::plainly(room))
    }

    fn timeline(&self, timeline: Timeline) -> Result<Held<Timeline>, NotHeld> {
        Ok(Held::plainly(timeline))
    }
}

/// Has every handle guarded by a session of the kit. Clones guard by the same one.
#[derive(Clone, Debug, Default)]
pub struct InSession(Arc<Global<Option<Session>>>);

impl InSession {
    /// By this session, from the beginning.
    #[must_use]
    pub fn of(session: &Session) -> Self {
        let guarding = Self::default();
        drop(guarding.replace(Some(session.clone())));
        guarding
    }

    /// By another one from now on, or by none: then nothing can be held. The one before comes back.
    pub(super) fn replace(&self, session: Option<Session>) -> Option<Session> {
        self.0.replace(session)
    }

    #[track_caller]
    fn guard<T: Send + Sync + 'static>(&self, value: T) -> Result<Held<T>, NotHeld> {
        // By name: whatever can be shared has a `get` of `Hold` here.
        let session = Global::get(&self.0).ok_or_else(|| NotHeld("there is no session".into()))?;
        // What is refused is dropped here, which is on the runtime: only its tasks ask for this.
        let guarded =
            session.guard(value).map_err(|refused| NotHeld(refused.to_string().into()))?;
        Ok(Held::by(guarded))
    }
}

impl Holding for InSession {
    fn client(&self, client: Client) -> Result<Held<Client>, NotHeld> {
        self.guard(client)
    }

    fn sync_service(&self, service: SyncService) -> Result<Held<SyncService>, NotHeld> {
        self.guard(service)
    }

    fn room(&self, room: Room) -> Result<Held<Room>, NotHeld> {
        self.guard(room)
    }

    fn timeline(&self, timeline: Timeline) -> Result<Held<Timeline>, NotHeld> {
        self.guard(timeline)
    }
}
