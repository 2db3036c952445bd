//! The closing of a session, step by step, and what comes of it.

use std::{
    fmt,
    future::{Future, pending},
    panic::{AssertUnwindSafe, Location, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use thiserror::Error;

use super::{Check, Core, Owner};
use crate::{
    crew::panic_message,
    evidence::Unconfirmed,
    observe::{self, Outcome},
    oneshot,
    reaper::Left,
    shutdown::list,
    timer::within,
};

/// How long to wait before the evidence is asked again: the first time, and at most.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// A session that has closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReport {
    /// The name of the session.
    pub session: String,
    /// What the answer rests on.
    pub confirmation: Confirmation,
    /// How long this call took.
    pub elapsed: Duration,
}

/// What it rests on that a session has closed. What comes later says more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confirmation {
    /// Every handle is gone, and every value that had handles has been torn down with everything
    /// that its destructor started. A clone that was taken out of a handle, or that a task of the
    /// resource's own holds, would not have been seen.
    HandlesOnly,
    /// Besides that, a check of the application's has confirmed it from outside.
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

/// `a destructor has not returned, 3 values wait for theirs`.
impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { waiting, destructor_running, tasks, closing } = *self;
        let mut parts = Vec::new();
        if destructor_running {
            parts.push("a destructor has not returned".to_owned());
        }
        if waiting > 0 {
            parts.push(format!("values whose destructors have not begun: {waiting}"));
        }
        if tasks > 0 {
            parts.push(format!("tasks that destructors started and that are alive: {tasks}"));
        }
        if closing {
            parts.push("blocking work that destructors started is not done".to_owned());
        }
        if parts.is_empty() {
            parts.push("it was just about to end".to_owned());
        }
        f.write_str(&parts.join(", "))
    }
}

fn besides(unfinished: &Unfinished) -> String {
    if *unfinished == Unfinished::default() { String::new() } else { format!(", and {unfinished}") }
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
    /// By all that the session sees everything has ended, and the evidence does not confirm it:
    /// as a rule a clone was taken out of a handle.
    #[error(
        "every value of the session {session} has been torn down, which the evidence does not confirm after {elapsed:.1?}: {why}"
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
    /// A destructor of the session asked for it, or something that one started, and would wait for
    /// its own end.
    #[error(
        "the session {session} cannot wait for its own end from inside: not in a destructor that it runs, and not in what that starts; close it from outside"
    )]
    FromInside {
        /// The name of the session. It is closing from now on.
        session: String,
    },
}

/// A session on its way, as one caller sees it.
pub(super) struct Closing<'a> {
    owner: &'a Owner,
    began: Instant,
    /// What the evidence says: nothing before everything has been torn down, nor where there is none.
    finding: Option<Unconfirmed>,
}

impl<'a> Closing<'a> {
    pub(super) fn begin(owner: &'a Owner) -> Result<Self, CloseError> {
        let Core { name, roster, reaper } = &*owner.core;
        roster.close();
        if reaper.is_here() {
            return Err(CloseError::FromInside { session: name.clone().into_owned() });
        }
        Ok(Self { owner, began: Instant::now(), finding: None })
    }

    /// Goes through the steps, without a limit: whoever polls this keeps it.
    pub(super) async fn run(&mut self) -> Result<(), Unconfirmed> {
        self.torn_down().await;
        if let Some(check) = &self.owner.evidence {
            let mut pause = PAUSE;
            self.finding = Some(Unconfirmed::Unavailable("the check has not answered".to_owned()));
            while let Err(why) = ask(check).await {
                if let Unconfirmed::Unavailable(_) = why {
                    return Err(why);
                }
                self.finding = Some(why);
                within(pause, pending::<()>()).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        }
        Ok(())
    }

    async fn torn_down(&self) {
        let Core { roster, reaper, .. } = &*self.owner.core;
        roster.closed().wait().await;
        // Nobody can hand anything over any more.
        reaper.settled().await;
    }

    /// What came of it; `None` where the limit passed first.
    pub(super) fn conclude(
        self,
        ended: Option<Result<(), Unconfirmed>>,
    ) -> Result<CloseReport, CloseError> {
        let result = self.result(ended);
        let outcome = match &result {
            Ok(_) => Outcome::Graceful,
            Err(CloseError::Panicked { .. }) => Outcome::Panicked,
            Err(CloseError::Unconfirmed { .. }) => Outcome::Unconfirmed,
            Err(_) => Outcome::TimedOut,
        };
        if let Outcome::Graceful | Outcome::Panicked = outcome {
            self.owner.confirmed.raise();
        }
        observe::shutdown(&self.owner.core.name, outcome, self.began.elapsed());
        result
    }

    fn result(&self, ended: Option<Result<(), Unconfirmed>>) -> Result<CloseReport, CloseError> {
        let (session, elapsed) = (self.owner.core.name.clone().into_owned(), self.began.elapsed());
        let reaper = &self.owner.core.reaper;
        let why = match ended {
            Some(Ok(())) => None,
            Some(Err(why)) => Some(why),
            // Not yet asked for evidence.
            None if self.finding.is_none() => {
                let (held, unfinished) = (self.owner.held(), reaper.left().into());
                return Err(if held.is_empty() {
                    CloseError::StillRunning { session, elapsed, unfinished }
                } else {
                    CloseError::StillHeld { session, elapsed, held, unfinished }
                });
            }
            None => self.finding.clone(),
        };
        let panicked = reaper.panics();
        if let Some(why) = why {
            return Err(CloseError::Unconfirmed { session, elapsed, why, panicked });
        }
        if !panicked.is_empty() {
            return Err(CloseError::Panicked { session, elapsed, panicked });
        }
        let confirmation = match self.owner.evidence {
            Some(_) => Confirmation::Evidence,
            None => Confirmation::HandlesOnly,
        };
        Ok(CloseReport { session, confirmation, elapsed })
    }
}

/// Asks a check, on a thread of its own: it is somebody else's code, and may take for ever.
fn ask(check: &Check) -> impl Future<Output = Result<(), Unconfirmed>> + Send + use<> {
    let (answer, answered) = oneshot::channel();
    let check = Arc::clone(check);
    let asked = thread::Builder::new().name("sundown-evidence".to_owned()).spawn(move || {
        let checked = catch_unwind(AssertUnwindSafe(|| check()));
        // Whoever asked may have gone.
        let _ = answer.send(checked.unwrap_or_else(|payload| {
            let message = panic_message(&*payload);
            Err(Unconfirmed::Unavailable(format!("the check panicked: {message}")))
        }));
    });
    async move {
        if let Err(refused) = asked {
            let message = format!("there is no thread to ask the check on: {refused}");
            return Err(Unconfirmed::Unavailable(message));
        }
        let unanswered = || Err(Unconfirmed::Unavailable("the check gave no answer".to_owned()));
        answered.await.unwrap_or_else(|_| unanswered())
    }
}
