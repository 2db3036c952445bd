//! A query that is under way when something else ends, and cannot be interrupted.

use std::{
    ops::Deref,
    sync::mpsc::{self, RecvError, TryRecvError},
    time::Duration,
};

use lab::TrialResult;
use mock_sdk::store::{Store, rusqlite::Connection};
use tokio::runtime::Runtime;

use crate::Scene;

/// How long a query takes that something waits for.
pub const QUERY: Duration = Duration::from_millis(50);

/// A query that takes this long runs until it is released.
pub const UNTIL_RELEASED: Duration = Duration::MAX;

/// A limit that a query outlasts.
pub const TOO_SHORT: Duration = Duration::from_millis(5);

/// A query under way.
#[derive(Debug)]
pub struct Query {
    has_started: mpsc::Receiver<()>,
    release: mpsc::Sender<()>,
    has_ended: mpsc::Receiver<()>,
}

/// A task that owns this handle of the store and awaits a query, which takes so long unless it is
/// released before.
pub fn query(
    store: impl Deref<Target = Store> + Send + Sync + 'static,
    takes: Duration,
) -> (impl Future<Output = ()> + Send + 'static, Query) {
    let (started, has_started) = mpsc::channel();
    let (release, is_released) = mpsc::channel::<()>();
    let (ended, has_ended) = mpsc::channel::<()>();
    let task = async move {
        let query = move |_: &mut Connection| {
            let _ended_when_dropped = ended;
            let _ = started.send(());
            let _ = is_released.recv_timeout(takes);
            Ok(())
        };
        let _ = store.interact("query", query).await;
    };
    (task, Query { has_started, release, has_ended })
}

impl Query {
    /// Spawns the task of a [`query`], and waits until the query has started.
    ///
    /// # Errors
    ///
    /// Where it does not start.
    pub fn start(
        runtime: &Runtime,
        store: impl Deref<Target = Store> + Send + Sync + 'static,
        takes: Duration,
    ) -> Result<Self, RecvError> {
        let (task, query) = query(store, takes);
        runtime.spawn(task);
        query.wait_started()?;
        Ok(query)
    }

    /// Waits until it has started.
    ///
    /// # Errors
    ///
    /// Where it does not start.
    pub fn wait_started(&self) -> Result<(), RecvError> {
        self.has_started.recv()
    }

    /// Whether it has not ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.has_ended.try_recv() == Err(TryRecvError::Empty)
    }

    /// Checks that it has ended, and that no file of the store is open.
    ///
    /// # Errors
    ///
    /// Where the open files cannot be listed.
    pub fn check_ended(&self, scene: &Scene<'_>) -> TrialResult {
        let running = self.is_running();
        scene.record("query_running", running);
        scene.check("the query has ended", !running);
        scene.no_file_is_open()
    }

    /// Releases it, and waits until it has ended. A trial ends with this, so that the end of the
    /// process does not cut off what the query does later.
    pub fn end(self) {
        self.release();
        let _ = self.has_ended.recv();
    }

    /// Releases it.
    pub fn release(&self) {
        let _ = self.release.send(());
    }
}
