//! The closing of a session, step by step.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use super::{
    CloseError, CloseErrorKind, CloseReport, Confirmation, Core, HookFailure, Inside, Owner, Seen,
    Unfinished, checks::Confirmed, runtime::Runtime,
};
use crate::{
    evidence::Unconfirmed,
    limit::within,
    observe::{self, Outcome},
    runtime::{Enlisted, State, default_time},
    shutdown::{Alive, NotCovered, ShutdownError, ShutdownErrorKind, ShutdownReport},
    stop_then_abort::share_for_abort,
    teardown::KitThread,
};

/// How long to wait before the checks are asked again: at first, and at most.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// How long handles may take to be dropped before the session runs its hooks, and before it shuts its
/// runtime down; at most half of the limit. That is long enough for code that was signalled to drop them.
/// It is a short wait if a hook or a task of that runtime holds one: only its end drops that handle.
const FOR_HANDLES: Duration = Duration::from_millis(100);

/// How long destructors may take before the session runs its hooks, and before it shuts its runtime down;
/// at most half of the limit. A destructor may wait for a task of that runtime, which ends only then.
const FOR_DESTRUCTORS: Duration = Duration::from_secs(5);

/// How late an answer must be for a hook that blocks to be named. A busy machine makes it later.
const NOTICEABLE: Duration = Duration::from_millis(100);

/// How often to look whether hooks hold all handles that are left.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// How long foreign tasks of the session's runtime may take to end, if there was no hook to stop them; at
/// most half of what is left of the limit. Many never end by themselves, and whoever closes waits for them.
const FOR_FOREIGN: Duration = Duration::from_secs(2);

/// How long the checks must have held, unless the session's runtime has ended. Work that goes on elsewhere
/// may be about to open something: a connection that is being made is neither open nor in the pool.
const HELD_FOR: Duration = Duration::from_millis(15);

/// A session that is closing, as one caller sees it.
pub(super) struct Closing<'a> {
    owner: &'a Owner,
    limit: Duration,
    began: Instant,
    step: Step,
    /// The report of the session's own runtime, once it has ended.
    runtime: Option<ShutdownReport>,
    /// The runtime has ended, with this error.
    runtime_panicked: Option<ShutdownError>,
    /// How long the foreign tasks of the runtime were given.
    foreign_time: Option<Duration>,
}

/// What the close is waiting for.
enum Step {
    /// Handles, and then the teardown of their values.
    Teardown,
    /// The hooks.
    Hooks,
    /// The session's own runtime.
    Runtime,
    /// The evidence. This is the last result of the checks.
    Evidence(Unconfirmed),
    /// The threads of the kit.
    Threads,
}

impl<'a> Closing<'a> {
    pub(super) fn begin(owner: &'a Owner, limit: Duration) -> Result<Self, CloseError> {
        let began = Instant::now();
        let Core { count, reaper, .. } = &*owner.core;
        let step = Step::Teardown;
        let (runtime, runtime_panicked, foreign_time) = (None, None, None);
        let closing = Self { owner, limit, began, step, runtime, runtime_panicked, foreign_time };
        if let Some(process) = reaper.forked_from() {
            return Err(closing.refused(CloseErrorKind::Forked { process }));
        }
        count.close();
        match owner.inside() {
            Some(inside) => Err(closing.refused_inside(inside)),
            None => Ok(closing),
        }
    }

    pub(super) fn refused_inside(&self, inside: Inside) -> CloseError {
        let seen = Seen { inside: Some(inside), ..Seen::default() };
        CloseError { seen: Box::new(seen), ..self.refused(CloseErrorKind::FromInside) }
    }

    /// An error that says nothing of the session's state, which this caller cannot or need not see.
    fn refused(&self, kind: CloseErrorKind) -> CloseError {
        CloseError {
            session: self.session(),
            elapsed: self.began.elapsed(),
            held: Box::default(),
            unfinished: Unfinished::default(),
            panicked: Box::default(),
            seen: Box::default(),
            kind,
        }
    }

