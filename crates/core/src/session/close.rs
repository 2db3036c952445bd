//! The closing of a session, step by step.

use std::{
    future::{Future, pending},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{
    Check, CloseError, CloseErrorKind, CloseReport, Confirmation, Core, Owner, Runtime, Unfinished,
};
use crate::{
    evidence::{Evidence, Unconfirmed},
    limit::within,
    observe::{self, Outcome},
    oneshot, panics,
    shutdown::{Alive, ShutdownError, ShutdownErrorKind},
    stop_then_abort::share_for_abort,
};

/// How long to wait before the check is called again: at first, and at most.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// How long handles may take to be dropped before the session shuts its runtime down, at most half of the
/// limit. That is long enough for code that was signalled to drop them. It is a short wait if a task of
/// that runtime holds one: only the runtime's shutdown drops that handle.
const FOR_HANDLES: Duration = Duration::from_millis(100);

/// How long destructors may take before the session shuts its runtime down, at most half of the limit. A
/// destructor may wait for a task of that runtime, which ends only then.
const FOR_DESTRUCTORS: Duration = Duration::from_secs(5);

/// A session that is closing, as one caller sees it.
pub(super) struct Closing<'a> {
    owner: &'a Owner,
    limit: Duration,
    began: Instant,
    step: Step,
    aborted: usize,
    /// The runtime has ended, with this error.
    runtime_panicked: Option<ShutdownError>,
}

/// What the close is waiting for.
enum Step {
    /// Handles, and then the teardown of their values.
    Teardown,
    /// The session's own runtime.
    Runtime,
    /// The evidence. This is the last result of the check.
    Evidence(Unconfirmed),
}

impl<'a> Closing<'a> {
    pub(super) fn begin(owner: &'a Owner, limit: Duration) -> Result<Self, CloseError> {
        let began = Instant::now();
        let Core { name, count, reaper, .. } = &*owner.core;
        let refused = |kind| CloseError {
            session: name.clone().into_owned(),
            elapsed: began.elapsed(),
            held: Box::default(),
            unfinished: Unfinished::default(),
            panicked: Box::default(),
            kind,
        };
        if let Some(process) = reaper.forked_from() {
            return Err(refused(CloseErrorKind::Forked { process }));
        }
        count.close();
        let on_own_runtime = owner.runtime.as_ref().is_some_and(Runtime::includes_this_thread);
        if reaper.includes_this_thread() || on_own_runtime {
            return Err(refused(CloseErrorKind::FromInside));
        }
        let (step, runtime_panicked) = (Step::Teardown, None);
        Ok(Self { owner, limit, began, step, aborted: 0, runtime_panicked })
    }

    /// Runs the steps. The caller enforces the limit.
    pub(super) async fn run(&mut self) -> Result<(), CloseError> {
        let owner = self.owner;
        if let Some(check) = &owner.evidence {
            let no_look = Unconfirmed::Unavailable("its look has not returned".to_owned());
            self.step = Step::Evidence(no_look);
            // A look that fails saw nothing; the check says what follows from that.
            let _ = on_its_thread(check, |check| {
                check.look();
                Ok(())
            })
            .await;
            self.step = Step::Teardown;
        }
        if let Some(runtime) = &owner.runtime {
            let Core { count, reaper, .. } = &*owner.core;
            if within(FOR_HANDLES.min(self.left() / 2), count.closed().wait()).await.is_some() {
                within(FOR_DESTRUCTORS.min(self.left() / 2), reaper.wait_quiescent()).await;
            }
            self.shut_down(runtime).await?;
        }
        self.step = Step::Teardown;
        owner.core.torn_down().await;
        match &owner.evidence {
            Some(check) => self.confirmed_by(check).await,
            None => Ok(()),
        }
    }

    async fn shut_down(&mut self, runtime: &Runtime) -> Result<(), CloseError> {
        if runtime.was_restarted() {
            return Ok(());
        }
        self.step = Step::Runtime;
        let left = self.left();
        // The rest is for the teardown of what the runtime drops, and for the evidence.
        match runtime.owner.shutdown(left - share_for_abort(left)).await {
            Ok(report) => self.aborted = report.aborted,
            Err(error) => match error.kind {
                // The runtime has ended. This error is reported when everything else has.
                ShutdownErrorKind::Panicked(_) | ShutdownErrorKind::ThreadPanicked(_) => {
                    self.runtime_panicked = Some(error);
                }
                _ => return Err(self.runtime(error)),
            },
        }
        Ok(())
    }

