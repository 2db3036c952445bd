//! All faults: of the server, of the user interface, of what is on disk, and of the user.

use std::{
    fs,
    sync::{Arc, Weak},
    thread,
    time::Duration,
};

use futures::{FutureExt as _, executor::block_on};
use lab::TrialResult;
use mock_sdk::{
    app::{
        action::{Action, Confirmed},
        requests::Request,
        ui::UiFault,
    },
    homeserver::{Endpoint, Fault},
    matrix_error::ErrorCode,
};
use state_machine::error::{LogoutError, LogoutErrorKind};

use super::{
    ASKING_DONE, ASKING_NOT_DONE, BEFORE, CLEANING_APP_STATE, CLOSING_TABS, Case, Disturbance,
    LAST, LOGGING_OUT, Limits, Moment, POINT_OF_NO_RETURN, RECORDING_INTENT,
};
use crate::setting::ROOMS;

/// How the run ended, and what the next start found.
type Ends = &'static [(Moment, &'static str)];

const OUT: &str = "completed -> logged out";
const NOT_DONE: &str = "not done -> logged in";
const IN_DOUBT_IN: &str = "in doubt -> logged in";
const IN_DOUBT_OUT: &str = "in doubt -> logged out";
const CANCELLED: &str = "cancelled -> logged in";
const TABS_AND_STATE: &str = "completed but CloseTabs CleanAppState -> logged out";
const STATE: &str = "completed but CleanAppState -> logged out";
const USER_ID: &str = "completed but DeleteLatestUserId -> logged out";
const STUCK: &str = "unrecoverable -> logged out";

/// The logout ends as it would without the fault.
const WITHOUT_EFFECT: Ends = &[(LOGGING_OUT, OUT), (ASKING_NOT_DONE, NOT_DONE), (LAST, OUT)];
/// Nothing is done, and nothing can be asked.
const UNDONE: Ends = &[(ASKING_NOT_DONE, IN_DOUBT_IN), (ASKING_DONE, IN_DOUBT_OUT), (LAST, OUT)];
/// The logout is done, and nothing can be asked.
const UNHEARD: Ends = &[
    (LOGGING_OUT, IN_DOUBT_OUT),
    (ASKING_NOT_DONE, IN_DOUBT_IN),
    (ASKING_DONE, IN_DOUBT_OUT),
    (LAST, OUT),
];
const UI_FAILS: Ends = &[
    (LOGGING_OUT, TABS_AND_STATE),
    (ASKING_NOT_DONE, NOT_DONE),
    (CLOSING_TABS, TABS_AND_STATE),
    (CLEANING_APP_STATE, STATE),
    (LAST, OUT),
];

