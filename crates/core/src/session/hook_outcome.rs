//! What a session's answer says of its hooks: those that did not end well, and one that blocked.

use std::{fmt, panic::Location, time::Duration};

/// A hook of [`before_close`](super::Session::before_close) that did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HookFailure {
    /// Where the hook was given to the session.
    pub given_at: &'static Location<'static>,
    /// What became of it.
    pub kind: HookFailureKind,
}

/// What became of a hook that did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HookFailureKind {
    /// It has not ended.
    StillRunning,
    /// It panicked, with this message.
    Panicked(String),
    /// Its runtime went down before the hook had ended, or before it could start.
    Dropped,
}

impl HookFailure {
    pub(super) fn is_running(&self) -> bool {
        self.kind == HookFailureKind::StillRunning
    }
}

/// ``the hook given at src/main.rs:3:5 panicked: no connection``.
impl fmt::Display for HookFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the hook given at {} ", self.given_at)?;
        match &self.kind {
            HookFailureKind::StillRunning => f.write_str("has not ended"),
            HookFailureKind::Panicked(message) => write!(f, "panicked: {message}"),
            HookFailureKind::Dropped => f.write_str("was dropped, because its runtime went down"),
        }
    }
}

/// A hook that has blocked the thread of the caller that polled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Where the hook was given to the session.
    pub given_at: &'static Location<'static>,
    /// For how long, in one poll.
    pub for_so_long: Duration,
}

/// ``the hook given at src/main.rs:3:5 blocked the caller's thread for 5.0s``.
impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { given_at, for_so_long } = self;
        write!(f, "the hook given at {given_at} blocked the caller's thread for {for_so_long:.1?}")
    }
}
