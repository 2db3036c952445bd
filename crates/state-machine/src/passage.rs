//! Cancelling, on either side of the moment at which the request leaves.
//!
//! The driver's whole use of the [`CommitGate`] is here, so that loom can explore it
//! (`tests/loom.rs`). What the gate decides is whether the logout request leaves at all: a cancel
//! that is accepted has kept it from leaving, and so will be honoured. From then on the end is the
//! server's to tell, and no answer but the server's would be the truth.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use sundown::{
    flag::Flag,
    gate::{Cancel, Cancelled, CommitGate},
    latch::Latch,
};

/// What became of a request to cancel a logout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a cancel may be too late"]
pub enum Cancellation {
    /// It is cancelled, by this call: nothing has been asked of the server, and nothing will be.
    Accepted,
    /// It was cancelled before.
    AlreadyCancelled,
    /// The request is on its way. It is not waited for any longer; instead the server is asked
    /// whether it was done, and what the run returns is what the server says.
    UpToServer,
    /// The server has logged the session out. What is left goes on to its end.
    TooLate,
    /// There is no logout to cancel.
    NotUnderWay,
}

/// The way of one logout past the point of no return. The driver makes one for each run.
///
/// ```
/// use state_machine::passage::{Cancellation, Passage};
///
/// # futures::executor::block_on(async {
/// let passage = Passage::new();
/// let answer = passage.request(async { "200 OK" }).await;
/// assert_eq!(answer, Ok(Some("200 OK")));
/// assert_eq!(passage.cancel(), Cancellation::UpToServer, "nobody has said what it means");
/// passage.commit();
/// assert_eq!(passage.cancel(), Cancellation::TooLate);
/// # });
/// ```
#[derive(Debug, Default)]
pub struct Passage {
    /// Cancelled, or the request leaves: never both.
    gate: CommitGate,
    /// Somebody wants the logout cancelled, and whoever waits for anything may stop waiting.
    wished: Latch,
    /// The server has forgotten the token.
    committed: Flag,
}

impl Passage {
    /// Nothing has been cancelled, and no request has left.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A passage that lies behind: the server forgot the token in an earlier run.
    #[must_use]
    pub fn behind() -> Self {
        let passage = Self::new();
        // A new gate is open: this does not fail.
        let _ = passage.gate.commit();
        passage.commit();
        passage
    }

    /// Asks for the end of the logout. From any thread, never blocks.
    pub fn cancel(&self) -> Cancellation {
        let answer = match self.gate.cancel() {
            Cancel::AlreadyCancelled => return Cancellation::AlreadyCancelled,
            Cancel::Accepted => Cancellation::Accepted,
            Cancel::TooLate if self.is_committed() => Cancellation::TooLate,
            Cancel::TooLate => Cancellation::UpToServer,
        };
        self.wished.fire();
        answer
    }

    /// Awaits a step before the request, unless somebody cancels: then the step is dropped.
    ///
    /// # Errors
    ///
    /// [`Cancelled`], when a cancel was accepted.
    pub async fn unless_cancelled<T>(&self, step: impl Future<Output = T>) -> Result<T, Cancelled> {
        let (mut step, mut wished) = (pin!(step), pin!(self.wished.wait()));
        poll_fn(|context| match wished.as_mut().poll(context) {
            // Nobody has departed: this wish was accepted.
            Poll::Ready(()) => Poll::Ready(Err(Cancelled)),
            Poll::Pending => step.as_mut().poll(context).map(Ok),
        })
        .await
    }

    /// Passes the last moment for a cancel, and awaits the request: its answer, or `None` where
    /// somebody wants the logout cancelled before there is one. Then the request is dropped, and may
    /// have reached the server or not.
    ///
    /// # Errors
    ///
    /// [`Cancelled`], when a cancel was accepted before. Then the request has not been polled.
    pub async fn request<T>(
        &self,
        request: impl Future<Output = T>,
    ) -> Result<Option<T>, Cancelled> {
        self.gate.commit()?;
        let (mut request, mut wished) = (pin!(request), pin!(self.wished.wait()));
        let answer = poll_fn(|context| match request.as_mut().poll(context) {
            // An answer is worth more than a wish.
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => wished.as_mut().poll(context).map(|()| None),
        });
        Ok(answer.await)
    }

    /// The server has spoken: it has forgotten the token.
    pub fn commit(&self) {
        self.committed.raise();
    }

    /// Whether somebody wants the logout cancelled.
    #[must_use]
    pub fn is_wished(&self) -> bool {
        self.wished.has_fired()
    }

    /// Whether a cancel was accepted.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.gate.is_cancelled()
    }

    /// Whether the server has forgotten the token.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        self.committed.is_raised()
    }
}