/// Every fault, with the ends that are declared for it.
#[must_use]
pub fn all() -> Vec<Disturbance> {
    let limit_exceeded = || Fault::code(ErrorCode::LimitExceeded);
    vec![
        fault("server/token-invalidated", forget_token)
            .about("the server forgets the token by itself")
            .ends(&[(LAST, OUT)]),
        fault("server/limit-exceeded", fails(&Endpoint::ALL, limit_exceeded()))
            .about("the server refuses everything as too much")
            .ends(UNDONE),
        fault("server/refuses-once", fails(&[Endpoint::Logout], limit_exceeded()))
            .about("the server refuses the logout as too much, and nothing else")
            .ends(&[(ASKING_NOT_DONE, NOT_DONE), (LAST, OUT)]),
        fault("server/status-502", fails(&Endpoint::ALL, Fault::status(502)))
            .about("a proxy answers for a server that has gone away")
            .ends(UNDONE),
        fault("server/malformed", fails(&Endpoint::ALL, Fault::malformed()))
            .about("the server does what it is asked, and its answers make no sense")
            .ends(UNHEARD),
        fault("server/reset-mid-body", fails(&Endpoint::ALL, Fault::reset_mid_body()))
            .about("the server does what it is asked, and resets the connection")
            .ends(UNHEARD),
        fault("server/never-answers", fails(&Endpoint::ALL, Fault::never()))
            .about("the server does nothing, and never answers")
            .with(Limits::ServerIsSilent)
            .repaired_by(restart)
            .ends(UNDONE),
        // The second logout of `06` is never requested: the machine is asking already.
        fault("server/answers-too-late", fails(&[Endpoint::Logout], Fault::never().done_at_once()))
            .about("the logout is done at once, and answered when the client has given up")
            .with(Limits::LogoutIsSilent)
            .ends(WITHOUT_EFFECT),
        fault("server/does-it-too-late", fails(&[Endpoint::Logout], Fault::never()))
            .about("the logout is done when the client has given up and the server has denied it")
            .with(Limits::LogoutIsSilent)
            .repaired_by(do_the_logout)
            .ends(&[
                (LOGGING_OUT, "not done -> logged out"),
                (ASKING_NOT_DONE, NOT_DONE),
                (LAST, OUT),
            ]),
        fault("server/down", go_down)
            .about("the server goes down, and comes back before the next start")
            .ends(&[
                (LOGGING_OUT, "not sent -> logged in"),
                (ASKING_NOT_DONE, IN_DOUBT_IN),
                (ASKING_DONE, IN_DOUBT_OUT),
                (LAST, OUT),
            ]),
        fault("ui/late", ui(UiFault::Late(Duration::from_millis(50))))
            .about("the user interface confirms late, and within the limit")
            .ends(WITHOUT_EFFECT),
        fault("ui/twice", ui(UiFault::Twice))
            .about("the user interface confirms twice")
            .ends(WITHOUT_EFFECT),
        fault("ui/silent", ui(UiFault::Silent))
            .about("the user interface does it, and never says so")
            .with(Limits::UiIsSilent)
            .ends(UI_FAILS),
        fault("ui/never", ui(UiFault::Never))
            .about("the user interface neither does it nor says so")
            .with(Limits::UiIsSilent)
            .ends(UI_FAILS),
        fault("ui/abandoned", ui(UiFault::Abandoned))
            .about("the user interface says that it will not")
            .ends(UI_FAILS),
        fault("ui/after-give-up", ui(UiFault::AfterGiveUp))
            .about("the user interface does it when nobody waits any more")
            .with(Limits::UiIsSilent)
            .ends(UI_FAILS),
        fault("ui/gone", ui_ends).about("the user interface ends").ends(UI_FAILS),
        fault("storage/user-id-stays", keep_user_id)
            .about("the latest user id cannot be deleted, until the next start")
            .repaired_by(give_user_id_back)
            .ends(&[
                (LOGGING_OUT, USER_ID),
                (ASKING_NOT_DONE, NOT_DONE),
                (POINT_OF_NO_RETURN, USER_ID),
                (LAST, OUT),
            ]),
        fault("storage/store-locked", write_to_a_locked_store)
            .about("another process has locked a store that a message is to be written to")
            .with(Limits::WorkIsStuck)
            .ends(&[
                (LOGGING_OUT, STUCK),
                (ASKING_NOT_DONE, NOT_DONE),
                (CLEANING_APP_STATE, STUCK),
                (LAST, OUT),
            ]),
        // Before the run there is nothing to cancel; in the request the server is asked.
        fault("user/cancels", cancel)
            .about("the user wants the logout cancelled, from another thread, twice")
            .ends(&[
                (BEFORE, OUT),
                (RECORDING_INTENT, CANCELLED),
                (LOGGING_OUT, OUT),
                (ASKING_NOT_DONE, CANCELLED),
                (LAST, OUT),
            ]),
        fault("user/logs-out-twice", log_out_again)
            .about("the user wants a second logout meanwhile")
            .ends(WITHOUT_EFFECT),
    ]
}

fn fault(
    name: &'static str,
    disturb: impl Fn(&Case) -> TrialResult + Send + Sync + 'static,
) -> Disturbance {
    let (disturb, repair) = (Arc::new(disturb), |_: &Case| Ok(()));
    Disturbance { name, about: "", disturb, repair, limits: Limits::AsTheyAre, ends: &[] }
}

