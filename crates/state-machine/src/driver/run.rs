//! One run of the driver.

use std::{future::Future, mem, sync::Arc, time::Instant};

use sundown_core::gate::Cancelled;

use crate::{
    application::{AccessToken, Application, Failure, RequestError},
    attempt::{at_once, attempt},
    cancel::CancelToken,
    driver::Driver,
    error::{LogoutError, LogoutErrorKind as Kind, StepError, Warning, listed},
    observe,
    progress::{LogoutReport, Progress},
    transition::{Effect, Event, Severity, State, Transition, next},
};

/// A run that has begun. Dropping it leaves a defined state.
pub(super) struct Run<'a, A: Application> {
    driver: &'a Driver<A>,
    began: Instant,
    cancel: Arc<CancelToken>,
    state: State,
    progress: Progress,
    /// Why the logout request has no clear result.
    request: StepError,
    /// Why the run fails, if it does.
    failure: Kind,
    warnings: Vec<Warning>,
    ended: bool,
}

impl<'a, A: Application> Run<'a, A> {
    /// Begins a run. Returns its first event.
    pub(super) fn begin(driver: &'a Driver<A>) -> Result<(Self, Event), LogoutError> {
        let mut runs = driver.runs();
        if runs.running {
            return Err(LogoutError { kind: Kind::AlreadyRunning, warnings: Vec::new() });
        }
        let (event, cancel) = match runs.unfinished {
            true => (Event::Resumed, CancelToken::committed()),
            false => (Event::Started, CancelToken::new()),
        };
        let cancel = Arc::new(cancel);
        runs.count += 1;
        runs.running = true;
        runs.cancel = Some(Arc::clone(&cancel));
        let run = Self {
            driver,
            began: Instant::now(),
            cancel,
            state: State::Idle,
            progress: Progress::idle(runs.count),
            request: StepError::Abandoned,
            failure: Kind::Cancelled,
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
            self.cancel.commit();
        }
        if !state.is_end() {
            self.progress.enter(state, self.began.elapsed(), state.to_string());
            self.driver.progress.send_modify(|shown| shown.clone_from(&self.progress));
        }
        let mut event = None;
        for effect in effects {
            event = self.perform(*effect).await;
        }
        // Every state but an end has an effect with an event; a test checks all states. Without an
        // event, the run could only give up.
        if state.is_end() { None } else { event.or(Some(Event::Dropped)) }
    }

    /// Ends the run and returns its result.
    pub(super) fn end(mut self) -> Result<LogoutReport, LogoutError> {
        let warnings = mem::take(&mut self.warnings);
        if self.state != State::Completed {
            let kind = mem::replace(&mut self.failure, Kind::Cancelled);
            let outcome = match kind.severity() {
                Severity::Recoverable => "recoverable",
                Severity::Unrecoverable => "unrecoverable",
            };
            let error = LogoutError { kind, warnings };
            self.finish(outcome, error.to_string());
            return Err(error);
        }
        let outcome = if warnings.is_empty() { observe::GRACEFUL } else { "partial" };
        self.finish(outcome, format!("{}{}", self.state, listed(&warnings)));
        let Progress { elapsed, steps, .. } = mem::replace(&mut self.progress, Progress::idle(0));
        Ok(LogoutReport { warnings, elapsed, steps })
    }

    /// Shows the end, lets another run begin, and reports the end. Called once.
    fn finish(&mut self, outcome: &'static str, message: String) {
        self.ended = true;
        self.progress.enter(self.state, self.began.elapsed(), message);
        self.driver.progress.send_modify(|shown| {
            shown.clone_from(&self.progress);
            // Under the channel's lock, for two reasons: a later run shows its progress after this
            // one, and a watcher that sees the end can begin a run at once. Nothing takes the two
            // locks in the other order.
            let mut runs = self.driver.runs();
            runs.running = false;
            runs.unfinished = self.state.is_committed() && self.state != State::Completed;
        });
        // Under no lock, because a log subscriber may call the driver.
        observe::logout(outcome, self.progress.elapsed, &self.progress.message);
    }

