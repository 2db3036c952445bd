//! Faults that the homeserver commits on request.

use std::time::Duration;

use crate::matrix_error::{ErrorCode, MatrixError};

/// What the server does instead of simply answering.
///
/// A fault says two things apart: how the request is *answered*, and whether, and when, what it asks
/// for is *done*. A logout whose answer never comes has, or has not, logged the user out; a client
/// cannot tell, and has to be tested against both.
///
/// ```
/// use std::time::Duration;
/// use mock_sdk::homeserver::Fault;
///
/// // Answers too late for a client that waits five seconds, and logs it out all the same.
/// let late = Fault::delay(Duration::from_secs(10)).done_at_once();
/// // Fails as a proxy does when the server behind it went away, with nothing done.
/// let proxy = Fault::status(502);
/// # assert_ne!(late, proxy);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub(super) delay: Duration,
    pub(super) effect: Effect,
    pub(super) answer: Answer,
}

/// When what a request asks for is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    AtOnce,
    AfterDelay,
    Never,
}

/// How a request is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Ordinary,
    Error(MatrixError),
    Status(u16),
    Malformed,
    ResetMidBody,
    Never,
}

impl Fault {
    /// No fault at all.
    pub(super) const NONE: Self = Self::of(Answer::Ordinary, Effect::AtOnce);

    const fn of(answer: Answer, effect: Effect) -> Self {
        Self { delay: Duration::ZERO, effect, answer }
    }

    /// Waits, does what was asked, and answers. It is done also where the client has given up by
    /// then.
    #[must_use]
    pub const fn delay(delay: Duration) -> Self {
        Self { delay, effect: Effect::AfterDelay, answer: Answer::Ordinary }
    }

    /// Answers with an error, and does nothing.
    #[must_use]
    pub const fn error(error: MatrixError) -> Self {
        Self::of(Answer::Error(error), Effect::Never)
    }

    /// Answers with the usual error for a code, and does nothing.
    #[must_use]
    pub fn code(code: ErrorCode) -> Self {
        Self::error(MatrixError::usual(code))
    }

    /// Answers with a status, and a body that is a proxy's, not Matrix's. Does nothing. A number that
    /// is no status of HTTP (100 to 999) is answered as 500.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self::of(Answer::Status(status), Effect::Never)
    }

    /// Does what was asked, and answers with success and a body that is no JSON.
    #[must_use]
    pub const fn malformed() -> Self {
        Self::of(Answer::Malformed, Effect::AtOnce)
    }

    /// Does what was asked, and resets the connection when half of the answer is out.
    #[must_use]
    pub const fn reset_mid_body() -> Self {
        Self::of(Answer::ResetMidBody, Effect::AtOnce)
    }

    /// Does nothing, and never answers: the connection stays open until the client closes it or the
    /// server goes down.
    #[must_use]
    pub const fn never() -> Self {
        Self::of(Answer::Never, Effect::Never)
    }

    /// The same, but what was asked is done, as soon as the request is there.
    #[must_use]
    pub const fn done_at_once(mut self) -> Self {
        self.effect = Effect::AtOnce;
        self
    }

    /// The same, but nothing of what was asked is done. An ordinary answer then is an error of the
    /// server.
    #[must_use]
    pub const fn not_done(mut self) -> Self {
        self.effect = Effect::Never;
        self
    }

    /// The same, after a delay.
    #[must_use]
    pub const fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}
