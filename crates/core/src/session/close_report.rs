//! The result of closing a session.

use std::{error::Error, fmt, panic::Location, time::Duration};

use crate::{
    evidence::Unconfirmed,
    shutdown::{ShutdownError, list},
    teardown::Unfinished,
};

/// A session that has closed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "its `confirmation` says what the answer rests on"]
#[non_exhaustive]
pub struct CloseReport {
    /// The name of the session.
    pub session: String,
    /// What the answer rests on.
    pub confirmation: Confirmation,
    /// How long this call took.
    pub elapsed: Duration,
    /// How many tasks of the session's own runtime were dropped before they completed, of those that
    /// its owner spawned. Other tasks on it are dropped with it and not counted.
    pub aborted: usize,
}

/// What it rests on that a session has closed. A later variant says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confirmation {
    /// Every handle is gone, and every value that had handles has been torn down with everything that
    /// its destructor started. A clone that was taken out of a handle, or that a task of the resource
    /// itself holds, would not have been seen.
    HandlesOnly,
    /// In addition, the session's own runtime has ended, and with it every task that ran on it. A clone
    /// elsewhere would not have been seen.
    OwnRuntime,
    /// In addition, a check of the application has confirmed it from outside. (The session may have had
    /// a runtime or not.)
    Evidence,
}

/// Handles that exist and were made at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Where [`guard`](super::Session::guard), `clone` or [`map`](super::Guarded::map) was called.
    pub made_at: &'static Location<'static>,
    /// How many of those that were made there exist.
    pub handles: usize,
}

/// `2 made at src/tab.rs:3:5`.
impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} made at {}", self.handles, self.made_at)
    }
}

/// A session that has not closed, or not well. It stays closing: it takes nothing new, what can end
/// ends, and you may close it again. [`kind`](Self::kind) says what is in the way; the other fields say
/// what was left when this call gave up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CloseError {
    /// The name of the session.
    pub session: String,
    /// How long this call took.
    pub elapsed: Duration,
    /// Where the handles that are left were made, and how many at each place. Most first.
    pub held: Box<[Held]>,
    /// What was handed over and has not ended.
    pub unfinished: Unfinished,
    /// The messages of destructors that panicked.
    pub panicked: Box<[String]>,
    /// What is in the way.
    pub kind: CloseErrorKind,
}

/// What keeps a session from closing, or from closing well.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CloseErrorKind {
    /// Somebody still [holds](CloseError::held) handles. A value that has not been
    /// [torn down](CloseError::unfinished) may hold some itself.
    StillHeld,
    /// No handles are left, and the values have not been [torn down](CloseError::unfinished).
    StillRunning,
    /// The session's own runtime has not ended, or not well: this is the error of its shutdown. If the
    /// runtime has ended, so has everything else. Otherwise its tasks may [hold](CloseError::held) the
    /// handles that are left.
    Runtime(Box<ShutdownError>),
    /// Everything that the session sees has ended, and the evidence does not confirm it: this is the
    /// last answer of the check. As a rule a clone was taken out of a handle. A destructor that
    /// [panicked](CloseError::panicked) may have left something, too.
    Unconfirmed(Box<Unconfirmed>),
    /// Everything has ended, and destructors [panicked](CloseError::panicked).
    Panicked,
    /// The caller is a destructor that the session runs, or something that one started, or a task of the
    /// session's own runtime, and would wait for its own end. The session is closing from now on. (If
    /// such a caller waits for the one that calls this, that is not detected. Use a limit there.)
    FromInside,
    /// This is a forked child of the process that has the session's threads.
    Forked {
        /// The process that has the threads.
        process: u32,
    },
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, elapsed, held, unfinished, panicked, kind } = self;
        write!(f, "the session `{session}` ")?;
        match kind {
            CloseErrorKind::StillHeld => {
                write!(f, "has not closed after {elapsed:.1?}: handles are left, {}", list(held))?;
                if *unfinished != Unfinished::default() {
                    write!(f, ", and {unfinished}")?;
                }
                f.write_str("; drop them and close it again")
            }
            CloseErrorKind::StillRunning => write!(
                f,
                "has not closed after {elapsed:.1?}: {unfinished}; what is left continues in the \
                 background; close it again to keep waiting"
            ),
            CloseErrorKind::Runtime(error) => {
                write!(f, "has not closed well after {elapsed:.1?}: {error}")?;
                match &**held {
                    [] => Ok(()),
                    held => write!(f, "; handles are left, {}", list(held)),
                }
            }
            CloseErrorKind::Unconfirmed(why) => {
                write!(
                    f,
                    "has torn down all it saw, and after {elapsed:.1?} the evidence does not \
                     confirm it: {why}"
                )?;
                match &**panicked {
                    [] => Ok(()),
                    panicked => write!(f, "; destructors panicked: {}", list(panicked)),
                }
            }
            CloseErrorKind::Panicked => {
                write!(f, "has closed, and destructors panicked: {}", list(panicked))
            }
            CloseErrorKind::FromInside => f.write_str(
                "cannot wait for its own end from inside: not in a destructor that it runs, nor in \
                 what that starts, nor on its own runtime; close it from outside",
            ),
            CloseErrorKind::Forked { process } => write!(
                f,
                "belongs to process {process}, which this one was forked from; close it there, \
                 nothing of it is torn down here"
            ),
        }
    }
}

impl Error for CloseError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            CloseErrorKind::Runtime(error) => Some(error),
            CloseErrorKind::Unconfirmed(why) => Some(why),
            _ => None,
        }
    }
}
