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
    release: mpsc::Sender<()>,
    has_ended: mpsc::Receiver<()>,
}

impl Query {
    /// Spawns a task that owns this handle of the store and awaits a query, which takes so long unless
    /// it is released before. Returns when the query has started.
    pub fn start(
        runtime: &Runtime,
        store: impl Deref<Target = Store> + Send + Sync + 'static,
        takes: Duration,
    ) -> Result<Self, RecvError> {
        let (started, has_started) = mpsc::channel();
        let (release, is_released) = mpsc::channel::<()>();
        let (ended, has_ended) = mpsc::channel::<()>();
        runtime.spawn(async move {
            let query = move |_: &mut Connection| {
                let _ended_when_dropped = ended;
                let _ = started.send(());
                let _ = is_released.recv_timeout(takes);
                Ok(())
            };
            let _ = store.interact("query", query).await;
        });
        has_started.recv()?;
        Ok(Self { release, has_ended })
    }

    /// Checks that it has ended, and that no file of the store is open.
    pub fn check_ended(&self, scene: &Scene<'_>) -> TrialResult {
        let running = self.has_ended.try_recv() == Err(TryRecvError::Empty);
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
