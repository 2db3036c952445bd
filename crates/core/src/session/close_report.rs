//! The result of closing a session.

use std::{error::Error, fmt, panic::Location, time::Duration};

use crate::{
    evidence::Unconfirmed,
    shutdown::{ShutdownError, list},
    teardown::Unfinished,
};

/// The report of a session that has closed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "its `confirmation` says how the end was confirmed"]
#[non_exhaustive]
pub struct CloseReport {
    /// The name of the session.
    pub session: String,
    /// How the end was confirmed.
    pub confirmation: Confirmation,
    /// How long this call took.
    pub elapsed: Duration,
    /// How many tasks of the session's own runtime were dropped before they completed, of those that
    /// its owner spawned. Other tasks on it are dropped with it and not counted.
    pub aborted: usize,
}

/// How the end of a session was confirmed. Each variant confirms more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confirmation {
    /// No handle is left, and every value has been torn down with everything that its destructor
    /// started. The session would not have seen a clone that was taken out of a handle, or that a task
    /// of the resource holds.
    HandlesOnly,
    /// In addition, the session's own runtime has ended, with every task on it. The session would not
    /// have seen a clone elsewhere.
    OwnRuntime,
    /// In addition, a check of the application has confirmed the end from outside. (The session may or
    /// may not have had a runtime.)
    Evidence,
}

/// Live handles that were made at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Where [`guard`](super::Session::guard), `clone` or [`map`](super::Guarded::map) was called.
    pub made_at: &'static Location<'static>,
    /// How many handles that were made there are still alive.
    pub handles: usize,
}

/// `2 made at src/tab.rs:3:5`.
impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} made at {}", self.handles, self.made_at)
    }
}

/// Why a session has not closed, or has closed with a failure. The session keeps closing: it accepts no
/// new values, teardowns continue, and you can call `close` again. [`kind`](Self::kind) says what blocks
/// it; the other fields say what was left when this call returned.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CloseError {
    /// The name of the session.
    pub session: String,
    /// How long this call took.
    pub elapsed: Duration,
    /// Live handles by creation site, most first.
    pub held: Box<[Held]>,
    /// Teardowns that have not ended.
    pub unfinished: Unfinished,
    /// The messages of destructors that panicked.
    pub panicked: Box<[String]>,
    /// What blocks the close, or went wrong.
    pub kind: CloseErrorKind,
}

/// What blocks a session from closing, or went wrong while it closed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CloseErrorKind {
    /// Handles are still [alive](CloseError::held). A value that has not been
    /// [torn down](CloseError::unfinished) may hold some of them.
    StillHeld,
    /// No handles are left, but [teardowns](CloseError::unfinished) have not ended.
    StillRunning,
    /// The shutdown of the session's own runtime returned this error. If the runtime has ended (a task or
    /// its thread panicked), so has everything else. Otherwise its tasks may hold the handles that are
    /// still [alive](CloseError::held).
    Runtime(Box<ShutdownError>),
    /// Everything that the session sees has ended, but the evidence does not confirm it. This is the last
    /// result of the check. The usual cause is a clone that was taken out of a handle. A destructor that
    /// [panicked](CloseError::panicked) may also have left something open.
    Unconfirmed(Box<Unconfirmed>),
    /// Everything has ended, but destructors [panicked](CloseError::panicked).
    Panicked,
    /// The caller would wait for its own end: it is a destructor that the session runs, work that such a
    /// destructor started, or a task of the session's own runtime. The session is closing from now on.
    /// (If one of these waits for another thread that calls `close`, that is not detected. Use a limit
    /// there.)
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
