//! An application whose every call does what a script says, over a small world that keeps the truth.

use std::{
    collections::HashMap,
    future::{pending, poll_fn},
    sync::{Arc, Mutex, MutexGuard},
    task::Poll,
    time::Duration,
};

use state_machine::{
    application::{
        Failure, RequestError, Runtime, Server, Session, Storage, SyncService, Token, UserInterface,
    },
    config::LogoutConfig,
    driver::Driver,
    transition::Effect,
};
use sundown::latch::Latch;

/// Far longer than anything here takes, on a machine that may be busy.
pub const PLENTY: Duration = Duration::from_secs(60);

/// For what never answers.
pub const SHORT: Duration = Duration::from_millis(5);

/// What a call does.
#[derive(Clone, Debug, Default)]
pub enum Answer {
    /// It acts and answers, at once.
    #[default]
    AtOnce,
    /// It gives way so many times, acts, gives way as often again, and answers.
    Turns(usize),
    /// It does not act, and fails.
    Fails,
    /// It acts, and says that it failed: of a request, the answer is lost.
    ActsAndFails,
    /// It does not act, and never answers.
    Never,
    /// It acts, and never answers.
    ActsAndNever,
    /// It does not act, and panics.
    Panics,
    /// It does not act, never answers, and panics when it is given up.
    PanicsWhenDropped,
    /// It says that it has been reached, waits for its release, acts and answers.
    Held(Arc<Hold>),
    /// Of a request: there is no connection.
    NotSent,
    /// Of a request: it is reset, and arrives all the same, after the server has been asked.
    ArrivesLate,
}

/// Where a test holds a call.
#[derive(Debug, Default)]
pub struct Hold {
    pub reached: Latch,
    pub release: Latch,
}

/// The truth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    pub token: Token,
    pub syncing: bool,
    pub intent: bool,
    pub user_id: bool,
    pub tabs: bool,
    pub app_state: bool,
    pub session: bool,
    pub tasks: bool,
    pub runtime: bool,
    /// A request that will arrive.
    pub on_its_way: bool,
    /// Every call that was begun, in order.
    pub calls: Vec<Effect>,
}

pub struct App {
    world: Mutex<World>,
    answers: Mutex<HashMap<Effect, Answer>>,
    usual: Mutex<Answer>,
    /// The limits that calls were given to keep themselves.
    limits: Mutex<HashMap<Effect, Duration>>,
}