    /// Runs the steps. The caller enforces the limit.
    pub(super) async fn run(&mut self) -> Result<(), CloseError> {
        let Owner { core, runtime, hooks, .. } = self.owner;
        let checks = &core.checks;
        let share = runtime.as_ref().and_then(Runtime::share);
        if checks.are_there_any() {
            let no_look = Unconfirmed::Unavailable("its look has not returned".to_owned());
            self.step = Step::Evidence(no_look);
            checks.look_once().await;
            self.step = Step::Teardown;
        }
        if hooks.are_pending() {
            self.values_first().await;
        }
        self.step = Step::Hooks;
        hooks.run(runtime.as_ref()).await;
        self.step = Step::Teardown;
        if let Some(share) = share {
            // Also after the hooks, which may have held handles.
            self.values_first().await;
            self.shut_down(share).await?;
        }
        self.step = Step::Teardown;
        core.torn_down().await;
        if checks.are_there_any() {
            self.confirmed_by_evidence().await?;
        }
        self.step = Step::Threads;
        checks.join().await;
        core.reaper.ended().await;
        Ok(())
    }

    /// Gives handles, and then destructors, some time to go by themselves.
    async fn values_first(&self) {
        let Core { reaper, .. } = &*self.owner.core;
        if within(FOR_HANDLES.min(self.left() / 2), self.others_dropped()).await.is_some() {
            within(FOR_DESTRUCTORS.min(self.left() / 2), reaper.wait_quiescent()).await;
        }
    }

    /// Waits until no handle is left, except those that hooks keep for themselves.
    async fn others_dropped(&self) {
        let Owner { core, hooks, .. } = self.owner;
        // A value that is gone no longer counts. One that a hook keeps is looked at: an event would cost
        // each drop of a handle something.
        while !hooks.hold_all_of(core.count.values()) {
            let wait = match hooks.keep_some() {
                true => LOOK_AGAIN,
                false => Duration::MAX,
            };
            if within(wait, core.count.closed().wait()).await.is_some() {
                return;
            }
        }
    }

    async fn shut_down(&mut self, share: &Enlisted) -> Result<(), CloseError> {
        if !share.leave() {
            // Other sessions use it. The last of them takes it down.
            return Ok(());
        }
        self.step = Step::Runtime;
        let left = self.left();
        // The rest is for the teardown of what the runtime drops, and for the evidence.
        let limit = left - share_for_abort(left);
        let after_hook = self.owner.hooks.have_run();
        let foreign_time = share.foreign_time(time_for_foreign(after_hook, limit, left));
        self.foreign_time = Some(foreign_time);
        match share.shutdown(limit, foreign_time).await {
            Ok(report) => self.runtime = Some(report),
            Err(mut error) => match error.kind {
                // The runtime has ended. This error is reported when everything else has.
                ShutdownErrorKind::Panicked(_) | ShutdownErrorKind::ThreadPanicked(_) => {
                    self.runtime = error.report.take().map(|report| *report);
                    self.runtime_panicked = Some(error);
                }
                _ => return Err(self.runtime(error)),
            },
        }
        Ok(())
    }

