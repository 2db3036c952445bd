//! One run of the driver.

use std::{
    future::Future,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use sundown::gate::Cancelled;

use crate::{
    application::{Application, Failure, RequestError, Token},
    attempt::{at_once, attempt, own_limit},
    driver::Driver,
    error::{LogoutError, RecoverableError, Trouble, UnrecoverableError, Warning},
    observe::{self, Outcome},
    passage::Passage,
    progress::{LogoutReport, Progress},
    transition::{Effect, Event, State, Transition, next},
};

/// A run that is under way. However it goes, dropping it leaves a defined state.
pub(super) struct Run<'a, A: Application> {
    driver: &'a Driver<A>,
    began: Instant,
    passage: Arc<Passage>,
    state: State,
    progress: Progress,
    /// What became of the logout request, where that does not tell its end.
    request: Trouble,
    /// What the run fails with, should it fail.
    failure: LogoutError,
    warnings: Vec<Warning>,
    ended: bool,
}

impl<'a, A: Application> Run<'a, A> {
    /// Begins a run, with its first event.
    pub(super) fn begin(driver: &'a Driver<A>) -> Result<(Self, Event), LogoutError> {
        let mut runs = driver.runs();
        if runs.under_way {
            return Err(RecoverableError::UnderWay.into());
        }
        let (event, passage) = match runs.unfinished {
            true => (Event::Resumed, Passage::behind()),
            false => (Event::Started, Passage::new()),
        };
        let passage = Arc::new(passage);
        runs.count += 1;
        runs.under_way = true;
        runs.passage = Some(Arc::clone(&passage));
        let run = Self {
            driver,
            began: Instant::now(),
            passage,
            state: State::Idle,
            progress: Progress::idle(runs.count),
            request: Trouble::GivenUp,
            failure: RecoverableError::Cancelled.into(),
            warnings: Vec::new(),
            ended: false,
        };
        Ok((run, event))
    }

    /// Does what follows from an event, and returns the next one; `None` at the end.
    pub(super) async fn step(&mut self, event: Event) -> Option<Event> {
        let Transition { state, effects } = next(self.driver.config.plan(), self.state, event);
        self.state = state;
        if state == State::PointOfNoReturn {
            self.passage.commit();
        }
        if !state.is_end() {
            self.show();
        }
        let mut event = None;
        for effect in effects {
            event = self.perform(*effect).await;
        }
        // Every state but an end has something to do that ends with an event: the tests look at all
        // of them. One that had not would have to be given up.
        if state.is_end() { None } else { event.or(Some(Event::Dropped)) }
    }

    /// Ends the run, with what it came to.
    pub(super) fn end(mut self) -> Result<LogoutReport, LogoutError> {
        let warnings = mem::take(&mut self.warnings);
        if self.state != State::Completed {
            let failure = mem::replace(&mut self.failure, RecoverableError::Cancelled.into());
            let failure = failure.with(warnings);
            let outcome = match &failure {
                LogoutError::Recoverable { .. } => Outcome::Recoverable,
                LogoutError::Unrecoverable { .. } => Outcome::Unrecoverable,
            };
            self.finish(outcome, failure.to_string());
            return Err(failure);
        }
        match warnings.len() {
            0 => self.finish(Outcome::Graceful, self.state.to_string()),
            _ => {
                let message = format!("{}; but {}", self.state, listed(&warnings));
                self.finish(Outcome::Partial, message);
            }
        }
        let Progress { elapsed, passed, .. } = mem::replace(&mut self.progress, Progress::idle(0));
        Ok(LogoutReport { warnings, elapsed, passed })
    }

    /// Shows the end, lets others run, and tells the outside. Once.
    fn finish(&mut self, outcome: Outcome, message: String) {
        self.ended = true;
        self.progress.enter(self.state, self.began.elapsed(), message);
        self.driver.progress.send_modify(|shown| {
            shown.clone_from(&self.progress);
            // Under the channel's lock: a run that begins after this shows itself after this, and
            // whoever sees the end can begin one. Nobody takes the two locks the other way round.
            let mut runs = self.driver.runs();
            runs.under_way = false;
            runs.unfinished = self.state.is_committed() && self.state != State::Completed;
        });
        // Under no lock: whoever listens may look at the driver.
        observe::logout(outcome, self.progress.elapsed, &self.progress.message);
    }

    fn show(&mut self) {
        self.progress.enter(self.state, self.began.elapsed(), self.state.to_string());
        self.driver.progress.send_modify(|shown| shown.clone_from(&self.progress));
    }

