//! One run of the driver.

use std::{
    future::Future,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use sundown::gate::Cancelled;

use crate::{
    application::{AccessToken, Application, Failure, RequestError},
    attempt::{at_once, attempt, own_limit},
    cancel::CancelToken,
    driver::Driver,
    error::{LogoutError, LogoutErrorKind, StepError, Warning, listed},
    observe::{self, Outcome},
    progress::{LogoutReport, Progress},
    transition::{Effect, Event, Severity, State, Transition, next},
};

/// A run that has begun. Dropping it leaves a defined state.
pub(super) struct Run<'a, A: Application> {
    driver: &'a Driver<A>,
    began: Instant,
    token: Arc<CancelToken>,
    state: State,
    progress: Progress,
    /// Why the logout request has no clear result.
    request: StepError,
    /// Why the run fails, if it does.
    failure: LogoutErrorKind,
    warnings: Vec<Warning>,
    ended: bool,
}

impl<'a, A: Application> Run<'a, A> {
    /// Begins a run. Returns its first event.
    pub(super) fn begin(driver: &'a Driver<A>) -> Result<(Self, Event), LogoutError> {
        let mut runs = driver.runs();
        if runs.running {
            let kind = LogoutErrorKind::AlreadyRunning;
            return Err(LogoutError { kind, warnings: Vec::new() });
        }
        let (event, token) = match runs.unfinished {
            true => (Event::Resumed, CancelToken::committed()),
            false => (Event::Started, CancelToken::new()),
        };
        let token = Arc::new(token);
        runs.count += 1;
        runs.running = true;
        runs.token = Some(Arc::clone(&token));
        let run = Self {
            driver,
            began: Instant::now(),
            token,
            state: State::Idle,
            progress: Progress::idle(runs.count),
            request: StepError::Abandoned,
            failure: LogoutErrorKind::Cancelled,
            warnings: Vec::new(),
            ended: false,
        };
        Ok((run, event))
    }

    /// Does what follows from an event. Returns the next event, or `None` at the end.
    pub(super) async fn step(&mut self, event: Event) -> Option<Event> {
        let Transition { state, effects } = next(self.driver.config.plan(), self.state, event);
        self.state = state;
        if state == State::PointOfNoReturn {
            self.token.commit();
        }
        if !state.is_end() {
            self.progress.enter(state, self.began.elapsed(), state.to_string());
            self.driver.progress.send_modify(|shown| shown.clone_from(&self.progress));
        }
        let mut event = None;
        for effect in effects {
            event = self.perform(*effect).await;
        }
        // Every state but an end has an effect with an event; a test looks at all of them. Without
        // one, the run would have to give up.
        if state.is_end() { None } else { event.or(Some(Event::Dropped)) }
    }

    /// Ends the run and returns its result.
    pub(super) fn end(mut self) -> Result<LogoutReport, LogoutError> {
        let warnings = mem::take(&mut self.warnings);
        if self.state != State::Completed {
            let kind = mem::replace(&mut self.failure, LogoutErrorKind::Cancelled);
            let outcome = match kind.severity() {
                Severity::Recoverable => Outcome::Recoverable,
                Severity::Unrecoverable => Outcome::Unrecoverable,
            };
            let error = LogoutError { kind, warnings };
            self.finish(outcome, error.to_string());
            return Err(error);
        }
        let outcome = if warnings.is_empty() { Outcome::Graceful } else { Outcome::Partial };
        self.finish(outcome, format!("{}{}", self.state, listed(&warnings)));
        let Progress { elapsed, steps, .. } = mem::replace(&mut self.progress, Progress::idle(0));
        Ok(LogoutReport { warnings, elapsed, steps })
    }

    /// Shows the end, lets another run begin, and reports the end. Called once.
    fn finish(&mut self, outcome: Outcome, message: String) {
        self.ended = true;
        self.progress.enter(self.state, self.began.elapsed(), message);
        self.driver.progress.send_modify(|shown| {
            shown.clone_from(&self.progress);
            // Under the channel's lock, so that a later run shows its progress after this one, and
            // whoever sees the end can begin a run. Nothing takes the two locks in the other order.
            let mut runs = self.driver.runs();
            runs.running = false;
            runs.unfinished = self.state.is_committed() && self.state != State::Completed;
        });
        // Under no lock, because a subscriber may look at the driver.
        observe::logout(outcome, self.progress.elapsed, &self.progress.message);
    }

