//! Keeps the blocking thread of a lane ready for a destructor.

use std::{io, time::Duration};

use tokio::runtime::Handle;

use super::grace::{Found, Grace};
use crate::{panics, sync::Arc};

/// How long the blocking thread waits while a destructor runs, so that it exists when the destructor
/// queues its first closure. It is released when the destructor has returned.
const LIMIT: Duration = Duration::from_millis(1);

/// Keeps the blocking thread alive, with nothing to do, until it is needed.
///
/// Without it, a destructor that queues a closure panics if the OS refuses a thread at that moment.
pub(super) struct Hold(Arc<Grace>);

impl Hold {
    /// Starts the blocking thread unless it exists, and makes it wait. The thread calls `takes_long` if the
    /// destructor has not returned soon after the beginning.
    ///
    /// # Errors
    ///
    /// The OS refused the thread.
    pub(super) fn on(
        handle: &Handle,
        takes_long: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let hold = Self(Arc::new(Grace::default()));
        let grace = Arc::clone(&hold.0);
        let wait = move || {
            grace.wait();
            loop {
                match grace.look(LIMIT) {
                    Found::NotBegun => {}
                    Found::Runs => return takes_long(),
                    Found::Returned => return,
                }
            }
        };
        // If Tokio can start no thread, it panics and keeps the closure for the next thread. The
        // closure does not wait then, because this hold is dropped.
        panics::catch(|| drop(handle.spawn_blocking(wait)))
            .map_err(|message| io::Error::new(io::ErrorKind::WouldBlock, message))?;
        Ok(hold)
    }

    /// Call this when a destructor is about to begin: the blocking thread wakes up meanwhile.
    pub(super) fn wake(&self) {
        self.0.wake();
    }

    /// Call this when the destructor begins, and the lane can be asked for it.
    pub(super) fn begin(&self) {
        self.0.begin();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.end();
    }
}
