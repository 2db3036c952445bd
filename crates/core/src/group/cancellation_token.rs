//! The bridge to `tokio_util`'s `CancellationToken`, in both directions. Behind the feature
//! `tokio-util`.

use std::{
    sync::Arc,
    task::{Wake, Waker},
};

use tokio_util::sync::CancellationToken;

use super::TaskGroup;
use crate::spawn::SpawnError;

impl TaskGroup {
    /// Stops the group when a token is cancelled. A task of the group waits for that, and ends with
    /// the group. Fails as [`TaskGroup::spawn`] does.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use sundown::group::TaskGroup;
    /// use tokio_util::sync::CancellationToken;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), sundown::SpawnError> {
    /// let token = CancellationToken::new();
    /// let group = TaskGroup::new("workers");
    /// group.stop_on(token.clone())?;
    /// group.spawn("worker", |stop| stop)?;
    /// token.cancel();
    /// group.stop_signal().await;
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn stop_on(&self, token: CancellationToken) -> Result<(), SpawnError> {
        self.stop_when(token.cancelled_owned())
    }

    /// Cancels a token when the group is asked to stop; at once, if it is stopping. Needs no task and no
    /// runtime.
    ///
    /// ```
    /// use sundown::group::TaskGroup;
    /// use tokio_util::sync::CancellationToken;
    ///
    /// let group = TaskGroup::new("workers");
    /// let token = CancellationToken::new();
    /// group.cancel_on_stop(token.clone());
    /// group.stop();
    /// assert!(token.is_cancelled());
    /// ```
    pub fn cancel_on_stop(&self, token: CancellationToken) {
        let stop = self.stop_signal();
        let cancel = Arc::new(Cancel(token));
        // Register first, then look: a stop in between is not missed.
        stop.wake_for_good(Waker::from(Arc::clone(&cancel)));
        if stop.is_raised() {
            cancel.wake();
        }
    }
}

/// Cancels a token when it is woken, however often.
struct Cancel(CancellationToken);

impl Wake for Cancel {
    fn wake(self: Arc<Self>) {
        self.0.cancel();
    }
}
