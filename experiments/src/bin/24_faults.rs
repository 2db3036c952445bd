//! # 24 · faults
//!
//! A logout has thirteen moments at which something can go wrong, and a server, a user interface, a
//! disk and a user who do it. Here all of them are crossed: each variant is one fault, and one trial of
//! it is thirteen logouts of a real application at a real server, with the fault at each moment in
//! turn: before the logout, in each state of the machine, and, because that state is only reached
//! where an answer was lost, twice in the one that asks the server (of a logout that was done, and of
//! one that was not). A fault that has come stays until the logout has ended.
//!
//! What is recorded, under the moment's name, is how the run ended, an arrow, and where the *next
//! start* of the application came out, with the server in order again: `logged in`, which is checked
//! to be with a token that the server knows and a sync service that runs, or `logged out`, checked to
//! be with a token that it does not know and nobody to log in. There is no third. That is the table of
//! end states. Each cell is declared beside its fault; a trial in which one comes out differently fails.
//!
//! Besides:
//!
//! - **`worker/…`** is about the request channel (claim B7). Closing it ends the worker, and the
//!   monitor reports that as unexpected, unless it was announced. A worker that fails is reported.
//! - **`not-logged-in`**: there is nobody to log out.
//! - **`killed/…`**: the process is killed, with SIGKILL, at a random moment of the logout, while it
//!   queues messages that it acknowledges to the parent. The next start is neither in between, nor is
//!   an acknowledged row lost. There are two hazards beside it, each of which must be caught: a process
//!   that acknowledges before it commits, and one that does not write down its intent to log out.
//!
//! The hazards of `killed` are races with a signal. Each has 60 trials: a run that misses one is a
//! one-in-a-million event even if only one trial in five shows it.

use std::{
    collections::BTreeSet,
    error::Error,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ExitCode, Stdio},
    sync::{Arc, Mutex, OnceLock, Weak},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use experiments::{
    runtime,
    runtime_thread::panic_quietly,
    setting::{LoggedIn, PLENTY, ROOMS, Setting, USER, end, homeserver, managed, syncs},
    steps::Steps,
};
use futures::{FutureExt as _, executor::block_on};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    Trial, TrialResult, Variant, always, control, cure, every, hazard, seen,
};
use mock_sdk::{
    app::{
        App,
        action::{Action, Confirmed},
        managed::ManagedApp,
        requests::{Request, WorkerState},
        ui::UiFault,
    },
    homeserver::{Endpoint, Fault, Homeserver},
    matrix_error::ErrorCode,
    store::rusqlite::Connection,
};
use state_machine::{
    application::Failure,
    config::LogoutConfig,
    driver::Driver,
    error::{LogoutError, RecoverableError},
    progress::LogoutReport,
    transition::State,
};

/// A limit that something passes which never comes.
const BRIEF: Duration = Duration::from_millis(250);

/// When a fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Before,
    PreChecking,
    StoppingSync,
    RecordingIntent,
    LoggingOut,
    /// Of a logout that the server has not done.
    AskingNotDone,
    /// Of one that it has done.
    AskingDone,
    PointOfNoReturn,
    ClosingTabs,
    CleaningAppState,
    ClosingSession,
    ShuttingDownTasks,
    RestartingRuntime,
}

use Moment::{
    AskingDone, AskingNotDone, Before, CleaningAppState, ClosingSession, ClosingTabs, LoggingOut,
    PointOfNoReturn, PreChecking, RecordingIntent, RestartingRuntime, ShuttingDownTasks,
    StoppingSync,
};