    /// Does one thing, and says how it went; nothing of what is done in passing.
    ///
    /// The futures are made in blocks of their own, so that a panic on the way to one is caught too.
    async fn perform(&mut self, effect: Effect) -> Option<Event> {
        let Driver { app, config, .. } = self.driver;
        let event = match effect {
            Effect::CheckPrerequisites => {
                let step = async { app.check_logged_in().await };
                self.unless_cancelled(config.checks, step, RecoverableError::NotReady).await
            }
            Effect::StopSync => {
                let step = async { app.stop_sync(own_limit(config.sync)).await };
                self.unless_cancelled(config.sync, step, RecoverableError::SyncNotStopped).await
            }
            Effect::RecordIntent => {
                let step = async { app.record_intent().await };
                let cause = RecoverableError::IntentNotRecorded;
                self.unless_cancelled(config.storage, step, cause).await
            }
            Effect::RequestLogout => self.request_logout().await,
            Effect::AskServer => self.ask_server().await,
            Effect::DeleteLatestUserId => {
                let step = async { app.delete_latest_user_id().await };
                self.as_far_as_it_goes(effect, config.storage, step).await
            }
            Effect::CloseTabs => {
                let step = async { app.close_tabs().await };
                self.as_far_as_it_goes(effect, config.tabs, step).await
            }
            Effect::CleanAppState => {
                let step = async { app.clean_app_state().await };
                self.as_far_as_it_goes(effect, config.app_state, step).await
            }
            Effect::CloseSession => {
                let step = async { app.close_session(own_limit(config.session)).await };
                self.as_far_as_it_goes(effect, config.session, step).await
            }
            Effect::ShutDownTasks => {
                let step = async { app.shut_down_tasks(own_limit(config.tasks)).await };
                self.as_far_as_it_goes(effect, config.tasks, step).await
            }
            Effect::RestartRuntime => {
                match attempt(config.restart, async { app.restart_runtime().await }).await {
                    Ok(()) => Event::Done,
                    Err(trouble) => {
                        self.failure = UnrecoverableError::RuntimeNotRestarted(trouble).into();
                        Event::Failed
                    }
                }
            }
            Effect::RestartSync => {
                let restarted = at_once(|| app.restart_sync());
                self.warn_of(effect, restarted);
                return None;
            }
            Effect::ClearIntent => {
                let step = async { app.clear_intent().await };
                self.as_far_as_it_goes(effect, config.storage, step).await;
                return None;
            }
        };
        Some(event)
    }

    /// A step before the request leaves: a cancel interrupts it, and a failure ends the run.
    async fn unless_cancelled(
        &mut self,
        limit: Duration,
        step: impl Future<Output = Result<(), Failure>>,
        cause: fn(Trouble) -> RecoverableError,
    ) -> Event {
        let interrupted = async {
            match self.passage.unless_cancelled(step).await {
                Ok(ended) => ended.map(|()| Event::Done),
                Err(Cancelled) => Ok(Event::Cancelled),
            }
        };
        match attempt(limit, interrupted).await {
            Ok(event) => event,
            Err(trouble) => self.fails_with(cause(trouble), Event::Failed),
        }
    }

    /// Sends the request, unless a cancel was accepted. A cancel after that only ends the wait.
    async fn request_logout(&mut self) -> Event {
        let Driver { app, config, .. } = self.driver;
        let request = async { Ok(self.passage.request(async { app.log_out().await }).await) };
        match attempt(config.server, request).await {
            Ok(Err(Cancelled)) => Event::Cancelled,
            Ok(Ok(Some(Ok(())))) => Event::Done,
            Ok(Ok(Some(Err(RequestError::TokenUnknown)))) => Event::TokenUnknown,
            Ok(Ok(Some(Err(RequestError::NotSent(failure))))) => {
                self.fails_with(RecoverableError::NotSent(failure), Event::Failed)
            }
            Ok(Ok(Some(Err(RequestError::InDoubt(failure))))) => {
                self.is_in_doubt(Trouble::Failed(failure))
            }
            Ok(Ok(None)) => self.is_in_doubt(Trouble::GivenUp),
            Err(trouble) => self.is_in_doubt(trouble),
        }
    }

    /// Asks the server what became of the request.
    async fn ask_server(&mut self) -> Event {
        let Driver { app, config, .. } = self.driver;
        let answer = attempt(config.question, async { app.who_am_i().await }).await;
        let request = mem::replace(&mut self.request, Trouble::GivenUp);
        match answer {
            Ok(Token::Unknown) => Event::TokenUnknown,
            Ok(Token::Valid) if self.passage.is_wished() => {
                self.fails_with(RecoverableError::Cancelled, Event::TokenValid)
            }
            Ok(Token::Valid) => {
                self.fails_with(RecoverableError::NotDone(request), Event::TokenValid)
            }
            Err(question) => {
                self.fails_with(RecoverableError::InDoubt { request, question }, Event::Failed)
            }
        }
    }

    /// A step after the point of no return: what fails is a warning.
    async fn as_far_as_it_goes(
        &mut self,
        effect: Effect,
        limit: Duration,
        step: impl Future<Output = Result<(), Failure>>,
    ) -> Event {
        let ended = attempt(limit, step).await;
        if self.warn_of(effect, ended) { Event::Failed } else { Event::Done }
    }

    /// Keeps what went wrong, and says whether anything did.
    fn warn_of(&mut self, effect: Effect, ended: Result<(), Trouble>) -> bool {
        let trouble = ended.err();
        let any = trouble.is_some();
        self.warnings.extend(trouble.map(|trouble| Warning { effect, trouble }));
        any
    }

    fn fails_with(&mut self, cause: RecoverableError, event: Event) -> Event {
        self.failure = cause.into();
        event
    }

    fn is_in_doubt(&mut self, trouble: Trouble) -> Event {
        self.request = trouble;
        Event::InDoubt
    }
}

/// Where the run was dropped at an await, or a panic that is nobody's comes through here.
impl<A: Application> Drop for Run<'_, A> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let Transition { state, effects } =
            next(self.driver.config.plan(), self.state, Event::Dropped);
        self.state = state;
        // All that is left to do here is what takes no waiting: the tests look at all states.
        if effects.contains(&Effect::RestartSync) {
            let restarted = at_once(|| self.driver.app.restart_sync());
            self.warn_of(Effect::RestartSync, restarted);
        }
        let warnings = match self.warnings.len() {
            0 => String::new(),
            _ => format!("; besides, {}", listed(&self.warnings)),
        };
        let message = format!("the logout was given up half-way: {state}{warnings}");
        self.finish(Outcome::GivenUp, message);
    }
}

fn listed(warnings: &[Warning]) -> String {
    warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
