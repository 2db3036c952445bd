//! An application whose logout can be looked at, and disturbed, step by step.

use std::{fmt, sync::Arc, time::Duration};

use mock_sdk::app::managed::ManagedApp;
use state_machine::{
    application::{
        Failure, RequestError, Runtime, Server, Session, Storage, SyncService, Token, UserInterface,
    },
    transition::State,
};

/// Called when the machine has entered a state, before that is acted on.
type OnEntry = Box<dyn Fn(State) -> Result<(), Failure> + Send + Sync>;

/// A [`ManagedApp`] that lets somebody know of every step before it does it. What that returns as an
/// error the step fails with, undone.
///
/// The progress channel tells the same, but it tells it beside the machine, which goes on meanwhile:
/// here what is disturbed in a state is disturbed *in* that state.
pub struct Steps {
    app: Arc<ManagedApp>,
    on_entry: OnEntry,
}

impl Steps {
    /// The application, with somebody to be told.
    pub fn of(
        app: Arc<ManagedApp>,
        on_entry: impl Fn(State) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { app, on_entry: Box::new(on_entry) })
    }

    fn enter(&self, state: State) -> Result<(), Failure> {
        (self.on_entry)(state)
    }
}

impl Session for Steps {
    async fn check_logged_in(&self) -> Result<(), Failure> {
        self.enter(State::PreChecking)?;
        self.app.check_logged_in().await
    }

    async fn close_session(&self, limit: Duration) -> Result<(), Failure> {
        self.enter(State::ClosingSession)?;
        self.app.close_session(limit).await
    }
}

impl SyncService for Steps {
    async fn stop_sync(&self, limit: Duration) -> Result<(), Failure> {
        self.enter(State::StoppingSyncService)?;
        self.app.stop_sync(limit).await
    }

    fn restart_sync(&self) -> Result<(), Failure> {
        self.app.restart_sync()
    }
}

impl Server for Steps {
    async fn log_out(&self) -> Result<(), RequestError> {
        self.enter(State::LoggingOutFromServer)?;
        self.app.log_out().await
    }

    async fn who_am_i(&self) -> Result<Token, Failure> {
        self.enter(State::AskingServer)?;
        self.app.who_am_i().await
    }
}

impl UserInterface for Steps {
    async fn close_tabs(&self) -> Result<(), Failure> {
        self.enter(State::ClosingTabs)?;
        self.app.close_tabs().await
    }

    async fn clean_app_state(&self) -> Result<(), Failure> {
        self.enter(State::CleaningAppState)?;
        self.app.clean_app_state().await
    }
}

impl Storage for Steps {
    async fn record_intent(&self) -> Result<(), Failure> {
        self.enter(State::RecordingIntent)?;
        self.app.record_intent().await
    }

    async fn has_intent(&self) -> Result<bool, Failure> {
        self.app.has_intent().await
    }

    async fn clear_intent(&self) -> Result<(), Failure> {
        self.app.clear_intent().await
    }

    async fn delete_latest_user_id(&self) -> Result<(), Failure> {
        self.enter(State::PointOfNoReturn)?;
        self.app.delete_latest_user_id().await
    }
}

impl Runtime for Steps {
    async fn shut_down_tasks(&self, limit: Duration) -> Result<(), Failure> {
        self.enter(State::ShuttingDownTasks)?;
        self.app.shut_down_tasks(limit).await
    }

    async fn restart_runtime(&self) -> Result<(), Failure> {
        self.enter(State::RestartingRuntime)?;
        self.app.restart_runtime().await
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps").field("app", &self.app).finish_non_exhaustive()
    }
}