impl Moment {
    /// With the names that they are recorded under, in order.
    const ALL: [(Self, &str); 13] = [
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

    const fn state(self) -> State {
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
struct Disturbance {
    name: &'static str,
    about: &'static str,
    disturb: fn(&Case) -> Result<(), Box<dyn Error>>,
    /// Limits that it makes something pass.
    limits: fn(Moment, LogoutConfig) -> LogoutConfig,
    /// The ends: each holds up to a moment, and from the one before it.
    ends: &'static [(Moment, &'static str)],
}

/// One logout, as those see it who disturb it.
struct Case {
    server: Arc<Homeserver>,
    app: Arc<ManagedApp>,
    token: String,
    directory: PathBuf,
    moment: Moment,
    driver: OnceLock<Weak<Driver<Steps>>>,
    /// A cancel that is still to come.
    cancelling: Mutex<Option<JoinHandle<String>>>,
    /// What else was seen, to be judged when the run has ended.
    seen: Mutex<Vec<String>>,
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
fn disturbances() -> Vec<Disturbance> {
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
    fn note(&self, what: String) {
        if let Ok(mut seen) = self.seen.lock() {
            seen.push(what);
        }
    }
}

/// Every moment of one fault.
fn crossed(trial: &Trial<'_>, fault: &Disturbance) -> TrialResult {
    for (moment, name) in Moment::ALL {
        let directory = trial.directory().join(name);
        fs::create_dir_all(&directory)?;
        let locker = (fault.name == "storage/store-locked")
            .then(|| Locker::start(trial, &directory))
            .transpose()?;
        let found = one_logout(trial, fault, (moment, name), &directory, locker)?;
        trial.record(name, found.as_str());
        let declared = fault.ends.iter().find(|(up_to, _)| moment <= *up_to);
        let expected = declared.map(|(_, end)| *end).ok_or("a cell without an end")?;
        trial.check(&format!("{name} ends with {expected}, not {found}"), found == expected);
    }
    Ok(())
}

fn one_logout(
    trial: &Trial<'_>,
    fault: &Disturbance,
    (moment, name): (Moment, &str),
    directory: &Path,
    locker: Option<Locker>,
) -> Result<String, Box<dyn Error>> {
    let app = LoggedIn::start(&Arc::new(homeserver()?), directory)?;
    let case = Arc::new(Case {
        server: Arc::clone(&app.server),
        app: Arc::clone(&app.app),
        token: app.token.clone(),
        directory: directory.to_owned(),
        moment,
        driver: OnceLock::new(),
        cancelling: Mutex::default(),
        seen: Mutex::default(),
    });
    match moment {
        AskingDone => app.server.fail_next(Endpoint::Logout, Fault::reset_mid_body()),
        AskingNotDone => app.server.fail_next(Endpoint::Logout, Fault::status(502)),
        _ => {}
    }
    let steps = Steps::of(Arc::clone(&app.app), {
        let (case, disturb) = (Arc::clone(&case), fault.disturb);
        move |state| match state == moment.state() {
            true => disturb(&case).map_err(|error| Failure::from(error.to_string())),
            false => Ok(()),
        }
    });
    let limits = (fault.limits)(moment, app.app.logout_config());
    let driver = Arc::new(Driver::new(steps, limits));
    let _ = case.driver.set(Arc::downgrade(&driver));
    if moment == Before {
        (fault.disturb)(&case)?;
    }
    let ended = end_of(&block_on(driver.run()));
    trial.check("the mark is gone", !driver.is_under_way());
    let cancelling = case.cancelling.lock().ok().and_then(|mut cancelling| cancelling.take());
    if let Some(cancelling) = cancelling {
        case.note(cancelling.join().map_err(|_| "the cancel panicked")?);
    }
    for note in case.seen.lock().map(|seen| seen.clone()).unwrap_or_default() {
        trial.record(&format!("{name}_told"), note.as_str());
        trial.check("nothing was allowed that must not be", !note.contains("not refused"));
    }

    // Everything is in order again.
    app.server.heal();
    app.server.come_back()?;
    if fault.name == "server/does-it-too-late" && moment <= LoggingOut {
        block_on(app.server.until(|server| !server.is_alive(&app.token)));
    }
    let user_id = app.app.app().files().latest_user_id_path();
    if user_id.is_dir() {
        fs::remove_dir_all(&user_id)?;
        fs::rename(user_id.with_extension("kept"), &user_id)?;
    }
    drop(locker);
    if driver.is_unfinished() {
        // What was stuck can end now, and another run finishes the cleanup.
        let again = finish(&driver);
        trial.check(&format!("another run completes, not {again}"), again.starts_with("completed"));
    } else if app.server.is_alive(&app.token) && fault.name != "ui/gone" {
        trial.check("who is logged in syncs", app.syncs());
    }
    drop(driver);
    drop(case);
    let (server, token) = (Arc::clone(&app.server), app.token.clone());
    app.end()?;
    Ok(format!("{ended} -> {}", next_start(trial, &server, &token, directory)?))
}

/// Runs the cleanup again, until what had been stuck has ended.
fn finish(driver: &Driver<Steps>) -> String {
    let began = Instant::now();
    loop {
        let ended = end_of(&block_on(driver.run()));
        if !driver.is_unfinished() || began.elapsed() > PLENTY {
            return ended;
        }
    }
}

/// One or two words for an end.
fn end_of(ended: &Result<LogoutReport, LogoutError>) -> String {
    match ended {
        Ok(report) if report.warnings.is_empty() => "completed".to_owned(),
        Ok(report) => {
            report.warnings.iter().fold("completed but".to_owned(), |mut all, warning| {
                all.push_str(&format!(" {:?}", warning.effect));
                all
            })
        }
        Err(LogoutError::Recoverable { cause, .. }) => match cause {
            RecoverableError::UnderWay => "under way",
            RecoverableError::Cancelled => "cancelled",
            RecoverableError::NotReady(_) => "not ready",
            RecoverableError::SyncNotStopped(_) => "sync not stopped",
            RecoverableError::IntentNotRecorded(_) => "intent not recorded",
            RecoverableError::NotSent(_) => "not sent",
            RecoverableError::NotDone(_) => "not done",
            RecoverableError::InDoubt { .. } => "in doubt",
            _ => "another error",
        }
        .to_owned(),
        Err(_) => "unrecoverable".to_owned(),
    }
}

/// Starts the application again, and says whether somebody is logged in.
fn next_start(
    trial: &Trial<'_>,
    server: &Homeserver,
    token: &str,
    directory: &Path,
) -> Result<&'static str, Box<dyn Error>> {
    let (app, ui) = managed(server, directory)?;
    let user = block_on(app.log_in_latest(&LogoutConfig::default()))?;
    let (alive, kept) = (server.is_alive(token), app.app().files().latest_user_id()?.is_some());
    trial.check("neither in between nor wrong", user.is_some() == alive && kept == alive);
    if alive {
        trial.check("who is logged in syncs after the next start", syncs(server));
    }
    end(app, ui)?;
    Ok(if user.is_some() { "logged in" } else { "logged out" })
}

/// Another process, which locks a store when it is told to, until it is killed.
struct Locker(Child);

impl Locker {
    fn start(trial: &Trial<'_>, directory: &Path) -> Result<Self, Box<dyn Error>> {
        let mut part = trial.part("locker")?;
        let child = part.arg(directory).stdin(Stdio::piped()).spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Locker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lock(arguments: &[String]) -> TrialResult {
    let [directory] = arguments else { return Err("in which directory?".into()) };
    let directory = Path::new(directory);
    while !directory.join("lock").exists() {
        thread::sleep(Duration::from_millis(1));
    }
    let lock = Connection::open(directory.join("stores/0001/state/store.sqlite3"))?;
    lock.busy_timeout(PLENTY)?;
    lock.execute_batch("BEGIN EXCLUSIVE")?;
    fs::write(directory.join("locked"), "")?;
    // Until it is killed, or whoever started it is gone.
    let _ = std::io::stdin().lines().next();
    Ok(())
}

fn not_logged_in(trial: &Trial<'_>) -> TrialResult {
    let (app, ui) = managed(&homeserver()?, trial.directory())?;
    let driver = Driver::new(Arc::clone(&app), app.logout_config());
    let ended = end_of(&block_on(driver.run()));
    trial.record("ended", ended.as_str());
    trial.check("it says so", ended == "not ready" && !driver.is_under_way());
    drop(driver);
    end(app, ui)
}

/// How a worker comes to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WorkerEnds {
    ChannelClosed,
    Announced,
    Fails,
}

fn worker(trial: &Trial<'_>, how: WorkerEnds) -> TrialResult {
    let setting = Setting::start(trial.directory(), |_| {})?;
    runtime()?.block_on(async {
        setting.log_in().await?;
        let app: &App = &setting.app;
        match how {
            WorkerEnds::ChannelClosed => drop(app.globals().request_sender.take()),
            WorkerEnds::Announced => {
                app.expect_worker_end();
                drop(app.globals().request_sender.take());
            }
            WorkerEnds::Fails => {
                app.request(Request::Run(Box::new(|| Box::pin(async { panic_quietly() }))))?;
            }
        }
        let state = app.worker().wait_for(|state| *state != WorkerState::Running).await?.clone();
        let reported = matches!(state, WorkerState::EndedUnexpectedly { .. });
        trial.record("reported", reported);
        let failed = how == WorkerEnds::Fails;
        trial.check("what is reported is a failure, and the other way round", reported == failed);
        setting.end().await
    })
}

/// How the process that is killed behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeping {
    Everything,
    RowsAfterTheirAcknowledgement,
    NoIntent,
}

impl Keeping {
    const fn word(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::RowsAfterTheirAcknowledgement => "rows-late",
            Self::NoIntent => "no-intent",
        }
    }
}

