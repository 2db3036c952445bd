//! The faults of experiment 24: what goes wrong, when, and the end that is declared for each.

use std::{
    error::Error,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, Weak},
    thread::{self, JoinHandle},
    time::Duration,
};

use futures::{FutureExt as _, executor::block_on};
use mock_sdk::{
    app::{
        action::{Action, Confirmed},
        managed::ManagedApp,
        requests::Request,
        ui::UiFault,
    },
    homeserver::{Endpoint, Fault, Homeserver},
    matrix_error::ErrorCode,
};
use state_machine::{
    config::LogoutConfig,
    driver::Driver,
    error::{LogoutError, RecoverableError},
    transition::State,
};

use crate::{setting::ROOMS, steps::Steps};

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
    pub limits: fn(Moment, LogoutConfig) -> LogoutConfig,
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

const OUT: &str = "completed -> logged out";
const NOT_DONE: &str = "not done -> logged in";
const IN_DOUBT_IN: &str = "in doubt -> logged in";
const IN_DOUBT_OUT: &str = "in doubt -> logged out";
const CANCELLED: &str = "cancelled -> logged in";
const TABS_AND_STATE: &str = "completed but CloseTabs CleanAppState -> logged out";
const STATE: &str = "completed but CleanAppState -> logged out";

const fn as_they_are(_: Moment, limits: LogoutConfig) -> LogoutConfig {
    limits
}

/// A server that does not answer.
fn server_is_silent(moment: Moment, limits: LogoutConfig) -> LogoutConfig {
    if moment <= AskingDone {
        return LogoutConfig { server: BRIEF, question: BRIEF, ..limits };
    }
    limits
}

/// A user interface that does not.
fn ui_is_silent(moment: Moment, limits: LogoutConfig) -> LogoutConfig {
    if moment <= CleaningAppState {
        return LogoutConfig { tabs: BRIEF, app_state: BRIEF, ..limits };
    }
    limits
}

/// Work that does not end.
fn work_is_stuck(moment: Moment, limits: LogoutConfig) -> LogoutConfig {
    if moment <= CleaningAppState {
        return LogoutConfig { session: 4 * BRIEF, tasks: 2 * BRIEF, ..limits };
    }
    limits
}

fn always_from_now_on(case: &Case, fault: &Fault) {
    for endpoint in Endpoint::ALL {
        case.server.fail_always(endpoint, fault.clone());
    }
}

fn ui(case: &Case, fault: UiFault) {
    case.app.app().ui().fail_next(Confirmed::CloseAllTabs, fault);
    case.app.app().ui().fail_next(Confirmed::CleanAppState, fault);
}

