//! What comes of closing a session.

use std::{fmt, panic::Location, time::Duration};

use thiserror::Error;

use crate::{
    evidence::Unconfirmed,
    reaper::Left,
    shutdown::{ShutdownError, list},
};

/// A session that has closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReport {
    /// The name of the session.
    pub session: String,
    /// What the answer rests on.
    pub confirmation: Confirmation,
    /// How long this call took.
    pub elapsed: Duration,
    /// How many tasks of the session's own runtime were dropped before they completed, of those that
    /// were spawned by its owner. What else is spawned on it is dropped with it, and not counted.
    pub aborted: usize,
}

/// What it rests on that a session has closed. What comes later says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confirmation {
    /// Every handle is gone, and every value that had handles has been torn down with everything
    /// that its destructor started. A clone that was taken out of a handle, or that a task of the
    /// resource's own holds, would not have been seen.
    HandlesOnly,
    /// Besides that, the session's own runtime has ended, and with it every task that ran on it. A
    /// clone elsewhere would not have been seen.
    OwnRuntime,
    /// Besides that, a check of the application's has confirmed it from outside. (The session may
    /// or may not have had a runtime.)
    Evidence,
}

/// Handles that are left, and were made at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Where [`guard`](super::Session::guard), `clone` or [`map`](super::Guarded::map) was called.
    pub made_at: &'static Location<'static>,
    /// How many of those that were made there are left.
    pub handles: usize,
}

/// `2 made at src/tab.rs:3:5`.
impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} made at {}", self.handles, self.made_at)
    }
}

/// What has been handed over to be torn down and has not come to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// How many values wait for their destructor to begin.
    pub waiting: usize,
    /// Whether a destructor has not returned.
    pub destructor_running: bool,
    /// How many tasks that destructors started are alive.
    pub tasks: usize,
    /// Whether blocking closures that destructors started are running or queued. Their number is
    /// not for stable Tokio to tell.
    pub closing: bool,
}

impl From<Left> for Unfinished {
    fn from(Left { waiting, dropping, tasks, closing }: Left) -> Self {
        Self { waiting, destructor_running: dropping, tasks, closing }
    }
}

/// `a destructor has not returned, values that wait for theirs: 3`.
impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { waiting, destructor_running, tasks, closing } = *self;
        let mut parts = Vec::new();
        if destructor_running {
            parts.push("a destructor has not returned".to_owned());
        }
        if waiting > 0 {
            parts.push(format!("values that wait for theirs: {waiting}"));
        }
        if tasks > 0 {
            parts.push(format!("tasks of destructors that are alive: {tasks}"));
        }
        if closing {
            parts.push("blocking work of destructors is not done".to_owned());
        }
        if parts.is_empty() {
            parts.push("it was just about to end".to_owned());
        }
        f.write_str(&parts.join(", "))
    }
}

/// A session that has not closed, or not well. It stays closing: it takes nothing new, what can end
/// ends, and it may be asked again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CloseError {
    /// Somebody still has handles.
    #[error(
        "the session {session} has not closed after {elapsed:.1?}: there are still handles, {}{}; drop them and close it again",
        list(held),
        besides(unfinished)
    )]
    StillHeld {
        /// The name of the session.
        session: String,
        /// How long it was waited for.
        elapsed: Duration,
        /// Where the handles were made, and how many at each place; most first.
        held: Vec<Held>,
        /// What has been handed over and has not ended: a value may hold handles itself.
        unfinished: Unfinished,
    },
    /// Nobody has a handle any more, and the values have not been torn down.
    #[error(
        "the session {session} has not closed after {elapsed:.1?}: {unfinished}; what is left goes on in the background, and closing it again waits on"
    )]
    StillRunning {
        /// The name of the session.
        session: String,
        /// How long it was waited for.
        elapsed: Duration,
        /// What has not ended.
        unfinished: Unfinished,
    },
    /// The session's own runtime has not ended, or not well. Where it has ended, so has everything
    /// else.
    #[error(
        "the session {session} has not closed well after {elapsed:.1?}: {source}{}",
        still(held)
    )]
    Runtime {
        /// The name of the session.
        session: String,
        /// How long it was waited for.
        elapsed: Duration,
        /// Where the handles that are left were made: those that hold them may be on it.
        held: Vec<Held>,
        /// What its shutdown came to.
        source: Box<ShutdownError>,
    },
    /// By all that the session sees everything has ended, and the evidence does not confirm it:
    /// as a rule a clone was taken out of a handle.
    #[error(
        "all that the session {session} saw has been torn down, and after {elapsed:.1?} the evidence does not confirm it: {why}{}",
        and_panics(panicked)
    )]
    Unconfirmed {
        /// The name of the session.
        session: String,
        /// How long it was waited for.
        elapsed: Duration,
        /// What the check answered last.
        why: Unconfirmed,
        /// What the destructors that panicked had to say: where one did, it may have left the rest.
        panicked: Vec<String>,
    },
    /// Everything has ended, and destructors panicked on the way.
    #[error("the session {session} has closed, and destructors panicked: {}", list(panicked))]
    Panicked {
        /// The name of the session.
        session: String,
        /// How long this call took.
        elapsed: Duration,
        /// What they had to say.
        panicked: Vec<String>,
    },
    /// A destructor of the session asked for it, or something that one started, or a task of the
    /// session's own runtime, and would wait for its own end. (Where somebody asks that one of those
    /// waits for, that is not seen: use a limit there.)
    #[error(
        "the session {session} cannot wait for its own end from inside: not in a destructor that it runs, nor in what that starts, nor on its own runtime; close it from outside"
    )]
    FromInside {
        /// The name of the session. It is closing from now on.
        session: String,
    },
    /// This is a forked child, and has none of the threads.
    #[error(
        "the session {session} is that of process {process}, which this one was forked from; that process is to close it, and here nothing of it is torn down"
    )]
    Forked {
        /// The name of the session.
        session: String,
        /// The process that has the threads.
        process: u32,
    },
}

fn still(held: &[Held]) -> String {
    if held.is_empty() {
        String::new()
    } else {
        format!("; there are still handles, {}", list(held))
    }
}

fn besides(unfinished: &Unfinished) -> String {
    if *unfinished == Unfinished::default() { String::new() } else { format!(", and {unfinished}") }
}

fn and_panics(panicked: &[String]) -> String {
    if panicked.is_empty() {
        String::new()
    } else {
        format!("; destructors panicked: {}", list(panicked))
    }
}