impl App {
    /// An application with a session, in which everything goes well.
    pub fn new() -> Arc<Self> {
        let world = World {
            token: Token::Valid,
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
        Arc::new(Self { world: Mutex::new(world), answers, usual, limits })
    }

    pub fn answering(self: Arc<Self>, effect: Effect, answer: Answer) -> Arc<Self> {
        self.answers.lock().unwrap().insert(effect, answer);
        self
    }

    /// What every call does that has no answer of its own.
    pub fn usually(self: Arc<Self>, answer: Answer) -> Arc<Self> {
        *self.usual.lock().unwrap() = answer;
        self
    }

    /// From now on, everything goes well.
    pub fn heal(&self) {
        self.answers.lock().unwrap().clear();
        *self.usual.lock().unwrap() = Answer::AtOnce;
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    pub fn called(&self, effect: Effect) -> usize {
        self.world().calls.iter().filter(|called| **called == effect).count()
    }

    /// The limit that a call was given to keep itself.
    pub fn limit(&self, effect: Effect) -> Option<Duration> {
        self.limits.lock().unwrap().get(&effect).copied()
    }

    fn keeps(&self, effect: Effect, limit: Duration) {
        self.limits.lock().unwrap().insert(effect, limit);
    }

    fn answer(&self, effect: Effect) -> Answer {
        self.world().calls.push(effect);
        let usual = || self.usual.lock().unwrap().clone();
        self.answers.lock().unwrap().get(&effect).cloned().unwrap_or_else(usual)
    }

    async fn act<T>(
        &self,
        effect: Effect,
        act: impl FnOnce(&mut World) -> T + Send,
    ) -> Result<T, Failure> {
        let answer = self.answer(effect);
        match answer {
            Answer::AtOnce => {}
            Answer::Turns(turns) => give_way(turns).await,
            Answer::Fails | Answer::NotSent => return Err("it is scripted to fail".into()),
            Answer::Never => pending().await,
            Answer::Panics => panic!("it is scripted to panic"),
            Answer::PanicsWhenDropped => {
                let _panics = PanicsWhenDropped;
                pending().await
            }
            Answer::Held(ref hold) => {
                hold.reached.fire();
                hold.release.wait().await;
            }
            Answer::ArrivesLate => {
                self.world().on_its_way = true;
                return Err("reset".into());
            }
            Answer::ActsAndFails | Answer::ActsAndNever => {}
        }
        let acted = act(&mut self.world());
        match answer {
            Answer::ActsAndFails => Err("it is scripted to act and fail".into()),
            Answer::ActsAndNever => pending().await,
            Answer::Turns(turns) => {
                give_way(turns).await;
                Ok(acted)
            }
            _ => Ok(acted),
        }
    }
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("it is scripted to panic when it is dropped");
    }
}

async fn give_way(turns: usize) {
    for _ in 0..turns {
        let mut given = false;
        poll_fn(|context| {
            if given {
                return Poll::Ready(());
            }
            given = true;
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl Session for App {
    async fn check_logged_in(&self) -> Result<(), Failure> {
        match self.act(Effect::CheckPrerequisites, |world| world.session).await? {
            true => Ok(()),
            false => Err("nobody is logged in".into()),
        }
    }

    async fn close_session(&self, limit: Duration) -> Result<(), Failure> {
        self.keeps(Effect::CloseSession, limit);
        self.act(Effect::CloseSession, |world| world.session = false).await
    }
}

impl SyncService for App {
    async fn stop_sync(&self, limit: Duration) -> Result<(), Failure> {
        self.keeps(Effect::StopSync, limit);
        self.act(Effect::StopSync, |world| world.syncing = false).await
    }

    fn restart_sync(&self) -> Result<(), Failure> {
        match self.answer(Effect::RestartSync) {
            Answer::Fails => return Err("it is scripted to fail".into()),
            Answer::Panics => panic!("it is scripted to panic"),
            _ => {}
        }
        let mut world = self.world();
        world.syncing = world.session;
        Ok(())
    }
}

impl Server for App {
    async fn log_out(&self) -> Result<(), RequestError> {
        let not_sent = matches!(
            self.answers.lock().unwrap().get(&Effect::RequestLogout),
            Some(Answer::NotSent)
        );
        let answer = self.act(Effect::RequestLogout, |world| {
            std::mem::replace(&mut world.token, Token::Unknown)
        });
        match answer.await {
            Ok(Token::Valid) => Ok(()),
            Ok(Token::Unknown) => Err(RequestError::TokenUnknown),
            Err(failure) if not_sent => Err(RequestError::NotSent(failure)),
            Err(failure) => Err(RequestError::InDoubt(failure)),
        }
    }

    async fn who_am_i(&self) -> Result<Token, Failure> {
        self.act(Effect::AskServer, |world| {
            let token = world.token;
            if world.on_its_way {
                world.token = Token::Unknown;
            }
            token
        })
        .await
    }
}

impl UserInterface for App {
    async fn close_tabs(&self) -> Result<(), Failure> {
        self.act(Effect::CloseTabs, |world| world.tabs = false).await
    }

    async fn clean_app_state(&self) -> Result<(), Failure> {
        self.act(Effect::CleanAppState, |world| world.app_state = false).await
    }
}

impl Storage for App {
    async fn record_intent(&self) -> Result<(), Failure> {
        self.act(Effect::RecordIntent, |world| world.intent = true).await
    }

    async fn has_intent(&self) -> Result<bool, Failure> {
        Ok(self.world().intent)
    }

    async fn clear_intent(&self) -> Result<(), Failure> {
        self.act(Effect::ClearIntent, |world| world.intent = false).await
    }

    async fn delete_latest_user_id(&self) -> Result<(), Failure> {
        self.act(Effect::DeleteLatestUserId, |world| world.user_id = false).await
    }
}

impl Runtime for App {
    async fn shut_down_tasks(&self, limit: Duration) -> Result<(), Failure> {
        self.keeps(Effect::ShutDownTasks, limit);
        self.act(Effect::ShutDownTasks, |world| (world.tasks, world.runtime) = (false, false)).await
    }

    async fn restart_runtime(&self) -> Result<(), Failure> {
        self.act(Effect::RestartRuntime, |world| world.runtime = true).await
    }
}

/// A desktop whose runtime is restarted, with limits that are not reached.
pub fn settings() -> LogoutConfig {
    LogoutConfig {
        checks: PLENTY,
        sync: PLENTY,
        storage: PLENTY,
        server: PLENTY,
        question: PLENTY,
        tabs: PLENTY,
        app_state: PLENTY,
        session: PLENTY,
        tasks: PLENTY,
        restart: PLENTY,
        ..LogoutConfig::default()
    }
}

/// The same, with a limit for one step that is reached.
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