/// Every fault.
#[must_use]
pub fn disturbances() -> Vec<Disturbance> {
    vec![
        Disturbance {
            name: "server/token-invalidated",
            about: "the server forgets the token by itself",
            disturb: |case| {
                case.server.forget_token(&case.token);
                Ok(())
            },
            limits: as_they_are,
            ends: &[(RestartingRuntime, OUT)],
        },
        Disturbance {
            name: "server/limit-exceeded",
            about: "the server refuses everything as too much",
            disturb: |case| {
                always_from_now_on(case, &Fault::code(ErrorCode::LimitExceeded));
                Ok(())
            },
            limits: as_they_are,
            ends: &[
                (AskingNotDone, IN_DOUBT_IN),
                (AskingDone, IN_DOUBT_OUT),
                (RestartingRuntime, OUT),
            ],
        },
        Disturbance {
            name: "server/refuses-once",
            about: "the server refuses the logout as too much, and nothing else",
            disturb: |case| {
                case.server.fail_always(Endpoint::Logout, Fault::code(ErrorCode::LimitExceeded));
                Ok(())
            },
            limits: as_they_are,
            ends: &[(AskingNotDone, NOT_DONE), (RestartingRuntime, OUT)],
        },
        Disturbance {
            name: "server/status-502",
            about: "a proxy answers for a server that has gone away",
            disturb: |case| {
                always_from_now_on(case, &Fault::status(502));
                Ok(())
            },
            limits: as_they_are,
            ends: &[
                (AskingNotDone, IN_DOUBT_IN),
                (AskingDone, IN_DOUBT_OUT),
                (RestartingRuntime, OUT),
            ],
        },
        Disturbance {
            name: "server/malformed",
            about: "the server does what it is asked, and its answers make no sense",
            disturb: |case| {
                always_from_now_on(case, &Fault::malformed());
                Ok(())
            },
            limits: as_they_are,
            ends: &[
                (LoggingOut, IN_DOUBT_OUT),
                (AskingNotDone, IN_DOUBT_IN),
                (AskingDone, IN_DOUBT_OUT),
                (RestartingRuntime, OUT),
            ],
        },
        Disturbance {
            name: "server/reset-mid-body",
            about: "the server does what it is asked, and resets the connection",
            disturb: |case| {
                always_from_now_on(case, &Fault::reset_mid_body());
                Ok(())
            },
            limits: as_they_are,
            ends: &[
                (LoggingOut, IN_DOUBT_OUT),
                (AskingNotDone, IN_DOUBT_IN),
                (AskingDone, IN_DOUBT_OUT),
                (RestartingRuntime, OUT),
            ],
        },
        Disturbance {
            name: "server/never-answers",
            about: "the server does nothing, and never answers",
            disturb: |case| {
                always_from_now_on(case, &Fault::never());
                Ok(())
            },
            limits: server_is_silent,
            ends: &[
                (AskingNotDone, IN_DOUBT_IN),
                (AskingDone, IN_DOUBT_OUT),
                (RestartingRuntime, OUT),
            ],
        },
        Disturbance {
            name: "server/answers-too-late",
            about: "the logout is done at once, and answered when the client has given up",
            disturb: |case| {
                case.server.fail_always(Endpoint::Logout, Fault::never().done_at_once());
                Ok(())
            },
            limits: server_is_silent,
            // The second logout of `06` is never requested: the machine is asking already.
            ends: &[(LoggingOut, OUT), (AskingNotDone, NOT_DONE), (RestartingRuntime, OUT)],
        },
        Disturbance {
            name: "server/does-it-too-late",
            about: "the logout is done when the client has given up and the server has denied it",
            disturb: |case| {
                case.server.fail_always(Endpoint::Logout, Fault::delay(4 * BRIEF));
                Ok(())
            },
            limits: server_is_silent,
            ends: &[
                (LoggingOut, "not done -> logged out"),
                (AskingNotDone, NOT_DONE),
                (RestartingRuntime, OUT),
            ],
        },
        Disturbance {
            name: "server/down",
            about: "the server goes down, and comes back before the next start",
            disturb: |case| {
                case.server.go_down();
                Ok(())
            },
            limits: as_they_are,
            ends: &[
                (LoggingOut, "not sent -> logged in"),
                (AskingNotDone, IN_DOUBT_IN),
                (AskingDone, IN_DOUBT_OUT),
                (RestartingRuntime, OUT),
            ],
        },
        Disturbance {
            name: "ui/late",
            about: "the user interface confirms late, and within the limit",
            disturb: |case| {
                ui(case, UiFault::Late(Duration::from_millis(50)));
                Ok(())
            },
            limits: as_they_are,
            ends: &[(LoggingOut, OUT), (AskingNotDone, NOT_DONE), (RestartingRuntime, OUT)],
        },
        Disturbance {
            name: "ui/twice",
            about: "the user interface confirms twice",
            disturb: |case| {
                ui(case, UiFault::Twice);
                Ok(())
            },
            limits: as_they_are,
            ends: &[(LoggingOut, OUT), (AskingNotDone, NOT_DONE), (RestartingRuntime, OUT)],
        },
        Disturbance {
            name: "ui/silent",
            about: "the user interface does it, and never says so",
            disturb: |case| {
                ui(case, UiFault::Silent);
                Ok(())
            },
            limits: ui_is_silent,
            ends: UI_FAILS,
        },
        Disturbance {
            name: "ui/never",
            about: "the user interface neither does it nor says so",
            disturb: |case| {
                ui(case, UiFault::Never);
                Ok(())
            },
            limits: ui_is_silent,
            ends: UI_FAILS,
        },
        Disturbance {
            name: "ui/abandoned",
            about: "the user interface says that it will not",
            disturb: |case| {
                ui(case, UiFault::Abandoned);
                Ok(())
            },
            limits: as_they_are,
            ends: UI_FAILS,
        },
        Disturbance {
            name: "ui/after-give-up",
            about: "the user interface does it when nobody waits any more",
            disturb: |case| {
                ui(case, UiFault::AfterGiveUp);
                Ok(())
            },
            limits: ui_is_silent,
            ends: UI_FAILS,
        },
        Disturbance {
            name: "ui/gone",
            about: "the user interface ends",
            disturb: |case| {
                let screen = case.app.app().ui().screen();
                case.app.app().ui().post(Action::Quit)?;
                // It is gone when nobody draws any more.
                while screen.has_changed().is_ok() {
                    thread::yield_now();
                }
                Ok(())
            },
            limits: as_they_are,
            ends: UI_FAILS,
        },
        Disturbance {
            name: "storage/user-id-stays",
            about: "the latest user id cannot be deleted, until the next start",
            disturb: |case| {
                let path = case.app.app().files().latest_user_id_path();
                // Gone already after the point of no return: then there is nothing to disturb.
                if path.exists() {
                    fs::rename(&path, path.with_extension("kept"))?;
                    fs::create_dir_all(path.join("in the way"))?;
                }
                Ok(())
            },
            limits: as_they_are,
            ends: &[
                (LoggingOut, USER_ID),
                (AskingNotDone, NOT_DONE),
                (PointOfNoReturn, USER_ID),
                (RestartingRuntime, OUT),
            ],
        },
        Disturbance {
            name: "storage/store-locked",
            about: "another process has locked a store that a message is to be written to",
            disturb: |case| {
                // Taken before, by a process that waits to let go.
                fs::write(case.directory.join("lock"), "")?;
                while !case.directory.join("locked").exists() {
                    thread::yield_now();
                }
                let message = Request::Send { room: ROOMS[0].to_owned(), body: "late".to_owned() };
                // Where there is no channel any more nothing is stuck.
                let _ = case.app.app().request(message);
                Ok(())
            },
            limits: work_is_stuck,
            ends: &[
                (LoggingOut, STUCK),
                (AskingNotDone, NOT_DONE),
                (CleaningAppState, STUCK),
                (RestartingRuntime, OUT),
            ],
        },
        Disturbance {
            name: "user/cancels",
            about: "the user wants the logout cancelled, from another thread, twice",
            disturb: |case| {
                let driver = case.driver.get().and_then(Weak::upgrade).ok_or("no driver")?;
                let (server, moment) = (Arc::clone(&case.server), case.moment);
                if moment == LoggingOut {
                    // The server has done it when the cancel comes, and has not said so.
                    server.fail_next(Endpoint::Logout, Fault::never().done_at_once());
                }
                let cancelling = thread::spawn(move || {
                    if moment == LoggingOut {
                        block_on(server.until(|server| server.count(Endpoint::Logout) > 0));
                    }
                    let (first, second) = (driver.cancel(), driver.cancel());
                    format!("{first:?}, then {second:?}")
                });
                if moment == LoggingOut {
                    // It cannot be waited for here: the request has still to leave.
                    *case.cancelling.lock().map_err(|_| "it is lost")? = Some(cancelling);
                } else {
                    case.note(cancelling.join().map_err(|_| "the cancel panicked")?);
                }
                Ok(())
            },
            limits: as_they_are,
            // Before the run there is nothing to cancel; in the request the server is asked.
            ends: &[
                (Before, OUT),
                (RecordingIntent, CANCELLED),
                (LoggingOut, OUT),
                (AskingNotDone, CANCELLED),
                (RestartingRuntime, OUT),
            ],
        },
        Disturbance {
            name: "user/logs-out-twice",
            about: "the user wants a second logout meanwhile",
            disturb: |case| {
                let driver = case.driver.get().and_then(Weak::upgrade).ok_or("no driver")?;
                if !driver.is_under_way() {
                    return Ok(());
                }
                let refused = matches!(
                    driver.run().now_or_never(),
                    Some(Err(LogoutError::Recoverable { cause: RecoverableError::UnderWay, .. }))
                );
                if !refused {
                    case.note("the second logout was not refused".to_owned());
                }
                Ok(())
            },
            limits: as_they_are,
            ends: &[(LoggingOut, OUT), (AskingNotDone, NOT_DONE), (RestartingRuntime, OUT)],
        },
    ]
}

const UI_FAILS: &[(Moment, &str)] = &[
    (LoggingOut, TABS_AND_STATE),
    (AskingNotDone, NOT_DONE),
    (ClosingTabs, TABS_AND_STATE),
    (CleaningAppState, STATE),
    (RestartingRuntime, OUT),
];
const USER_ID: &str = "completed but DeleteLatestUserId -> logged out";
const STUCK: &str = "unrecoverable -> logged out";

impl Case {
    /// Keeps something to be looked at when the run has ended.
    pub fn note(&self, what: String) {
        if let Ok(mut seen) = self.seen.lock() {
            seen.push(what);
        }
    }
}
