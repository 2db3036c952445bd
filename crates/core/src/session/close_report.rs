//! The result of closing a session.

use std::{error::Error, fmt, panic::Location, time::Duration};

use super::{Blocked, HookFailure};
use crate::{
    evidence::Unconfirmed,
    shutdown::{
        CutOff, ForeignPanic, NotCovered, ShutdownError, ShutdownErrorKind, StillRunning, count,
        few, list, not_covered::not_covered, report::cut_short,
    },
    teardown::Unfinished,
};

/// The report of a session that has closed. Its `Display` says it in one sentence.
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
    /// were spawned through the kit.
    pub aborted: usize,
    /// The first 64 of them, by name.
    pub aborted_tasks: Vec<StillRunning>,
    /// How many other tasks of the session's own runtime were cut off: an SDK's own, for example. They had
    /// [a short time](super::Builder::runtime) to end by themselves.
    pub foreign: usize,
    /// The panics that were seen on the threads of the session's own runtime, other than those of the
    /// kit's tasks. They are seen only if the runtime was built with
    /// [`watch_panics`](crate::runtime::RuntimeBuilder::watch_panics).
    pub foreign_panics: Vec<ForeignPanic>,
    /// How the tasks that were left were cut off.
    pub cut_off: CutOff,
    /// How many values were taken out of their handles by [`into_inner`](super::Guarded::into_inner).
    pub escaped: usize,
    /// What this report does not speak of.
    pub not_covered: Vec<NotCovered>,
}

impl fmt::Display for CloseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, confirmation, elapsed, .. } = self;
        write!(f, "the session `{session}` has closed after {elapsed:.1?}, confirmed by ")?;
        f.write_str(match confirmation {
            Confirmation::HandlesOnly => "its handles only",
            Confirmation::OwnRuntime => "the end of its runtime",
            Confirmation::Evidence => "evidence",
        })?;
        let Self { aborted, aborted_tasks, foreign, foreign_panics, cut_off, .. } = self;
        let said = cut_short(*aborted, aborted_tasks, *foreign, foreign_panics, *cut_off);
        if !said.is_empty() {
            write!(f, "; {}", list(&said))?;
        }
        f.write_str(&not_covered(&self.not_covered))
    }
}

/// What a close had done and seen when it failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// As in [`CloseReport::aborted`].
    pub aborted: usize,
    /// As in [`CloseReport::aborted_tasks`].
    pub aborted_tasks: Vec<StillRunning>,
    /// As in [`CloseReport::foreign`].
    pub foreign: usize,
    /// As in [`CloseReport::foreign_panics`].
    pub foreign_panics: Vec<ForeignPanic>,
    /// As in [`CloseReport::cut_off`].
    pub cut_off: CutOff,
    /// How long the foreign tasks of the session's own runtime were given to end by themselves, counted from
    /// the end of the last task that was spawned through the kit. `None` if the close did not get there.
    pub foreign_time: Option<Duration>,
    /// As in [`CloseReport::escaped`].
    pub escaped: usize,
    /// The hooks that did not end well, and the one that has not ended.
    pub hooks: Vec<HookFailure>,
    /// The hook that kept this call beyond its limit, because it blocked the thread that polled it.
    pub blocked: Option<Blocked>,
    /// How many destructors panicked.
    pub panics: usize,
    /// As in [`CloseReport::not_covered`].
    pub not_covered: Vec<NotCovered>,
    /// What the caller is in, after [`FromInside`](CloseErrorKind::FromInside).
    pub inside: Option<Inside>,
}

/// What a caller is in that would wait for its own end. Its `Display` says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inside {
    /// A destructor that the session runs, or work that such a destructor started.
    Destructor,
    /// A hook of the session.
    Hook,
    /// Evidence of the session.
    Evidence,
    /// A task or blocking work of the session's own runtime, or its `block_on`.
    OwnRuntime,
    /// The only thread that can run the hook. It must not block.
    HooksThread,
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Destructor => {
                "this is a destructor that the session runs, or was started by one; close it elsewhere"
            }
            Self::Hook => "this is its hook, which must end first; close it elsewhere",
            Self::Evidence => "this is its evidence, which must answer first; close it elsewhere",
            Self::OwnRuntime => {
                "this is its own runtime, which must end first; close it on a plain thread or another \
                 runtime, or give the session the runtime's handle instead of its owner"
            }
            Self::HooksThread => {
                "only this thread can run its hook, and must not block; await `close` here, or close it \
                 on another thread"
            }
        })
    }
}

/// How the end of a session was confirmed. Each variant confirms more than the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confirmation {
    /// No handle is left, and every value has been torn down with everything that its destructor
    /// started. The session would not have seen a clone that was taken out of a handle, or that a task
    /// of the resource holds.
    HandlesOnly,
    /// In addition, the session's own runtime has ended, with every task on it. The session would not
    /// have seen a clone elsewhere. This says nothing of files: what an event handler of a client holds is
    /// not freed with the runtime, [for example](super#what-a-session-cannot-see). (A session whose runtime
    /// goes on, because other sessions use it, says `HandlesOnly`.)
    OwnRuntime,
    /// In addition, the checks of the application have confirmed the end from outside. They speak of what
    /// they look at, and of the instant at which they were asked. (The session may or may not have had a
    /// runtime.)
    Evidence,
}

