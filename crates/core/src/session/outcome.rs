//! What comes of closing a session.

use std::{error::Error, fmt, panic::Location, time::Duration};

use crate::{
    evidence::Unconfirmed,
    reaper::Left,
    shutdown::{ShutdownError, list},
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
/// ends, and it may be asked again. [`kind`](Self::kind) says what is in the way; the other fields
/// say what was left when this call gave up.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CloseError {
    /// The name of the session.
    pub session: String,
    /// How long this call took.
    pub elapsed: Duration,
    /// Where the handles that are left were made, and how many at each place; most first.
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
    /// Nobody holds a handle any more, and the values have not been
    /// [torn down](CloseError::unfinished).
    StillRunning,
    /// The session's own runtime has not ended, or not well: this is what its shutdown returned.
    /// Where it has ended, so has everything else. Those who [hold](CloseError::held) handles may be
    /// on it.
    Runtime(Box<ShutdownError>),
    /// By all that the session sees everything has ended, and the evidence does not confirm it: this
    /// is what the check answered last. As a rule a clone was taken out of a handle. A destructor
    /// that [panicked](CloseError::panicked) may have left something, too.
    Unconfirmed(Box<Unconfirmed>),
    /// Everything has ended, and destructors [panicked](CloseError::panicked) on the way.
    Panicked,
    /// A destructor of the session asked for it, or something that one started, or a task of the
    /// session's own runtime, and would wait for its own end. The session is closing from now on.
    /// (Where somebody asks that one of those waits for, that is not seen: use a limit there.)
    FromInside,
    /// This is a forked child of this process, and has none of its threads.
    Forked {
        /// The process that has the threads.
        process: u32,
    },
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, elapsed, held, unfinished, panicked, kind } = self;
        match kind {
            CloseErrorKind::StillHeld => write!(
                f,
                "the session {session} has not closed after {elapsed:.1?}: there are still \
                 handles, {}{}; drop them and close it again",
                list(held),
                besides(unfinished)
            ),
            CloseErrorKind::StillRunning => write!(
                f,
                "the session {session} has not closed after {elapsed:.1?}: {unfinished}; what is \
                 left goes on in the background, and closing it again waits on"
            ),
            CloseErrorKind::Runtime(error) => write!(
                f,
                "the session {session} has not closed well after {elapsed:.1?}: {error}{}",
                still(held)
            ),
            CloseErrorKind::Unconfirmed(why) => write!(
                f,
                "all that the session {session} saw has been torn down, and after {elapsed:.1?} \
                 the evidence does not confirm it: {why}{}",
                and_panics(panicked)
            ),
            CloseErrorKind::Panicked => write!(
                f,
                "the session {session} has closed, and destructors panicked: {}",
                list(panicked)
            ),
            CloseErrorKind::FromInside => write!(
                f,
                "the session {session} cannot wait for its own end from inside: not in a \
                 destructor that it runs, nor in what that starts, nor on its own runtime; close \
                 it from outside"
            ),
            CloseErrorKind::Forked { process } => write!(
                f,
                "the session {session} is that of process {process}, which this one was forked \
                 from; that process is to close it, and here nothing of it is torn down"
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
