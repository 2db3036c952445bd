//! An application whose calls follow a script and act on a small world, which holds the truth.

use std::{
    collections::HashMap,
    future::{pending, poll_fn},
    sync::{Arc, Mutex, MutexGuard},
    task::Poll,
    time::Duration,
};

use state_machine::{
    application::{AccessToken, Failure, RequestError},
    config::LogoutConfig,
    driver::Driver,
    transition::Effect,
};
use sundown::Latch;

use crate::by_effect::{ByEffect, Perform};

/// Far longer than anything here takes, even on a busy machine.
pub const PLENTY: Duration = Duration::from_secs(60);

/// The limit of a step that never answers.
pub const SHORT: Duration = Duration::from_millis(5);

/// What a call does.
#[derive(Clone, Debug, Default)]
pub enum Answer {
    /// Acts and answers, at once.
    #[default]
    AtOnce,
    /// Yields this often, acts, yields this often again, and answers.
    Turns(usize),
    /// Fails without acting.
    Fails,
    /// Acts and returns an error. If it is the request, the answer is lost.
    ActsAndFails,
    /// Never answers, without acting.
    Never,
    /// Acts and never answers.
    ActsAndNever,
    /// Panics without acting.
    Panics,
    /// Never answers, without acting, and panics when it is dropped.
    PanicsWhenDropped,
    /// Fires `reached`, waits for `release`, acts and answers.
    Held(Arc<Hold>),
    /// The request is not sent.
    NotSent,
    /// The request fails, and arrives after the server has been asked.
    ArrivesLate,
}

/// Where a test holds a call.
#[derive(Debug, Default)]
pub struct Hold {
    pub reached: Latch,
    pub release: Latch,
}

/// The state of everything that a logout changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    pub token: AccessToken,
    pub syncing: bool,
    pub intent: bool,
    pub user_id: bool,
    pub tabs: bool,
    pub app_state: bool,
    pub session: bool,
    pub tasks: bool,
    pub runtime: bool,
    /// Whether a request will still arrive.
    pub on_its_way: bool,
    /// Every call that began, in order.
    pub calls: Vec<Effect>,
}

pub struct Script {
    world: Mutex<World>,
    answers: Mutex<HashMap<Effect, Answer>>,
    usual: Mutex<Answer>,
    /// The limits that calls received.
    limits: Mutex<HashMap<Effect, Duration>>,
}

pub type App = ByEffect<Script>;

impl App {
    /// An application with a session, in which everything goes well.
    pub fn new() -> Arc<Self> {
        let world = World {
            token: AccessToken::Valid,
            syncing: true,
            intent: false,
            user_id: true,
            tabs: true,
            app_state: true,
            session: true,
            tasks: true,
            runtime: true,
            on_its_way: false,
            calls: Vec::new(),
        };
        let (answers, usual, limits) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self(Script { world: Mutex::new(world), answers, usual, limits }))
    }

    pub fn answering(self: Arc<Self>, effect: Effect, answer: Answer) -> Arc<Self> {
        self.0.answers.lock().unwrap().insert(effect, answer);
        self
    }

    /// Sets the answer of every call that has none of its own.
    pub fn usually(self: Arc<Self>, answer: Answer) -> Arc<Self> {
        *self.0.usual.lock().unwrap() = answer;
        self
    }

    /// Lets everything go well from now on.
    pub fn heal(&self) {
        self.0.answers.lock().unwrap().clear();
        *self.0.usual.lock().unwrap() = Answer::AtOnce;
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap()
    }

    pub fn called(&self, effect: Effect) -> usize {
        self.world().calls.iter().filter(|called| **called == effect).count()
    }

    /// The limit that a call received.
    pub fn limit(&self, effect: Effect) -> Option<Duration> {
        self.0.limits.lock().unwrap().get(&effect).copied()
    }
}

impl Script {
    /// Records the call, and looks up its answer.
    fn answer(&self, effect: Effect) -> Answer {
        self.world.lock().unwrap().calls.push(effect);
        let answer = self.answers.lock().unwrap().get(&effect).cloned();
        answer.unwrap_or_else(|| self.usual.lock().unwrap().clone())
    }

