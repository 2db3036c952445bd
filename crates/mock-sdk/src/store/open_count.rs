//! Counts the connections that SQLite has open, as distinct from those that the pool knows: a pool
//! forgets a connection when it posts its closing to a blocking thread, and the connection is closed
//! some time later. This count goes down when it *is* closed.

use rusqlite::Connection;
use tokio::sync::watch;

/// How many connections are open. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenCount(watch::Sender<usize>);

/// A connection that counts for as long as it is open.
pub(super) struct Counted {
    // Fields are dropped in order: the connection is closed before it stops counting.
    pub(super) connection: Connection,
    _one: One,
}

struct One(OpenCount);

impl OpenCount {
    pub(super) fn count(&self, connection: Connection) -> Counted {
        self.0.send_modify(|open| *open += 1);
        Counted { connection, _one: One(self.clone()) }
    }

    /// Waits until at most this many are open.
    pub(super) async fn at_most(&self, connections: usize) {
        // Fails only if the sender is gone, and `self` has it.
        let _ = self.0.subscribe().wait_for(|open| *open <= connections).await;
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.send_modify(|open| *open -= 1);
    }
}
