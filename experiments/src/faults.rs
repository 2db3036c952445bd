//! The faults of experiment 24: when one comes, what it does to a logout, and how that must end.

pub mod killed;
mod table;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, Weak},
    thread::JoinHandle,
    time::Duration,
};

use lab::TrialResult;
use mock_sdk::{app::managed::ManagedApp, homeserver::Homeserver};
use state_machine::{config::LogoutConfig, driver::Driver, transition::State};

pub use self::table::all;
use crate::steps::Steps;

/// A limit that passes whatever the machine does, because a fault keeps something from coming.
const BRIEF: Duration = Duration::from_millis(250);

/// Passes too. A request has to arrive within it, on a busy machine as well.
const ARRIVES: Duration = Duration::from_secs(3);

/// When a fault comes, by the number that the observation's name begins with.
pub type Moment = usize;

/// No run has begun.
pub const BEFORE: Moment = 1;
const RECORDING_INTENT: Moment = 4;
/// The request is about to leave.
pub const LOGGING_OUT: Moment = 5;
/// The server is about to be asked about a logout that it has not done.
pub const ASKING_NOT_DONE: Moment = 6;
/// The server is about to be asked about a logout that it has done.
pub const ASKING_DONE: Moment = 7;
const POINT_OF_NO_RETURN: Moment = 8;
const CLOSING_TABS: Moment = 9;
const CLEANING_APP_STATE: Moment = 10;
const LAST: Moment = 13;

/// The moments of a logout in order: their names, and the state that the machine is in.
pub const MOMENTS: [(&str, State); LAST] = [
    ("01_before", State::Idle),
    ("02_pre_checking", State::PreChecking),
    ("03_stopping_sync", State::StoppingSyncService),
    ("04_recording_intent", State::RecordingIntent),
    ("05_logging_out", State::LoggingOutFromServer),
    ("06_asking_not_done", State::AskingServer),
    ("07_asking_done", State::AskingServer),
    ("08_point_of_no_return", State::PointOfNoReturn),
    ("09_closing_tabs", State::ClosingTabs),
    ("10_cleaning_app_state", State::CleaningAppState),
    ("11_closing_session", State::ClosingSession),
    ("12_shutting_down_tasks", State::ShuttingDownTasks),
    ("13_restarting_runtime", State::RestartingRuntime),
];

/// A fault, what it does, and how a logout ends with it.
pub struct Disturbance {
    /// The variant's name.
    pub name: &'static str,
    /// What goes wrong.
    pub about: &'static str,
    /// Makes it go wrong from now on.
    pub disturb: Disturb,
    /// Puts in order again, after the run, what a healed server does not.
    pub repair: fn(&Case) -> TrialResult,
    /// The limits of the logout.
    pub limits: Limits,
    /// The declared ends. Each holds up to its moment, and from the end before it.
    pub ends: &'static [(Moment, &'static str)],
}

type Disturb = Arc<dyn Fn(&Case) -> TrialResult + Send + Sync>;

/// The limits of a logout. What a fault keeps from coming has a short one, and nothing else has: on a busy
/// machine it would pass, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// No limit passes.
    AsTheyAre,
    /// The server does not answer.
    ServerIsSilent,
    /// The server does not answer a logout.
    LogoutIsSilent,
    /// The user interface does not answer.
    UiIsSilent,
    /// Work does not end.
    WorkIsStuck,
}

impl Limits {
    /// Shortens the limits, if the fault comes early enough to make one pass.
    #[must_use]
    pub fn at(self, moment: Moment, limits: LogoutConfig) -> LogoutConfig {
        match self {
            Self::ServerIsSilent if moment <= LOGGING_OUT => {
                LogoutConfig { server: BRIEF, question: BRIEF, ..limits }
            }
            Self::ServerIsSilent if moment <= ASKING_DONE => {
                LogoutConfig { question: BRIEF, ..limits }
            }
            Self::LogoutIsSilent if moment <= LOGGING_OUT => {
                LogoutConfig { server: ARRIVES, ..limits }
            }
            Self::UiIsSilent if moment <= CLOSING_TABS => {
                LogoutConfig { tabs: BRIEF, app_state: BRIEF, ..limits }
            }
            Self::UiIsSilent if moment <= CLEANING_APP_STATE => {
                LogoutConfig { app_state: BRIEF, ..limits }
            }
            Self::WorkIsStuck if moment <= CLEANING_APP_STATE => {
                LogoutConfig { session: 2 * BRIEF, tasks: BRIEF, ..limits }
            }
            _ => limits,
        }
    }
}

/// One logout, as a fault sees it.
pub struct Case {
    /// The server.
    pub server: Arc<Homeserver>,
    /// The application.
    pub app: Arc<ManagedApp>,
    /// The session's access token.
    pub token: String,
    /// Where everything is kept.
    pub directory: PathBuf,
    /// When the fault comes.
    pub moment: Moment,
    /// What drives the logout.
    pub driver: OnceLock<Weak<Driver<Steps>>>,
    /// The thread of a cancel, which returns what it was told.
    pub cancel: Mutex<Option<JoinHandle<String>>>,
}