    /// Performs an effect. Returns the event that says how it went, if the effect has one.
    async fn perform(&mut self, effect: Effect) -> Option<Event> {
        let Driver { app, config, .. } = self.driver;
        let own_limit = config.own_limit(effect);
        Some(match effect {
            Effect::CheckPrerequisites => {
                self.cancellable(effect, || app.check_logged_in(), Kind::NotReady).await
            }
            Effect::StopSync => {
                self.cancellable(effect, || app.stop_sync(own_limit), Kind::SyncNotStopped).await
            }
            Effect::RecordIntent => {
                self.cancellable(effect, || app.record_intent(), Kind::IntentNotRecorded).await
            }
            Effect::RequestLogout => self.request_logout().await,
            Effect::AskServer => self.ask_server().await,
            Effect::DeleteLatestUserId => {
                self.best_effort(effect, || app.delete_latest_user_id()).await
            }
            Effect::CloseTabs => self.best_effort(effect, || app.close_tabs()).await,
            Effect::CleanAppState => self.best_effort(effect, || app.clean_app_state()).await,
            Effect::CloseSession => self.best_effort(effect, || app.close_session(own_limit)).await,
            Effect::ShutDownTasks => {
                self.best_effort(effect, || app.shut_down_tasks(own_limit)).await
            }
            Effect::RestartRuntime => {
                match attempt(config.limit(effect), || app.restart_runtime()).await {
                    Ok(()) => Event::Done,
                    Err(error) => self.fail(Kind::RuntimeNotRestarted(error), Event::Failed),
                }
            }
            Effect::RestartSync => {
                self.restart_sync();
                return None;
            }
            Effect::ClearIntent => {
                self.best_effort(effect, || app.clear_intent()).await;
                return None;
            }
        })
    }

    /// Performs a step before the request leaves. A cancel interrupts it, and a failure ends the run.
    async fn cancellable<F: Future<Output = Result<(), Failure>>>(
        &mut self,
        effect: Effect,
        step: impl FnOnce() -> F,
        kind: fn(StepError) -> Kind,
    ) -> Event {
        let interruptible = || async {
            match self.cancel.run_until_cancelled(step()).await {
                Ok(ended) => ended.map(|()| Event::Done),
                Err(Cancelled) => Ok(Event::Cancelled),
            }
        };
        match attempt(self.driver.config.limit(effect), interruptible).await {
            Ok(event) => event,
            Err(error) => self.fail(kind(error), Event::Failed),
        }
    }

    /// Sends the request, unless a cancel was accepted. A later cancel only ends the wait.
    async fn request_logout(&mut self) -> Event {
        let Driver { app, config, .. } = self.driver;
        let request = || async { Ok(self.cancel.request(async { app.log_out().await }).await) };
        let in_doubt = match attempt(config.server, request).await {
            Ok(Err(Cancelled)) => return Event::Cancelled,
            Ok(Ok(Some(Ok(())))) => return Event::Done,
            Ok(Ok(Some(Err(RequestError::TokenUnknown)))) => return Event::TokenUnknown,
            Ok(Ok(Some(Err(RequestError::NotSent(failure))))) => {
                return self.fail(Kind::NotSent(failure), Event::Failed);
            }
            Ok(Ok(Some(Err(RequestError::InDoubt(failure))))) => StepError::Failed(failure),
            Ok(Ok(None)) => StepError::Abandoned,
            Err(error) => error,
        };
        self.request = in_doubt;
        Event::InDoubt
    }

    /// Asks the server whether it has logged the session out.
    async fn ask_server(&mut self) -> Event {
        let Driver { app, config, .. } = self.driver;
        let answer = attempt(config.question, || app.who_am_i()).await;
        let request = mem::replace(&mut self.request, StepError::Abandoned);
        let (kind, event) = match answer {
            Ok(AccessToken::Unknown) => return Event::TokenUnknown,
            Ok(AccessToken::Valid) if self.cancel.is_requested() => {
                (Kind::Cancelled, Event::TokenValid)
            }
            Ok(AccessToken::Valid) => (Kind::NotDone(request), Event::TokenValid),
            Err(question) => (Kind::InDoubt { request, question }, Event::Failed),
        };
        self.fail(kind, event)
    }

    /// Performs a step after the point of no return. A failure is a warning.
    async fn best_effort<F: Future<Output = Result<(), Failure>>>(
        &mut self,
        effect: Effect,
        step: impl FnOnce() -> F,
    ) -> Event {
        match attempt(self.driver.config.limit(effect), step).await {
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

    /// Notes why the run fails. Returns the event that ends it.
    fn fail(&mut self, kind: Kind, event: Event) -> Event {
        self.failure = kind;
        event
    }
}

/// Ends a run that is dropped at an await, or that a foreign panic unwinds through.
impl<A: Application> Drop for Run<'_, A> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let Transition { state, effects } =
            next(self.driver.config.plan(), self.state, Event::Dropped);
        self.state = state;
        // A drop cannot wait. No other effect can follow; a test checks all states.
        if effects.contains(&Effect::RestartSync) {
            self.restart_sync();
        }
        let message = format!("the logout was dropped: {state}{}", listed(&self.warnings));
        self.finish("dropped", message);
    }
}