/// Live handles that were made at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Where [`guard`](super::Session::guard), `clone`, [`map`](super::Guarded::map) or the like was
    /// called. If the standard library called `clone` (a `Vec` of handles was cloned), this is where the
    /// original was made.
    pub made_at: &'static Location<'static>,
    /// How many handles that were made there are still alive.
    pub handles: usize,
}

/// `2 handles made at src/tab.rs:3:5`.
impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} made at {}", count(self.handles, "handle"), self.made_at)
    }
}

/// Why a session has not closed, or has closed with a failure. The session keeps closing: it accepts no
/// new values, teardowns continue, and you can call `close` again. [`kind`](Self::kind) says what blocks
/// it; the other fields say what was left when this call returned.
#[derive(Clone)]
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
    /// The messages of the first destructors that panicked. [`Seen::panics`] says how many did.
    pub panicked: Box<[String]>,
    /// What the close had done and seen besides.
    pub seen: Box<Seen>,
    /// What blocks the close, or went wrong.
    pub kind: CloseErrorKind,
}

crate::debug_as_text!(CloseError { session, elapsed, held, unfinished, panicked, seen, kind });

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
    /// [Hooks](Seen::hooks) panicked, were dropped, or have not ended. Unless one has not ended, everything
    /// else has.
    Hook,
    /// The caller would wait for its own end: [`Seen::inside`] says what it is in. The session is closing
    /// from now on. (If the caller waits for another thread that calls `close`, that is not detected. Use a
    /// limit there.)
    FromInside,
    /// This is a forked child of the process that has the session's threads.
    Forked {
        /// The process that has the threads.
        process: u32,
    },
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, elapsed, held, unfinished, panicked, seen, kind } = self;
        write!(f, "the session `{session}` ")?;
        match kind {
            CloseErrorKind::StillHeld => {
                write!(f, "has not closed after {elapsed:.1?}: it is held by {}", few(held))?;
                if *unfinished != Unfinished::default() {
                    write!(f, ", and {unfinished}")?;
                }
                f.write_str("; drop what holds it and close it again")
            }
            CloseErrorKind::StillRunning => write!(
                f,
                "has not closed after {elapsed:.1?}: {unfinished}; what is left continues in the \
                 background; close it again to keep waiting"
            ),
            CloseErrorKind::Runtime(error) => {
                write!(f, "has not closed well after {elapsed:.1?}: {error}")?;
                if let (ShutdownErrorKind::TimedOut, Some(time)) = (&error.kind, seen.foreign_time)
                {
                    write!(f, "; foreign tasks had been given {time:.1?} of that")?;
                }
                match &**held {
                    [] => Ok(()),
                    held => write!(f, "; it is held by {}", few(held)),
                }
            }
            CloseErrorKind::Unconfirmed(why) => {
                write!(
                    f,
                    "has torn down all it saw, and after {elapsed:.1?} the evidence does not \
                     confirm it: {why}"
                )?;
                if let Unconfirmed::Against(_) = **why {
                    f.write_str(
                        "; a clone outside the handles, or a task that no hook has stopped, may be the \
                         cause: end it and close again",
                    )?;
                }
                if seen.escaped > 0 {
                    let escaped = count(seen.escaped, "value");
                    write!(f, "; {escaped} taken out of a handle may be what is left")?;
                }
                match &**panicked {
                    [] => Ok(()),
                    panicked => {
                        f.write_str("; ")?;
                        destructors(f, seen.panics, panicked)
                    }
                }
            }
            CloseErrorKind::Panicked => {
                f.write_str("has closed, and ")?;
                destructors(f, seen.panics, panicked)
            }
            CloseErrorKind::Hook => {
                let is_running = seen.hooks.iter().any(HookFailure::is_running);
                let how = if is_running { "has not closed" } else { "has closed, but not well," };
                write!(f, "{how} after {elapsed:.1?}: {}", few(&seen.hooks))?;
                if is_running {
                    f.write_str("; close it again to keep waiting")?;
                }
                Ok(())
            }
            CloseErrorKind::FromInside => {
                f.write_str("cannot wait for its own end")?;
                seen.inside.map_or(Ok(()), |inside| write!(f, ": {inside}"))
            }
            CloseErrorKind::Forked { process } => write!(
                f,
                "belongs to process {process}, which this one was forked from; close it there, \
                 nothing of it is torn down here"
            ),
        }?;
        let blocked = |blocked| write!(f, "; {blocked}, and no limit can interrupt that");
        seen.blocked.map_or(Ok(()), blocked)
    }
}

fn destructors(f: &mut fmt::Formatter<'_>, panics: usize, first: &[String]) -> fmt::Result {
    write!(f, "{} panicked: {}", count(panics, "destructor"), list(first))?;
    if panics > first.len() { f.write_str(", …") } else { Ok(()) }
}

impl Error for CloseError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            // Its text is part of this error's text.
            CloseErrorKind::Runtime(error) => error.source(),
            _ => None,
        }
    }
}
