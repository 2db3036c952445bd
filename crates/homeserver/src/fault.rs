//! Faults that the homeserver commits on request.

use std::time::Duration;

use crate::matrix_error::ErrorCode;

/// What the server does instead of simply answering.
///
/// A fault says separately how the request is *answered*, and whether and when what it asks for is
/// *done*. A logout whose answer never comes has, or has not, logged the user out: a client cannot tell,
/// and has to be tested with both.
///
/// ```
/// use std::time::Duration;
/// use homeserver::Fault;
///
/// // Answers too late for a client that waits five seconds, and logs it out all the same.
/// let late = Fault::delay(Duration::from_secs(10)).done_at_once();
/// // Fails as a proxy does when the server behind it went away, with nothing done.
/// let proxy = Fault::status(502);
/// ```
#[derive(Clone, Debug)]
pub struct Fault {
    pub(crate) delay: Duration,
    pub(crate) effect: Effect,
    pub(crate) answer: Answer,
}

/// When the server does what a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    AtOnce,
    AfterDelay,
    Never,
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ordinary,
    Error(ErrorCode),
    Status(u16),
    Malformed,
    ResetMidBody,
    Never,
}

impl Fault {
    /// No fault at all.
    pub(crate) const NONE: Self = Self::new(Answer::Ordinary, Effect::AtOnce);

    const fn new(answer: Answer, effect: Effect) -> Self {
        Self { delay: Duration::ZERO, effect, answer }
    }

    /// Waits, does what was asked, and answers. Does it also if the client has given up by then.
    #[must_use]
    pub const fn delay(delay: Duration) -> Self {
        Self { delay, ..Self::new(Answer::Ordinary, Effect::AfterDelay) }
    }

    /// Answers with the usual error for a code, and does nothing.
    #[must_use]
    pub const fn code(code: ErrorCode) -> Self {
        Self::new(Answer::Error(code), Effect::Never)
    }

    /// Answers with a status and the body of a proxy, and does nothing. A number that is no status of
    /// HTTP (100 to 999) is answered as 500.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self::new(Answer::Status(status), Effect::Never)
    }

    /// Does what was asked, and answers with success and a body that is no JSON.
    #[must_use]
    pub const fn malformed() -> Self {
        Self::new(Answer::Malformed, Effect::AtOnce)
    }

    /// Does what was asked, and resets the connection when half of the answer is out.
    #[must_use]
    pub const fn reset_mid_body() -> Self {
        Self::new(Answer::ResetMidBody, Effect::AtOnce)
    }

    /// Does nothing, and never answers: the connection stays open until the client closes it or the
    /// server goes down.
    #[must_use]
    pub const fn never() -> Self {
        Self::new(Answer::Never, Effect::Never)
    }

    /// The same, but the server does what was asked as soon as the request is there.
    #[must_use]
    pub const fn done_at_once(mut self) -> Self {
        self.effect = Effect::AtOnce;
        self
    }
}