    fn act(&self, effect: Effect) -> Result<(), Failure> {
        let world = &mut *self.world.lock().unwrap();
        match effect {
            Effect::CheckPrerequisites if world.session => {}
            Effect::CheckPrerequisites => return Err("nobody is logged in".into()),
            Effect::StopSync => world.syncing = false,
            Effect::RecordIntent => world.intent = true,
            Effect::RequestLogout if world.token == AccessToken::Valid => {
                world.token = AccessToken::Unknown
            }
            Effect::RequestLogout => return Err(RequestError::TokenUnknown.into()),
            Effect::AskServer => {}
            Effect::DeleteLatestUserId => world.user_id = false,
            Effect::CloseTabs => world.tabs = false,
            Effect::CleanAppState => world.app_state = false,
            Effect::CloseSession => world.session = false,
            Effect::ShutDownTasks => (world.tasks, world.runtime) = (false, false),
            Effect::RestartRuntime => world.runtime = true,
            Effect::RestartSync => world.syncing = world.session,
            Effect::ClearIntent => world.intent = false,
        }
        Ok(())
    }
}

impl Perform for Script {
    async fn perform(&self, effect: Effect, limit: Option<Duration>) -> Result<(), Failure> {
        self.limits.lock().unwrap().extend(limit.map(|limit| (effect, limit)));
        match self.answer(effect) {
            Answer::AtOnce => self.act(effect),
            Answer::Turns(turns) => {
                yield_now(turns).await;
                self.act(effect)?;
                yield_now(turns).await;
                Ok(())
            }
            Answer::Fails => Err("it is scripted to fail".into()),
            Answer::ActsAndFails => {
                self.act(effect)?;
                Err("it is scripted to act and fail".into())
            }
            Answer::Never => pending().await,
            Answer::ActsAndNever => {
                self.act(effect)?;
                pending().await
            }
            Answer::Panics => panic!("it is scripted to panic"),
            Answer::PanicsWhenDropped => {
                let _panics = PanicsWhenDropped;
                pending().await
            }
            Answer::Held(hold) => {
                hold.reached.fire();
                hold.release.wait().await;
                self.act(effect)
            }
            Answer::NotSent => Err(RequestError::NotSent("it is scripted to fail".into()).into()),
            Answer::ArrivesLate => {
                self.world.lock().unwrap().on_its_way = true;
                Err("reset".into())
            }
        }
    }

    fn restart_sync(&self) -> Result<(), Failure> {
        match self.answer(Effect::RestartSync) {
            Answer::Fails => Err("it is scripted to fail".into()),
            Answer::Panics => panic!("it is scripted to panic"),
            _ => self.act(Effect::RestartSync),
        }
    }

    fn token(&self) -> AccessToken {
        let mut world = self.world.lock().unwrap();
        let token = world.token;
        if world.on_its_way {
            world.token = AccessToken::Unknown;
        }
        token
    }

    fn has_intent(&self) -> bool {
        self.world.lock().unwrap().intent
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("it is scripted to panic when it is dropped");
    }
}

async fn yield_now(mut times: usize) {
    poll_fn(|context| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Settings for a desktop whose runtime is restarted, with limits that no step reaches.
pub fn settings() -> LogoutConfig {
    LogoutConfig::with_limit(PLENTY)
}

/// The same settings, with a short limit for one step.
pub fn settings_with_short(effect: Effect) -> LogoutConfig {
    let mut settings = settings();
    let limit = match effect {
        Effect::CheckPrerequisites => &mut settings.checks,
        Effect::StopSync => &mut settings.sync,
        Effect::RecordIntent | Effect::DeleteLatestUserId | Effect::ClearIntent => {
            &mut settings.storage
        }
        Effect::RequestLogout => &mut settings.server,
        Effect::AskServer => &mut settings.question,
        Effect::CloseTabs => &mut settings.tabs,
        Effect::CleanAppState => &mut settings.app_state,
        Effect::CloseSession => &mut settings.session,
        Effect::ShutDownTasks => &mut settings.tasks,
        Effect::RestartRuntime => &mut settings.restart,
        Effect::RestartSync => return settings,
    };
    *limit = SHORT;
    settings
}

pub fn driver(app: &Arc<App>) -> Driver<App> {
    Driver::new(Arc::clone(app), settings())
}