/// What the process says when it begins to log out, and when it has.
const LOGGING_OUT: &str = "logging out";
const LOGGED_OUT: &str = "logged out";

/// How long the answer to the logout request is on its way, when the server has done it.
const ON_ITS_WAY: Duration = Duration::from_millis(20);

/// How long a logout takes then, at most, unless the machine is busy; and its first part, where it is
/// for a hazard to be caught.
const LOGOUT_MICROS: u64 = 200_000;
const FIRST_PART_MICROS: u64 = 60_000;

fn killed(trial: &Trial<'_>, keeping: Keeping) -> TrialResult {
    let server = homeserver()?;
    server.fail_always(Endpoint::Logout, Fault::delay(ON_ITS_WAY).done_at_once());
    let until = match keeping {
        Keeping::Everything => LOGOUT_MICROS,
        _ => FIRST_PART_MICROS,
    };
    let moment = Duration::from_micros(trial.random().u64(0..until));
    let mut part = trial.part("logs-out")?;
    let mut child = part
        .args([&server.url(), keeping.word()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
    // Not what the server says: when this is scheduled it may have forgotten the token.
    let token = lines.next().ok_or("it has not logged in")??;
    let mut said = Vec::new();
    for line in lines.by_ref() {
        let line = line?;
        if line == LOGGING_OUT {
            break;
        }
        said.push(line);
    }
    // A sleep would end at a turn of the clock.
    let since = Instant::now();
    while since.elapsed() < moment {
        std::hint::spin_loop();
    }
    child.kill()?;
    let ended = child.wait()?;
    trial.check("it was killed", ended.code().is_none());
    said.extend(lines.map_while(Result::ok));
    let came_to_its_end = said.iter().any(|line| line == LOGGED_OUT);
    said.retain(|line| line != LOGGED_OUT);

    let stored = rows(trial.directory())?;
    let lost = said.iter().filter(|row| !stored.contains(*row)).count();
    trial.record("rows_acknowledged", said.len());
    trial.record("rows_lost", lost);
    trial.record("had_ended", came_to_its_end);
    trial.check("something was acknowledged", !said.is_empty());
    trial.check("no acknowledged row is lost", lost == 0);
    let found = next_start(trial, &server, &token, trial.directory())?;
    trial.record("next_start", found);
    Ok(())
}

/// What is queued.
fn rows(directory: &Path) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let state = Connection::open(directory.join("stores/0001/state/store.sqlite3"))?;
    let mut query = state.prepare("SELECT body FROM outbox")?;
    let rows = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(rows)
}

/// The process that is killed: logs in, queues messages without a pause, and logs out meanwhile. What
/// it queues nobody sends: the server refuses that for now.
fn log_out(arguments: &[String]) -> TrialResult {
    let [server, keeping] = arguments else { return Err("where, and keeping what?".into()) };
    let mut config = mock_sdk::app::AppConfig::new(server, Path::new("."));
    config.connections_per_store = 2;
    config.background_tasks = false;
    config.frame = Duration::from_millis(1);
    let policy = state_machine::config::RuntimePolicy::Restart;
    let (app, event_loop) = ManagedApp::start(config, policy)?;
    let (app, _ui) = (Arc::new(app), event_loop.spawn()?);
    block_on(app.log_in(USER, "secret"))?;

    let client = app.app().globals().client.get().ok_or("there is no client")?;
    say(&client.access_token().ok_or("there is no token")?);
    let store = client.store().state.clone();
    let acknowledges_first = keeping == Keeping::RowsAfterTheirAcknowledgement.word();
    let (written, writes) = std::sync::mpsc::channel();
    drop(app.runtime().spawn("rows", move |stop| async move {
        for number in 0_u32.. {
            let row = format!("row {number}");
            if acknowledges_first {
                say(&row);
            }
            if stop.is_raised() || store.enqueue(ROOMS[0], row.clone()).await.is_err() {
                break;
            }
            if !acknowledges_first {
                say(&row);
            }
            let _ = written.send(());
        }
    })?);
    drop(client);
    writes.iter().take(10).for_each(drop);

    let forgetful = keeping == Keeping::NoIntent.word();
    let intent = app.app().files().stores().with_file_name("logout_intent");
    let steps = Steps::of(Arc::clone(&app), move |state| {
        if forgetful && state == State::LoggingOutFromServer {
            fs::remove_file(&intent)?;
        }
        Ok(())
    });
    let driver = Driver::new(steps, app.logout_config());
    say(LOGGING_OUT);
    let ended = block_on(driver.run());
    say(LOGGED_OUT);
    ended?;
    // It does not leave by itself.
    let _ = std::io::stdin().lines().next();
    Err("nobody killed it".into())
}

/// One write, so that lines do not mix. Where nobody reads, nobody is promised anything.
fn say(line: &str) {
    let _ = std::io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}

fn main() -> ExitCode {
    let table = disturbances().into_iter().map(|fault| -> Variant {
        let (name, about) = (fault.name, fault.about);
        cure(name, always(Clean), move |trial| crossed(trial, &fault))
            .about(about)
            .trials(5)
            .deadline(Duration::from_secs(90))
    });
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("How does a logout end when something goes wrong in the middle of it?")
        .hypothesis(
            "In an end that is declared beforehand, whatever goes wrong and whenever; and the next \
             start finds the user logged in with a token that the server knows, or logged out.",
        )
        .variants(table)
        .variant(
            cure("not-logged-in", always(Clean), not_logged_in)
                .about("a logout while nobody is logged in"),
        )
        .variant(
            hazard("worker/channel-closed", always(Failed), |trial| {
                worker(trial, WorkerEnds::ChannelClosed)
            })
            .about("the request channel is closed, as in the write-up"),
        )
        .variant(
            control("worker/fails", always(Clean), |trial| worker(trial, WorkerEnds::Fails))
                .about("the worker fails"),
        )
        .variant(
            cure("worker/announced", always(Clean), |trial| worker(trial, WorkerEnds::Announced))
                .about("the request channel is closed, which was announced"),
        )
        .variant(
            cure("killed/in-the-logout", always(Clean), |trial| killed(trial, Keeping::Everything))
                .about("the process is killed at a random moment of the logout")
                .trials(200),
        )
        .variant(
            hazard("killed/without-intent", seen(Failed).allowing([Clean]), |trial| {
                killed(trial, Keeping::NoIntent)
            })
            .about("the same, and the intent to log out is not on disk")
            .trials(60),
        )
        .variant(
            hazard("killed/uncommitted", seen(Failed).allowing([Clean]), |trial| {
                killed(trial, Keeping::RowsAfterTheirAcknowledgement)
            })
            .about("the same, and rows are acknowledged before their commit")
            .trials(60),
        )
        .part("locker", lock)
        .part("logs-out", log_out)
        .claim(
            "B6",
            "An invalidated token counts as logged out; before the point of no return everything can \
             be undone.",
        )
        .supported_if(
            every("server/token-invalidated").is(always(Clean))
                & every("server/refuses-once").is(always(Clean))
                & every("user/cancels").is(always(Clean)),
        )
        .refuted_if(
            !every("server/token-invalidated").is(always(Clean))
                | !every("server/refuses-once").is(always(Clean))
                | !every("user/cancels").is(always(Clean)),
        )
        .claim(
            "B7",
            "Closing the request channel ends the worker, and the monitor reports it as unexpected.",
        )
        .supported_if(
            every("worker/channel-closed").observed("reported").always_reads("true")
                & every("worker/announced").observed("reported").always_reads("false")
                & every("worker/fails").observed("reported").always_reads("true"),
        )
        .refuted_if(every("worker/channel-closed").observed("reported").always_reads("false"))
        .run()
}
