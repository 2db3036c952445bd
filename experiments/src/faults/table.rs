//! All faults: of the server, of the user interface, of what is on disk, and of the user.

use std::{
    fs,
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use futures::{FutureExt as _, executor::block_on};
use mock_sdk::{
    app::{
        action::{Action, Confirmed},
        requests::Request,
        ui::UiFault,
    },
    homeserver::{Endpoint, Fault},
    matrix_error::ErrorCode,
};
use state_machine::error::{LogoutError, RecoverableError};

use super::{
    BRIEF, Case, Disturbance, Limits,
    Moment::{
        self, AskingDone, AskingNotDone, Before, CleaningAppState, ClosingTabs, LoggingOut,
        PointOfNoReturn, RecordingIntent, RestartingRuntime,
    },
};
use crate::setting::ROOMS;

// The ends: how the run ended, and what the next start found.
const OUT: &str = "completed -> logged out";
const NOT_DONE: &str = "not done -> logged in";
const IN_DOUBT_IN: &str = "in doubt -> logged in";
const IN_DOUBT_OUT: &str = "in doubt -> logged out";
const CANCELLED: &str = "cancelled -> logged in";
const TABS_AND_STATE: &str = "completed but CloseTabs CleanAppState -> logged out";
const STATE: &str = "completed but CleanAppState -> logged out";
const UI_FAILS: &[(Moment, &str)] = &[
    (LoggingOut, TABS_AND_STATE),
    (AskingNotDone, NOT_DONE),
    (ClosingTabs, TABS_AND_STATE),
    (CleaningAppState, STATE),
    (RestartingRuntime, OUT),
];
const USER_ID: &str = "completed but DeleteLatestUserId -> logged out";
const STUCK: &str = "unrecoverable -> logged out";

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
pub fn all() -> Vec<Disturbance> {
    vec![
        Disturbance {
            name: "server/token-invalidated",
            about: "the server forgets the token by itself",
            disturb: |case| {
                case.server.forget_token(&case.token);
                Ok(())
            },
            limits: Limits::AsTheyAre,
            ends: &[(RestartingRuntime, OUT)],
        },
        Disturbance {
            name: "server/limit-exceeded",
            about: "the server refuses everything as too much",
            disturb: |case| {
                always_from_now_on(case, &Fault::code(ErrorCode::LimitExceeded));
                Ok(())
            },
            limits: Limits::AsTheyAre,
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
            limits: Limits::AsTheyAre,
            ends: &[(AskingNotDone, NOT_DONE), (RestartingRuntime, OUT)],
        },
        Disturbance {
            name: "server/status-502",
            about: "a proxy answers for a server that has gone away",
            disturb: |case| {
                always_from_now_on(case, &Fault::status(502));
                Ok(())
            },
            limits: Limits::AsTheyAre,
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
            limits: Limits::AsTheyAre,
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
            limits: Limits::AsTheyAre,
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
            limits: Limits::ServerIsSilent,
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
            limits: Limits::ServerIsSilent,
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
            limits: Limits::ServerIsSilent,
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
            limits: Limits::AsTheyAre,
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
            limits: Limits::AsTheyAre,
            ends: &[(LoggingOut, OUT), (AskingNotDone, NOT_DONE), (RestartingRuntime, OUT)],
        },
        Disturbance {
            name: "ui/twice",
            about: "the user interface confirms twice",
            disturb: |case| {
                ui(case, UiFault::Twice);
                Ok(())
            },
            limits: Limits::AsTheyAre,
            ends: &[(LoggingOut, OUT), (AskingNotDone, NOT_DONE), (RestartingRuntime, OUT)],
        },
        Disturbance {
            name: "ui/silent",
            about: "the user interface does it, and never says so",
            disturb: |case| {
                ui(case, UiFault::Silent);
                Ok(())
            },
            limits: Limits::UiIsSilent,
            ends: UI_FAILS,
        },
        Disturbance {
            name: "ui/never",
            about: "the user interface neither does it nor says so",
            disturb: |case| {
                ui(case, UiFault::Never);
                Ok(())
            },
            limits: Limits::UiIsSilent,
            ends: UI_FAILS,
        },
        Disturbance {
            name: "ui/abandoned",
            about: "the user interface says that it will not",
            disturb: |case| {
                ui(case, UiFault::Abandoned);
                Ok(())
            },
            limits: Limits::AsTheyAre,
            ends: UI_FAILS,
        },
        Disturbance {
            name: "ui/after-give-up",
            about: "the user interface does it when nobody waits any more",
            disturb: |case| {
                ui(case, UiFault::AfterGiveUp);
                Ok(())
            },
            limits: Limits::UiIsSilent,
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
            limits: Limits::AsTheyAre,
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
            limits: Limits::AsTheyAre,
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
            limits: Limits::WorkIsStuck,
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
            limits: Limits::AsTheyAre,
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
                if !driver.is_running() {
                    return Ok(());
                }
                let refused = matches!(
                    driver.run().now_or_never(),
                    Some(Err(LogoutError::Recoverable {
                        cause: RecoverableError::AlreadyRunning,
                        ..
                    }))
                );
                if !refused {
                    case.note("the second logout was not refused".to_owned());
                }
                Ok(())
            },
            limits: Limits::AsTheyAre,
            ends: &[(LoggingOut, OUT), (AskingNotDone, NOT_DONE), (RestartingRuntime, OUT)],
        },
    ]
}