impl Disturbance {
    fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    fn with(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    fn repaired_by(self, repair: fn(&Case) -> TrialResult) -> Self {
        Self { repair, ..self }
    }

    fn ends(self, ends: Ends) -> Self {
        Self { ends, ..self }
    }
}

fn forget_token(case: &Case) -> TrialResult {
    case.server.forget_token(&case.token);
    Ok(())
}

fn go_down(case: &Case) -> TrialResult {
    case.server.go_down();
    Ok(())
}

/// Ends the requests that still wait for an answer.
fn restart(case: &Case) -> TrialResult {
    go_down(case)?;
    case.server.come_back()?;
    Ok(())
}

/// The server does what it was asked, if it was asked: after the run, so that no slow machine is too late.
fn do_the_logout(case: &Case) -> TrialResult {
    if case.moment <= LOGGING_OUT {
        case.server.forget_token(&case.token);
    }
    Ok(())
}

/// The server fails all requests to these endpoints in one way.
fn fails(endpoints: &'static [Endpoint], fault: Fault) -> impl Fn(&Case) -> TrialResult {
    move |case| {
        for endpoint in endpoints {
            case.server.fail_always(*endpoint, fault.clone());
        }
        Ok(())
    }
}

fn ui(fault: UiFault) -> impl Fn(&Case) -> TrialResult {
    move |case| {
        case.app.app().ui().fail_next(Confirmed::CloseAllTabs, fault);
        case.app.app().ui().fail_next(Confirmed::CleanAppState, fault);
        Ok(())
    }
}

fn ui_ends(case: &Case) -> TrialResult {
    let screen = case.app.app().ui().screen();
    case.app.app().ui().post(Action::Quit)?;
    // It has ended when the screen's sender is gone.
    while screen.has_changed().is_ok() {
        thread::yield_now();
    }
    Ok(())
}

fn keep_user_id(case: &Case) -> TrialResult {
    let path = case.app.app().files().latest_user_id_path();
    // After the point of no return it is gone already, and there is nothing to disturb.
    if path.exists() {
        fs::rename(&path, path.with_extension("kept"))?;
        fs::create_dir_all(path.join("in the way"))?;
    }
    Ok(())
}

fn give_user_id_back(case: &Case) -> TrialResult {
    let path = case.app.app().files().latest_user_id_path();
    if path.is_dir() {
        fs::remove_dir_all(&path)?;
        fs::rename(path.with_extension("kept"), &path)?;
    }
    Ok(())
}

/// The lock is taken by another process, which waits for this file.
fn write_to_a_locked_store(case: &Case) -> TrialResult {
    fs::write(case.directory.join("lock"), "")?;
    while !case.directory.join("locked").exists() {
        thread::yield_now();
    }
    let message = Request::Send { room: ROOMS[0].to_owned(), body: "late".to_owned() };
    // If the channel is gone already, nothing gets stuck.
    let _ = case.app.app().request(message);
    Ok(())
}

fn cancel(case: &Case) -> TrialResult {
    let driver = case.driver.get().and_then(Weak::upgrade).ok_or("no driver")?;
    let server = Arc::clone(&case.server);
    let in_the_request = case.moment == LOGGING_OUT;
    if in_the_request {
        // The cancel comes when the server has done it and has not said so.
        server.fail_next(Endpoint::Logout, Fault::never().done_at_once());
    }
    let cancel = thread::spawn(move || {
        if in_the_request {
            block_on(server.until(|server| server.count(Endpoint::Logout) > 0));
        }
        let (first, second) = (driver.cancel(), driver.cancel());
        format!("{first:?}, then {second:?}")
    });
    // In the request it cannot be waited for: the request has still to leave.
    while !in_the_request && !cancel.is_finished() {
        thread::yield_now();
    }
    *case.cancel.lock().map_err(|_| "it is lost")? = Some(cancel);
    Ok(())
}

fn log_out_again(case: &Case) -> TrialResult {
    let driver = case.driver.get().and_then(Weak::upgrade).ok_or("no driver")?;
    if !driver.is_running() {
        return Ok(());
    }
    match driver.run().now_or_never() {
        Some(Err(LogoutError { kind: LogoutErrorKind::AlreadyRunning, .. })) => Ok(()),
        // The step fails, and the logout ends otherwise than it must.
        _ => Err("the second logout was not refused".into()),
    }
}
