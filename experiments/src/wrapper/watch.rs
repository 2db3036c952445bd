//! What a trial sees of the connections of a pool: how many are open, which threads close them, and when.

use std::{
    collections::HashSet,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use mock_sdk::store::rusqlite::Connection;

/// The connections of a pool, as its trial sees them. Clones share the view.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<(Mutex<Seen>, Condvar)>);

#[derive(Debug, Default)]
struct Seen {
    /// How much longer no connection is closed.
    held: Duration,
    /// Whether that was not long enough.
    gave_up: bool,
    open: usize,
    /// The thread that drops the pool.
    dropper: Option<ThreadId>,
    closed_on: HashSet<ThreadId>,
    closed_at: Option<Instant>,
}

impl Watch {
    /// A view that holds every connection open until the trial [says](Watch::has_returned) that the call
    /// that closes them has returned. It gives up after this time, and at once if the closing is the
    /// dropping thread's own work: that call waits for the closing.
    #[must_use]
    pub fn holding(limit: Duration) -> Self {
        let watch = Self::default();
        watch.seen().held = limit;
        watch
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees a connection from now on.
    pub(super) fn watched(&self, connection: Connection) -> Watched {
        self.seen().open += 1;
        Watched { _before: Before(self.clone()), connection, _after: After(self.clone()) }
    }

    /// Drops a pool, and sees on which thread, and when that has returned.
    pub fn drops<P>(&self, pool: P) {
        self.drops_here();
        drop(pool);
        self.has_returned();
    }

    /// Says that this is the thread that drops the pool.
    pub fn drops_here(&self) {
        self.seen().dropper = Some(thread::current().id());
    }

    /// Says that the call that closes has returned.
    pub fn has_returned(&self) {
        self.seen().held = Duration::ZERO;
        self.0.1.notify_all();
    }

    /// Whether connections had to be closed before the call had returned.
    #[must_use]
    pub fn gave_up(&self) -> bool {
        self.seen().gave_up
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.seen().open
    }

    /// Whether connections were closed on the thread that dropped the pool, and on how many others.
    #[must_use]
    pub fn closed_on(&self) -> (bool, usize) {
        let seen = self.seen();
        let here = seen.dropper.is_some_and(|dropper| seen.closed_on.contains(&dropper));
        (here, seen.closed_on.len() - usize::from(here))
    }

    /// Waits until every connection is closed, and returns when the last one was. `None` if the limit
    /// passed first.
    #[must_use]
    pub fn closed(&self, limit: Duration) -> Option<Instant> {
        let waited = self.0.1.wait_timeout_while(self.seen(), limit, |seen| seen.open > 0);
        let (seen, _) = waited.unwrap_or_else(PoisonError::into_inner);
        seen.closed_at.filter(|_| seen.open == 0)
    }
}

/// A connection whose trial sees it. Its fields are dropped in order.
#[derive(Debug)]
pub struct Watched {
    _before: Before,
    /// The connection.
    pub connection: Connection,
    _after: After,
}

#[derive(Debug)]
struct Before(Watch);

impl Drop for Before {
    fn drop(&mut self) {
        let (mut seen, changed) = (self.0.seen(), &self.0.0.1);
        let here = thread::current().id();
        seen.closed_on.insert(here);
        let limit = if seen.dropper == Some(here) { Duration::ZERO } else { seen.held };
        let is_held = |seen: &mut Seen| seen.held > Duration::ZERO;
        let waited = changed.wait_timeout_while(seen, limit, is_held);
        let (mut seen, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            // One is enough.
            (seen.held, seen.gave_up) = (Duration::ZERO, true);
            changed.notify_all();
        }
    }
}

#[derive(Debug)]
struct After(Watch);

impl Drop for After {
    fn drop(&mut self) {
        let mut seen = self.0.seen();
        seen.open -= 1;
        seen.closed_at = Some(Instant::now());
        self.0.0.1.notify_all();
    }
}
