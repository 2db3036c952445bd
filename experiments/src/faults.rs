//! A fault of experiment 24: when it comes, what it does to one logout, and the end that is declared.
//! [All of them](all) stand in a file of their own.

mod table;

use std::{
    error::Error,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, Weak},
    thread::JoinHandle,
    time::Duration,
};

use mock_sdk::{app::managed::ManagedApp, homeserver::Homeserver};
use state_machine::{config::LogoutConfig, driver::Driver, transition::State};

pub use self::table::all;
use crate::steps::Steps;

/// A limit that something passes which never comes.
const BRIEF: Duration = Duration::from_millis(250);

/// When a fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// No run has begun.
    Before,
    /// It is checked whether there is anybody to log out.
    PreChecking,
    /// The sync service is being stopped.
    StoppingSync,
    /// The intent is being written down.
    RecordingIntent,
    /// The request is about to leave.
    LoggingOut,
    /// The server is about to be asked, of a logout that it has not done.
    AskingNotDone,
    /// The same of one that it has done.
    AskingDone,
    /// The latest user id is being deleted.
    PointOfNoReturn,
    /// The tabs are being closed.
    ClosingTabs,
    /// The user interface is letting go.
    CleaningAppState,
    /// The session is being closed.
    ClosingSession,
    /// The tasks are being shut down.
    ShuttingDownTasks,
    /// The runtime is being restarted.
    RestartingRuntime,
}

use Moment::{
    AskingDone, AskingNotDone, Before, CleaningAppState, ClosingSession, ClosingTabs, LoggingOut,
    PointOfNoReturn, PreChecking, RecordingIntent, RestartingRuntime, ShuttingDownTasks,
    StoppingSync,
};

impl Moment {
    /// With the names that they are recorded under, in order.
    pub const ALL: [(Self, &str); 13] = [
        (Before, "01_before"),
        (PreChecking, "02_pre_checking"),
        (StoppingSync, "03_stopping_sync"),
        (RecordingIntent, "04_recording_intent"),
        (LoggingOut, "05_logging_out"),
        (AskingNotDone, "06_asking_not_done"),
        (AskingDone, "07_asking_done"),
        (PointOfNoReturn, "08_point_of_no_return"),
        (ClosingTabs, "09_closing_tabs"),
        (CleaningAppState, "10_cleaning_app_state"),
        (ClosingSession, "11_closing_session"),
        (ShuttingDownTasks, "12_shutting_down_tasks"),
        (RestartingRuntime, "13_restarting_runtime"),
    ];

    /// The state that the machine is in then.
    #[must_use]
    pub const fn state(self) -> State {
        match self {
            Before => State::Idle,
            PreChecking => State::PreChecking,
            StoppingSync => State::StoppingSyncService,
            RecordingIntent => State::RecordingIntent,
            LoggingOut => State::LoggingOutFromServer,
            AskingNotDone | AskingDone => State::AskingServer,
            PointOfNoReturn => State::PointOfNoReturn,
            ClosingTabs => State::ClosingTabs,
            CleaningAppState => State::CleaningAppState,
            ClosingSession => State::ClosingSession,
            ShuttingDownTasks => State::ShuttingDownTasks,
            RestartingRuntime => State::RestartingRuntime,
        }
    }
}

/// A fault, what it does, and how a logout ends with it.
pub struct Disturbance {
    /// What the variant is called.
    pub name: &'static str,
    /// What goes wrong.
    pub about: &'static str,
    /// Has it go wrong, from now on.
    pub disturb: fn(&Case) -> Result<(), Box<dyn Error>>,
    /// Limits that it makes something pass.
    pub limits: Limits,
    /// The ends: each holds up to a moment, and from the one before it.
    pub ends: &'static [(Moment, &'static str)],
}

/// One logout, as those see it who disturb it.
pub struct Case {
    /// The server.
    pub server: Arc<Homeserver>,
    /// The application.
    pub app: Arc<ManagedApp>,
    /// What the server knows the session by.
    pub token: String,
    /// Where everything is kept.
    pub directory: PathBuf,
    /// When the fault comes.
    pub moment: Moment,
    /// What drives the logout.
    pub driver: OnceLock<Weak<Driver<Steps>>>,
    /// A cancel that is still to come.
    pub cancelling: Mutex<Option<JoinHandle<String>>>,
    /// What else was seen, to be judged when the run has ended.
    pub seen: Mutex<Vec<String>>,
}

/// The limits of a logout, as far as a fault makes something pass them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// Nothing passes any.
    AsTheyAre,
    /// A server that does not answer.
    ServerIsSilent,
    /// A user interface that does not.
    UiIsSilent,
    /// Work that does not end.
    WorkIsStuck,
}

impl Limits {
    /// Short ones, where the fault comes in time for them.
    #[must_use]
    pub fn at(self, moment: Moment, limits: LogoutConfig) -> LogoutConfig {
        match self {
            Self::ServerIsSilent if moment <= AskingDone => {
                LogoutConfig { server: BRIEF, question: BRIEF, ..limits }
            }
            Self::UiIsSilent if moment <= CleaningAppState => {
                LogoutConfig { tabs: BRIEF, app_state: BRIEF, ..limits }
            }
            Self::WorkIsStuck if moment <= CleaningAppState => {
                LogoutConfig { session: 2 * BRIEF, tasks: BRIEF, ..limits }
            }
            _ => limits,
        }
    }
}

impl Case {
    /// Keeps something to be looked at when the run has ended.
    pub fn note(&self, what: String) {
        if let Ok(mut seen) = self.seen.lock() {
            seen.push(what);
        }
    }
}
