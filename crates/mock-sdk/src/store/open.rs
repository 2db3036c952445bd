//! Counting the connections that SQLite has open, as distinct from those that the pool knows.
//!
//! A pool forgets a connection when it posts the closing of it to a blocking thread; it is closed
//! some time later. The count goes down when it *is*.

use rusqlite::Connection;
use tokio::sync::watch;

/// How many connections are open. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenCount(watch::Sender<usize>);

/// A connection that is counted for as long as it is open.
pub(super) struct Counted {
    // Fields are dropped in order: first it is closed, then it is no longer counted.
    pub(super) connection: Connection,
    _one: One,
}

struct One(OpenCount);

impl OpenCount {
    pub(super) fn count(&self, connection: Connection) -> Counted {
        self.0.send_modify(|open| *open += 1);
        Counted { connection, _one: One(self.clone()) }
    }

    /// Waits until no more than so many are open.
    pub(super) async fn at_most(&self, connections: usize) {
        // Fails only where the sender is gone, and `self` is one.
        let _ = self.0.subscribe().wait_for(|open| *open <= connections).await;
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.send_modify(|open| *open -= 1);
    }
}
