//! What the application keeps where everybody can reach it. In the application of the write-up these
//! are statics; here they are fields, and an experiment that is about statics puts the app into one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::mpsc;

use super::{held::Held, requests::Request};
use crate::{
    client::{Client, Timeline},
    sync::SyncService,
};

/// One of them.
pub struct Global<T>(Mutex<T>);

impl<T: Default> Global<T> {
    /// Takes what is there, and leaves what is there in the beginning. It is the caller's to drop,
    /// on the caller's thread, and not under the lock.
    pub fn take(&self) -> T {
        mem::take(&mut self.lock())
    }

    /// Puts something there. What was there comes back.
    pub fn replace(&self, value: T) -> T {
        mem::replace(&mut self.lock(), value)
    }

    /// A clone of what is there.
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.lock().clone()
    }

    /// Changes what is there.
    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Default> Default for Global<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Default + fmt::Debug> fmt::Debug for Global<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock().fmt(f)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Globals {
    /// The client, while somebody is logged in.
    pub client: Global<Option<Held<Client>>>,
    /// Its sync service.
    pub sync_service: Global<Option<Held<SyncService>>>,
    /// Where requests to the worker go in. Taken, it closes the channel, and the worker ends.
    pub request_sender: Global<Option<mpsc::UnboundedSender<Request>>>,
    /// Rooms that were replaced by others.
    pub tombstoned_rooms: Global<BTreeSet<String>>,
    /// Users that nobody wants to hear from.
    pub ignored_users: Global<BTreeSet<String>>,
    /// The timelines of all rooms that were opened, by the room's id: these hold the client.
    pub all_joined_rooms: Global<BTreeMap<String, Held<Timeline>>>,
}

impl Globals {
    /// How many of them hold the client, or something that does.
    #[must_use]
    pub fn holders(&self) -> usize {
        usize::from(self.client.change(|client| client.is_some()))
            + usize::from(self.sync_service.change(|service| service.is_some()))
            + self.all_joined_rooms.change(|rooms| rooms.len())
    }
}