    async fn confirmed_by_evidence(&mut self) -> Result<(), CloseError> {
        let no_answer = Unconfirmed::Unavailable("the check has not returned".to_owned());
        self.step = Step::Evidence(no_answer);
        let held_for = if self.runtime_has_ended() { Duration::ZERO } else { HELD_FOR };
        let mut pause = PAUSE;
        loop {
            let wait = match self.owner.core.checks.ask(held_for).await {
                Ok(Confirmed::Yes) => return Ok(()),
                Ok(Confirmed::NotYet) => {
                    let once = "the check has held once, and must hold again a little later";
                    self.step = Step::Evidence(Unconfirmed::Unavailable(once.to_owned()));
                    held_for
                }
                Err(why @ Unconfirmed::Unavailable(_)) => {
                    return Err(self.error(CloseErrorKind::Unconfirmed(Box::new(why))));
                }
                Err(why) => {
                    self.step = Step::Evidence(why);
                    pause
                }
            };
            within(wait, pending::<()>()).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// Whether the session has had a runtime, and nothing on it can go on.
    fn runtime_has_ended(&self) -> bool {
        let share = self.owner.runtime.as_ref().and_then(Runtime::share);
        share.is_some_and(|share| share.stats().state == State::Ended)
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
                CloseErrorKind::Hook if !error.seen.hooks.iter().any(HookFailure::is_running) => {
                    Outcome::Panicked
                }
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
        if let Some(error) = &self.runtime_panicked {
            return Err(self.runtime(error.clone()));
        }
        let seen = self.seen();
        if seen.panics > 0 {
            return Err(self.error(CloseErrorKind::Panicked));
        }
        if !seen.hooks.is_empty() {
            return Err(self.error(CloseErrorKind::Hook));
        }
        let Seen { aborted, aborted_tasks, foreign, foreign_panics, .. } = seen;
        let Seen { cut_off, escaped, not_covered, .. } = seen;
        let (session, elapsed) = (self.session(), self.began.elapsed());
        Ok(CloseReport {
            session,
            confirmation: self.confirmation(),
            elapsed,
            aborted,
            aborted_tasks,
            foreign,
            foreign_panics,
            cut_off,
            escaped,
            not_covered,
        })
    }

    /// How the end is confirmed, if everything that this close waits for has ended.
    fn confirmation(&self) -> Confirmation {
        match (self.owner.core.checks.are_there_any(), &self.runtime) {
            (true, _) => Confirmation::Evidence,
            (false, Some(_)) => Confirmation::OwnRuntime,
            (false, None) => Confirmation::HandlesOnly,
        }
    }

    fn timed_out(&self) -> CloseError {
        match &self.step {
            Step::Hooks if self.owner.hooks.are_pending() => self.error(CloseErrorKind::Hook),
            Step::Teardown | Step::Hooks | Step::Threads => {
                let error = self.error(CloseErrorKind::StillRunning);
                let kind = match &*error.held {
                    [] => CloseErrorKind::StillRunning,
                    _ => CloseErrorKind::StillHeld,
                };
                CloseError { kind, ..error }
            }
            Step::Runtime => {
                // The runtime has a limit of its own, which passes first, unless the machine is busy.
                let share = self.owner.runtime.as_ref().and_then(Runtime::share);
                let tasks = share.map_or(0, |share| share.stats().tasks);
                let alive = Alive { tasks, ..Alive::default() };
                let component = format!("the runtime of {}", self.session());
                let kind = ShutdownErrorKind::TimedOut;
                let error = ShutdownError::new(component, self.began.elapsed(), kind);
                self.runtime(error.with_running(Vec::new(), alive))
            }
            // The evidence looks while handles may still be held.
            Step::Evidence(_) if self.owner.core.count.values() > 0 => {
                self.error(CloseErrorKind::StillHeld)
            }
            Step::Evidence(why) => self.error(CloseErrorKind::Unconfirmed(Box::new(why.clone()))),
        }
    }

    fn runtime(&self, error: ShutdownError) -> CloseError {
        match error.kind {
            ShutdownErrorKind::FromInside => self.refused_inside(Inside::OwnRuntime),
            _ => self.error(CloseErrorKind::Runtime(Box::new(error))),
        }
    }

    fn error(&self, kind: CloseErrorKind) -> CloseError {
        let Core { reaper, checks, .. } = &*self.owner.core;
        let mut unfinished = reaper.unfinished();
        if matches!(self.step, Step::Threads) && checks.has_thread() {
            unfinished.thread = Some(KitThread::Evidence);
        }
        CloseError {
            session: self.session(),
            elapsed: self.began.elapsed(),
            held: self.owner.held().into(),
            unfinished,
            panicked: reaper.panics().into(),
            seen: Box::new(self.seen()),
            kind,
        }
    }

    fn seen(&self) -> Seen {
        let Owner { core, runtime, hooks, .. } = self.owner;
        let escaped = core.count.escaped();
        let mut not_covered = vec![NotCovered::Success, NotCovered::PlainThreads];
        // Evidence speaks only of what it looks at.
        not_covered.extend([
            NotCovered::OtherRuntimes,
            NotCovered::ChildProcesses,
            NotCovered::Clones,
        ]);
        if escaped > 0 {
            not_covered.push(NotCovered::Escaped { values: escaped });
        }
        let outlived = core.reaper.outlived();
        if outlived > 0 {
            not_covered.push(NotCovered::OutlivedRuntime { values: outlived });
        }
        not_covered.extend(NotCovered::kit_threads());
        not_covered.extend(runtime.iter().flat_map(Runtime::not_covered));
        let mut seen = Seen {
            escaped,
            hooks: hooks.failures(),
            blocked: self.is_late_by().and_then(|late| hooks.blocked(late.max(NOTICEABLE))),
            panics: core.reaper.panicked(),
            foreign_time: self.foreign_time,
            ..Seen::default()
        };
        if let Some(report) = &self.runtime {
            let ShutdownReport { aborted, foreign, cut_off, .. } = *report;
            let (aborted_tasks, foreign_panics) =
                (report.aborted_tasks.clone(), report.foreign_panics.clone());
            seen = Seen { aborted, aborted_tasks, foreign, cut_off, foreign_panics, ..seen };
            for item in &report.not_covered {
                if !not_covered.contains(item) {
                    not_covered.push(item.clone());
                }
            }
        }
        not_covered.sort_by_key(|item| item.invisible().is_some());
        Seen { not_covered, ..seen }
    }

    fn session(&self) -> String {
        self.owner.core.name.clone().into_owned()
    }

    /// By how much the limit has passed, if it has.
    fn is_late_by(&self) -> Option<Duration> {
        self.began.elapsed().checked_sub(self.limit)
    }

    fn left(&self) -> Duration {
        self.limit.saturating_sub(self.began.elapsed())
    }
}

/// How long foreign tasks of the session's runtime may take to end, in a shutdown with this limit, if so
/// much is left for the whole close.
fn time_for_foreign(after_hook: bool, limit: Duration, left: Duration) -> Duration {
    match after_hook {
        // The hook was their chance to end by themselves.
        true => default_time(limit),
        false => FOR_FOREIGN.min(left / 2),
    }
}

impl Owner {
    /// What this thread is in that a close would wait for.
    fn inside(&self) -> Option<Inside> {
        let Self { core, runtime, hooks, .. } = self;
        if core.reaper.includes_this_thread() {
            return Some(Inside::Destructor);
        }
        if hooks.include_this_thread() {
            return Some(Inside::Hook);
        }
        if core.checks.include_this_thread() {
            return Some(Inside::Evidence);
        }
        let runtime = runtime.as_ref()?;
        runtime.waits_for_this_thread().then_some(Inside::OwnRuntime)
    }
}

impl Core {
    /// Waits until no handle is left and no new one can be made, and then until all values have been torn
    /// down.
    async fn torn_down(&self) {
        self.count.closed().wait().await;
        self.reaper.give_back();
        self.reaper.wait_quiescent().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_tasks_get_a_short_time_and_a_shorter_one_after_a_hook() {
        let millis = Duration::from_millis;
        for (limit, after_hook, without) in [
            (Duration::MAX, 100, 2_000),
            (millis(30_000), 100, 2_000),
            (millis(1_000), 100, 500),
            (millis(60), 6, 30),
            (Duration::ZERO, 0, 0),
        ] {
            assert_eq!(time_for_foreign(true, limit, limit), millis(after_hook), "{limit:?}");
            assert_eq!(time_for_foreign(false, limit, limit), millis(without), "{limit:?}");
        }
    }
}