    /// Performs an effect. Returns the event that says how it went, if the effect has one.
    async fn perform(&mut self, effect: Effect) -> Option<Event> {
        let Driver { app, config, .. } = self.driver;
        Some(match effect {
            Effect::CheckPrerequisites => {
                let cause = LogoutErrorKind::NotReady;
                self.cancellable(config.checks, || app.check_logged_in(), cause).await
            }
            Effect::StopSync => {
                let stop = || app.stop_sync(own_limit(config.sync));
                self.cancellable(config.sync, stop, LogoutErrorKind::SyncNotStopped).await
            }
            Effect::RecordIntent => {
                let cause = LogoutErrorKind::IntentNotRecorded;
                self.cancellable(config.storage, || app.record_intent(), cause).await
            }
            Effect::RequestLogout => self.request_logout().await,
            Effect::AskServer => self.ask_server().await,
            Effect::DeleteLatestUserId => {
                self.best_effort(effect, config.storage, || app.delete_latest_user_id()).await
            }
            Effect::CloseTabs => self.best_effort(effect, config.tabs, || app.close_tabs()).await,
            Effect::CleanAppState => {
                self.best_effort(effect, config.app_state, || app.clean_app_state()).await
            }
            Effect::CloseSession => {
                let close = || app.close_session(own_limit(config.session));
                self.best_effort(effect, config.session, close).await
            }
            Effect::ShutDownTasks => {
                let shut_down = || app.shut_down_tasks(own_limit(config.tasks));
                self.best_effort(effect, config.tasks, shut_down).await
            }
            Effect::RestartRuntime => {
                match attempt(config.restart, || app.restart_runtime()).await {
                    Ok(()) => Event::Done,
                    Err(error) => {
                        self.fail_with(LogoutErrorKind::RuntimeNotRestarted(error), Event::Failed)
                    }
                }
            }
            Effect::RestartSync => {
                self.restart_sync();
                return None;
            }
            Effect::ClearIntent => {
                self.best_effort(effect, config.storage, || app.clear_intent()).await;
                return None;
            }
        })
    }

    /// A step before the request leaves. A cancel interrupts it, and a failure ends the run.
    async fn cancellable<F: Future<Output = Result<(), Failure>>>(
        &mut self,
        limit: Duration,
        step: impl FnOnce() -> F,
        cause: fn(StepError) -> LogoutErrorKind,
    ) -> Event {
        let interrupted = || async {
            match self.token.run_until_cancelled(step()).await {
                Ok(ended) => ended.map(|()| Event::Done),
                Err(Cancelled) => Ok(Event::Cancelled),
            }
        };
        match attempt(limit, interrupted).await {
            Ok(event) => event,
            Err(error) => self.fail_with(cause(error), Event::Failed),
        }
    }

    /// Sends the request, unless a cancel was accepted. A later cancel only ends the wait.
    async fn request_logout(&mut self) -> Event {
        let Driver { app, config, .. } = self.driver;
        let request = || async { Ok(self.token.request(async { app.log_out().await }).await) };
        let in_doubt = match attempt(config.server, request).await {
            Ok(Err(Cancelled)) => return Event::Cancelled,
            Ok(Ok(Some(Ok(())))) => return Event::Done,
            Ok(Ok(Some(Err(RequestError::TokenUnknown)))) => return Event::TokenUnknown,
            Ok(Ok(Some(Err(RequestError::NotSent(failure))))) => {
                return self.fail_with(LogoutErrorKind::NotSent(failure), Event::Failed);
            }
            Ok(Ok(Some(Err(RequestError::InDoubt(failure))))) => StepError::Failed(failure),
            Ok(Ok(None)) => StepError::Abandoned,
            Err(error) => error,
        };
        self.request = in_doubt;
        Event::InDoubt
    }

    /// Asks the server whether the request was done.
    async fn ask_server(&mut self) -> Event {
        let Driver { app, config, .. } = self.driver;
        let answer = attempt(config.question, || app.who_am_i()).await;
        let request = mem::replace(&mut self.request, StepError::Abandoned);
        match answer {
            Ok(AccessToken::Unknown) => Event::TokenUnknown,
            Ok(AccessToken::Valid) if self.token.is_requested() => {
                self.fail_with(LogoutErrorKind::Cancelled, Event::TokenValid)
            }
            Ok(AccessToken::Valid) => {
                self.fail_with(LogoutErrorKind::NotDone(request), Event::TokenValid)
            }
            Err(question) => {
                self.fail_with(LogoutErrorKind::InDoubt { request, question }, Event::Failed)
            }
        }
    }

    /// A step after the point of no return. A failure is a warning.
    async fn best_effort<F: Future<Output = Result<(), Failure>>>(
        &mut self,
        effect: Effect,
        limit: Duration,
        step: impl FnOnce() -> F,
    ) -> Event {
        match attempt(limit, step).await {
            Ok(()) => Event::Done,
            Err(error) => {
                self.warnings.push(Warning { effect, error });
                Event::Failed
            }
        }
    }

    fn restart_sync(&mut self) {
        if let Err(error) = at_once(|| self.driver.app.restart_sync()) {
            self.warnings.push(Warning { effect: Effect::RestartSync, error });
        }
    }

    fn fail_with(&mut self, cause: LogoutErrorKind, event: Event) -> Event {
        self.failure = cause;
        event
    }
}

/// Gives the run up, if it was dropped at an await or a foreign panic unwinds through it.
impl<A: Application> Drop for Run<'_, A> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let Transition { state, effects } =
            next(self.driver.config.plan(), self.state, Event::Dropped);
        self.state = state;
        // A drop cannot wait. This is the only effect that can follow; a test looks at all states.
        if effects.contains(&Effect::RestartSync) {
            self.restart_sync();
        }
        let message = format!("the logout was dropped: {state}{}", listed(&self.warnings));
        self.finish(Outcome::Dropped, message);
    }
}
