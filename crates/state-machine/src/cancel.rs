//! Cancels a logout, before and after its request leaves.
//!
//! The [`CommitGate`] in the token decides whether the logout request leaves at all. If it accepts a
//! cancel, the request does not leave. Once the request has left, only the server knows how the logout
//! ends. Loom explores the token (`tests/loom.rs`).

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use sundown_core::{
    CommitGate, Flag, Latch,
    gate::{Cancel, Cancelled},
};

/// The answer to a request to cancel a logout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a cancel may be too late"]
pub enum Cancellation {
    /// This call has cancelled the logout. No request has left, and none will.
    Accepted,
    /// An earlier call has cancelled the logout.
    AlreadyCancelled,
    /// The request is on its way. The run stops waiting for it, asks the server whether the session is
    /// alive, and returns the server's answer.
    UpToServer,
    /// The server has logged the session out. The rest of the logout goes on.
    TooLate,
    /// No logout is running.
    NotRunning,
}

/// Cancels one logout, until its request leaves. The driver makes one token for each run.
///
/// Unlike tokio-util's `CancellationToken`, it has a point after which a cancel is refused.
///
/// ```
/// use sundown::logout::cancel::{CancelToken, Cancellation};
///
/// # futures::executor::block_on(async {
/// let token = CancelToken::new();
/// let answer = token.request(async { "200 OK" }).await;
/// assert_eq!(answer, Ok(Some("200 OK")));
/// assert_eq!(token.cancel(), Cancellation::UpToServer, "nobody has read the answer yet");
/// token.commit();
/// assert_eq!(token.cancel(), Cancellation::TooLate);
/// # });
/// ```
#[derive(Debug, Default)]
pub struct CancelToken {
    /// Accepts a cancel or lets the request leave, never both.
    gate: CommitGate,
    /// Fires at a cancel that was not too late, and ends whatever the run waits for.
    requested: Latch,
    /// The server has forgotten the access token.
    committed: Flag,
}

impl CancelToken {
    /// A token for a logout that is not cancelled and whose request has not left.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A token for a logout that passed the point of no return in an earlier run.
    #[must_use]
    pub fn committed() -> Self {
        let token = Self::new();
        // A new gate is open, so this does not fail.
        let _ = token.gate.commit();
        token.commit();
        token
    }

    /// Asks the logout to end. The answer says whether it will. Never blocks, on any thread.
    pub fn cancel(&self) -> Cancellation {
        let answer = match self.gate.cancel() {
            Cancel::AlreadyCancelled => return Cancellation::AlreadyCancelled,
            Cancel::Accepted => Cancellation::Accepted,
            Cancel::TooLate if self.is_committed() => Cancellation::TooLate,
            Cancel::TooLate => Cancellation::UpToServer,
        };
        self.requested.fire();
        answer
    }

    /// Awaits a step before the request. A cancel drops the step.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] if a cancel was accepted.
    pub async fn run_until_cancelled<T>(
        &self,
        step: impl Future<Output = T>,
    ) -> Result<T, Cancelled> {
        let (mut step, mut requested) = (pin!(step), pin!(self.requested.wait()));
        poll_fn(|context| match requested.as_mut().poll(context) {
            // The request has not left, so the cancel was accepted.
            Poll::Ready(()) => Poll::Ready(Err(Cancelled)),
            Poll::Pending => step.as_mut().poll(context).map(Ok),
        })
        .await
    }

    /// Refuses cancels from now on, and awaits the request. Returns its answer, or `None` if a cancel
    /// was requested first: then the request is dropped, and may or may not have reached the server.
    ///
    /// # Errors
    ///
    /// [`Cancelled`] if a cancel was accepted before. Then the request has not been polled.
    pub async fn request<T>(
        &self,
        request: impl Future<Output = T>,
    ) -> Result<Option<T>, Cancelled> {
        self.gate.commit()?;
        let (mut request, mut requested) = (pin!(request), pin!(self.requested.wait()));
        let answer = poll_fn(|context| match request.as_mut().poll(context) {
            // If both are ready, take the answer: after a cancel, the driver would have to ask for it.
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => requested.as_mut().poll(context).map(|()| None),
        });
        Ok(answer.await)
    }

    /// Records that the server has forgotten the access token.
    pub fn commit(&self) {
        self.committed.raise();
    }

    /// Whether a cancel was requested, accepted or not.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.requested.has_fired()
    }

    /// Whether a cancel was accepted.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.gate.is_cancelled()
    }

    /// Whether the server has forgotten the access token.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        self.committed.is_raised()
    }
}
