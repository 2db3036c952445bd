//! An application whose logout can be disturbed step by step.

use std::{sync::Arc, time::Duration};

use mock_sdk::app::managed::ManagedApp;
use state_machine::{
    application::{
        AccessToken, Failure, RequestError, Runtime, Server, Session, Storage, SyncService,
        UserInterface,
    },
    transition::State,
};

type OnEntry = Box<dyn Fn(State) -> Result<(), Failure> + Send + Sync>;

/// A [`ManagedApp`] that calls a function before each step of its logout, with the state that the
/// machine has entered. If the function fails, the step fails with that error, undone.
///
/// A progress channel would report the same states while the machine goes on. Here the machine waits,
/// so what is disturbed in a state is disturbed *in* that state.
pub struct Steps {
    app: Arc<ManagedApp>,
    on_entry: OnEntry,
}

impl Steps {
    /// The application, with the function to call.
    pub fn of(
        app: Arc<ManagedApp>,
        on_entry: impl Fn(State) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { app, on_entry: Box::new(on_entry) })
    }
}

/// A step: the state that it is taken in, and the application's function.
macro_rules! step {
    ($state:ident, $function:ident($($limit:ident)?) -> $answer:ty) => {
        async fn $function(&self $(, $limit: Duration)?) -> $answer {
            (self.on_entry)(State::$state)?;
            self.app.$function($($limit)?).await
        }
    };
}

impl Session for Steps {
    step!(PreChecking, check_logged_in() -> Result<(), Failure>);
    step!(ClosingSession, close_session(limit) -> Result<(), Failure>);
}

impl SyncService for Steps {
    step!(StoppingSyncService, stop_sync(limit) -> Result<(), Failure>);

    fn restart_sync(&self) -> Result<(), Failure> {
        self.app.restart_sync()
    }
}

impl Server for Steps {
    step!(LoggingOutFromServer, log_out() -> Result<(), RequestError>);
    step!(AskingServer, who_am_i() -> Result<AccessToken, Failure>);
}

impl UserInterface for Steps {
    step!(ClosingTabs, close_tabs() -> Result<(), Failure>);
    step!(CleaningAppState, clean_app_state() -> Result<(), Failure>);
}

impl Storage for Steps {
    step!(RecordingIntent, record_intent() -> Result<(), Failure>);
    step!(PointOfNoReturn, delete_latest_user_id() -> Result<(), Failure>);

    async fn has_intent(&self) -> Result<bool, Failure> {
        self.app.has_intent().await
    }

    async fn clear_intent(&self) -> Result<(), Failure> {
        self.app.clear_intent().await
    }
}

impl Runtime for Steps {
    step!(ShuttingDownTasks, shut_down_tasks(limit) -> Result<(), Failure>);
    step!(RestartingRuntime, restart_runtime() -> Result<(), Failure>);
}