    async fn confirmed_by(&mut self, check: &Check) -> Result<(), CloseError> {
        let no_answer = Unconfirmed::Unavailable("the check has not returned".to_owned());
        self.step = Step::Evidence(no_answer);
        let mut pause = PAUSE;
        while let Err(why) = on_its_thread(check, |check| check.check()).await {
            if let Unconfirmed::Unavailable(_) = why {
                return Err(self.error(CloseErrorKind::Unconfirmed(Box::new(why))));
            }
            self.step = Step::Evidence(why);
            within(pause, pending::<()>()).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
        Ok(())
    }

    /// The result; `ended` is `None` if the limit passed first.
    pub(super) fn conclude(
        self,
        ended: Option<Result<(), CloseError>>,
    ) -> Result<CloseReport, CloseError> {
        let result = match ended {
            Some(Ok(())) => self.closed(),
            Some(Err(error)) => Err(error),
            None => Err(self.timed_out()),
        };
        let outcome = match &result {
            Ok(_) => Outcome::Graceful,
            Err(error) => match error.kind {
                CloseErrorKind::Panicked => Outcome::Panicked,
                CloseErrorKind::Runtime(_) if self.runtime_panicked.is_some() => Outcome::Panicked,
                CloseErrorKind::Unconfirmed(_) => Outcome::Unconfirmed,
                _ => Outcome::TimedOut,
            },
        };
        if let Outcome::Graceful | Outcome::Panicked = outcome {
            self.owner.confirmed.raise();
        }
        observe::shutdown(&self.owner.core.name, outcome, self.began.elapsed());
        result
    }

    /// The result when everything has ended.
    fn closed(&self) -> Result<CloseReport, CloseError> {
        let Owner { core, runtime, evidence, .. } = self.owner;
        if let Some(error) = &self.runtime_panicked {
            return Err(self.runtime(error.clone()));
        }
        if !core.reaper.panics().is_empty() {
            return Err(self.error(CloseErrorKind::Panicked));
        }
        let confirmation = match (evidence, runtime) {
            (Some(_), _) => Confirmation::Evidence,
            (None, Some(_)) => Confirmation::OwnRuntime,
            (None, None) => Confirmation::HandlesOnly,
        };
        let (session, elapsed) = (self.session(), self.began.elapsed());
        Ok(CloseReport { session, confirmation, elapsed, aborted: self.aborted })
    }

    fn timed_out(&self) -> CloseError {
        match &self.step {
            Step::Teardown => {
                let error = self.error(CloseErrorKind::StillRunning);
                let kind = match &*error.held {
                    [] => CloseErrorKind::StillRunning,
                    _ => CloseErrorKind::StillHeld,
                };
                CloseError { kind, ..error }
            }
            Step::Runtime => {
                // The runtime has a limit of its own, which passes first, unless the machine is busy.
                let runtime = self.owner.runtime.as_ref();
                let tasks = runtime.map_or(0, |runtime| runtime.owner.stats().tasks);
                let alive = Alive { tasks, ..Alive::default() };
                let component = format!("the runtime of {}", self.session());
                let kind = ShutdownErrorKind::TimedOut;
                let error = ShutdownError::new(component, self.began.elapsed(), kind);
                self.runtime(error.with_running(Vec::new(), alive))
            }
            // Evidence looks while handles may still be held.
            Step::Evidence(_) if self.owner.core.count.values() > 0 => {
                self.error(CloseErrorKind::StillHeld)
            }
            Step::Evidence(why) => self.error(CloseErrorKind::Unconfirmed(Box::new(why.clone()))),
        }
    }

    fn runtime(&self, error: ShutdownError) -> CloseError {
        self.error(match error.kind {
            ShutdownErrorKind::FromInside => CloseErrorKind::FromInside,
            _ => CloseErrorKind::Runtime(Box::new(error)),
        })
    }

    fn error(&self, kind: CloseErrorKind) -> CloseError {
        let reaper = &self.owner.core.reaper;
        CloseError {
            session: self.session(),
            elapsed: self.began.elapsed(),
            held: self.owner.held().into(),
            unfinished: reaper.unfinished(),
            panicked: reaper.panics().into(),
            kind,
        }
    }

    fn session(&self) -> String {
        self.owner.core.name.clone().into_owned()
    }

    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.began.elapsed())
    }
}

impl Core {
    /// Waits until no handle is left and no new one can be made, and then until all values have been torn
    /// down.
    async fn torn_down(&self) {
        self.count.closed().wait().await;
        self.reaper.wait_quiescent().await;
    }
}

/// Asks evidence on a thread of its own: it is the application's code, and may hang.
fn on_its_thread(
    check: &Check,
    ask: fn(&dyn Evidence) -> Result<(), Unconfirmed>,
) -> impl Future<Output = Result<(), Unconfirmed>> + Send + use<> {
    let (answer, answered) = oneshot::channel();
    let check = Arc::clone(check);
    let thread = thread::Builder::new().name("sundown-evidence".to_owned());
    let asked = thread.spawn(move || {
        let checked = panics::catch(|| ask(&*check));
        // The caller may have stopped waiting.
        let _ = answer.send(checked.unwrap_or_else(|message| {
            Err(Unconfirmed::Unavailable(format!("the check panicked: {message}")))
        }));
    });
    async move {
        if let Err(refused) = asked {
            let message = format!("cannot start a thread to run the check: {refused}");
            return Err(Unconfirmed::Unavailable(message));
        }
        let no_answer = || Err(Unconfirmed::Unavailable("the check returned no result".to_owned()));
        answered.await.unwrap_or_else(|_| no_answer())
    }
}
