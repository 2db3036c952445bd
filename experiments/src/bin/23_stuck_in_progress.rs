//! 23 stuck in progress: what does a logout leave behind when it gives up? The published machine leaves
//! nothing if the server refuses, and its mark and a stopped sync service if the user cancels. The version
//! before leaves the sync service stopped wherever it returns. The driver leaves neither. Page:
//! `docs/src/23-stuck-in-progress.md`.

use std::sync::Mutex;

use experiments::{
    prelude::*,
    published::{Flags, Logout, LogoutError, State},
    setting::{LoggedIn, ROOMS, Setting, syncs, token},
    steps::Steps,
};
use lab::Condition;
use mock_sdk::{
    app::{App, action::Confirmed, global::Global, ui::UiFault},
    client::Client,
    homeserver::{Endpoint, Fault, Homeserver},
    matrix_error::ErrorCode,
    store::rusqlite::Connection,
};
use state_machine::{config::LogoutConfig, driver::Driver, transition};

/// How long to wait for a sync that, as a rule, does not come.
const A_SECOND: Duration = Duration::from_secs(1);

/// The limit for a sync service that does not stop.
const BRIEF: Duration = Duration::from_millis(100);

/// A step fails in the same way each time, and what does not happen is waited for.
const TRIALS: u32 = 10;

/// The steps of the published machine that can fail, and how: before the point of no return, and after.
const BEFORE: [(&str, &str); 4] = [
    ("pre-check", "there is nobody to log out"),
    ("stop-sync", "there is no sync service to stop"),
    ("server", "the server refuses"),
    ("server-silent", "the server does not answer in time"),
];
const AFTER: [(&str, &str); 3] = [
    ("tabs", "the user interface does not close its tabs"),
    ("app-state", "the user interface does not let go"),
    ("runtime", "no runtime can be started"),
];

/// The steps of the driver.
const STEPS: [(&str, &str); 6] = [
    BEFORE[0],
    ("stop-sync", "the sync service does not stop in time"),
    BEFORE[2],
    AFTER[0],
    AFTER[1],
    AFTER[2],
];

fn main() -> ExitCode {
    let recorded =
        |name: &str, what: &str, word: &str| every(name).observed(what).always_reads(word);
    Experiment::new(file!())
        .question("What does a logout leave behind when it gives up?")
        .hypothesis(
            "The published machine leaves nothing behind if a step fails before the point of no return, \
             and leaves its mark and a stopped sync service if the user cancels. The version before \
             leaves the sync service stopped wherever it returns. The kit leaves neither, anywhere.",
        )
        .first_expected(
            "The write-up leaves the mark that it is in progress, after every early return. (Of the code \
             that it shows, without that which the app publishes: its error handler clears the mark.)",
        )
        .variants([
            control("published/nothing", published).about("nothing fails"),
            control("published/token-unknown", published)
                .about("the server has forgotten the token: that counts as logged out"),
        ])
        .variants(BEFORE.map(|(step, about)| control(format!("published/{step}"), published).about(about)))
        .variants([
            hazard("published/cancelled", Failed, published)
                .about("a cancel while the sync service is stopped, before the server is asked")
                .waits(),
            hazard("published/cancelled-in-flight", Failed, published)
                .about("a cancel while the server's answer is awaited"),
            hazard("first-version/server", Failed, first_version)
                .about("the version before the state machine; the server refuses")
                .waits(),
        ])
        .variants(AFTER.map(|(step, about)| {
            hazard(format!("published/after/{step}"), Failed, published)
                .about(format!("{about}; after the point of no return the mark stays, on purpose"))
        }))
        .variants(STEPS.map(|(step, about)| {
            cure(format!("kit/{step}"), kit).about(format!("the driver; {about}")).waits()
        }))
        .each(|variant| variant.trials(TRIALS))
        .claim(
            "B6",
            "An invalidated token counts as logged out; before the point of no return a failure is undone, \
             and the user can try again.",
        )
        .supported_if(
            every("published/token-unknown").is(Clean)
                & every("published/server").is(Clean)
                & every("published/server-silent").is(Clean)
                & recorded("published/server", "syncing", "true")
                & recorded("published/server", "again", "Completed"),
        )
        .refuted_if(
            !every("published/token-unknown").is(Clean)
                | recorded("published/server", "syncing", "false")
                | !every("published/server").is(Clean),
        )
        .finding(
            "B9",
            "A cancel that comes in time leaves the published machine's mark set and the sync service \
             stopped, and the user is told nothing.",
        )
        .supported_if(
            recorded("published/cancelled", "in_progress", "true")
                & recorded("published/cancelled", "syncing", "false")
                & recorded("published/cancelled", "told", "Nothing"),
        )
        .refuted_if(
            recorded("published/cancelled", "in_progress", "false")
                | recorded("published/cancelled", "syncing", "true"),
        )
        .claim("A14", "Each step that fails ends the logout with an error, and the user is told.")
        .supported_if(each_failure_is_told())
        .refuted_if(!each_failure_is_told())
        .claim("B16", "A failure after the point of no return stays: the published machine undoes nothing.")
        .supported_if(
            recorded("published/after/*", "in_progress", "true")
                & recorded("published/after/*", "told", "Failure"),
        )
        .refuted_if(recorded("published/after/*", "in_progress", "false"))
        .finding(
            "B9b",
            "The version before the machine leaves the sync service stopped when the server refuses.",
        )
        .supported_if(recorded("first-version/server", "syncing", "false"))
        .refuted_if(recorded("first-version/server", "syncing", "true"))
        .kit_claim("Whichever step fails, the mark goes with the run, and a user who is still logged in syncs.")
        .run()
}

/// Whichever step of the published machine fails, the logout ends with an error, and the user is told.
fn each_failure_is_told() -> Condition {
    let is_told = |variant| {
        every(variant).observed("ended").never_reads("Completed")
            & every(variant).observed("told").never_reads("Nothing")
            & every(variant).observed("told").never_reads("Success")
    };
    is_told("published/pre-check")
        & is_told("published/stop-sync")
        & is_told("published/server*")
        & is_told("published/after/*")
}

/// The published machine, with one fault.
fn published(scene: &Scene<'_>) -> TrialResult {
    let (setting, failing) = (Setting::start(scene.directory(), |_| {})?, scene.case());
    let tokio_runtime = Global::new(Some(runtime()?));
    let handle = tokio_runtime.with(|it| it.as_ref().map(|it| it.handle().clone()));
    let handle = handle.ok_or("there is no runtime")?;
    let logged_in = failing != "pre-check";
    if logged_in {
        handle.block_on(setting.log_in())?;
    }
    let token = if logged_in { token(&setting.app)? } else { String::new() };
    disturb(&setting.server, &setting.app, failing);
    if failing == "token-unknown" {
        setting.server.forget_token(&token);
    }
    let cancels_in = match failing {
        "cancelled" => Some(State::StoppingSyncService),
        "cancelled-in-flight" => Some(State::LoggingOutFromServer),
        _ => None,
    };
    let on_entry = |state: State, flags: &Flags| {
        if Some(state) == cancels_in {
            flags.request_cancellation();
        }
        if failing == "stop-sync" && state == State::StoppingSyncService {
            drop(setting.app.globals().sync_service.take());
        }
    };
    let logout = || {
        let mut logout = Logout::new(&setting.app, &tokio_runtime);
        logout.on_entry = &on_entry;
        logout.is_desktop = failing == "tabs";
        logout.no_runtime = failing == "runtime";
        if failing == "server-silent" {
            logout.limit = BRIEF;
        }
        logout
    };
    let run = logout();
    let ended = handle.block_on(run.execute());
    let succeeds = matches!(failing, "nothing" | "token-unknown");
    scene.check("it fails where a step does", ended.is_ok() == succeeds);
    scene.record("ended", ended.map_or_else(|error| name_of(&error), |()| "Completed".to_owned()));
    scene.record("told", format!("{:?}", run.told.get()));
    // A sync that comes is worth waiting for. Without a service none can come, whatever the machine does.
    let limit = if cancels_in.is_some() { A_SECOND } else { PLENTY };
    let token = if failing == "stop-sync" { String::new() } else { token };
    judge(scene, &setting.server, &token, run.is_in_progress(), limit);
    if failing == "server" {
        // The user tries again, and the server does not refuse any more.
        let again = handle.block_on(logout().execute());
        scene.record(
            "again",
            again.map_or_else(|error| name_of(&error), |()| "Completed".to_owned()),
        );
        scene.check("another logout completes", !setting.server.is_alive(&token));
    }
    setting.server.heal();
    // What is left ends in the context of some runtime.
    runtime()?.block_on(setting.end())
}

/// `ServerLogoutFailed`, without what the server said.
fn name_of(error: &LogoutError) -> String {
    error.to_string().split('(').next().unwrap_or_default().to_owned()
}

/// The version before, up to its first return.
fn first_version(scene: &Scene<'_>) -> TrialResult {
    let setting = Setting::start(scene.directory(), |_| {})?;
    let runtime = runtime()?;
    runtime.block_on(setting.log_in())?;
    let token = token(&setting.app)?;
    disturb(&setting.server, &setting.app, scene.case());
    let refused = runtime.block_on(async {
        let service = setting.app.globals().sync_service.get().ok_or("no sync service")?;
        service.stop().await;
        let client = setting.app.globals().client.get().ok_or("no client")?;
        Ok::<_, Box<dyn Error>>(client.matrix_auth().logout().await.is_err())
    })?;
    scene.check("the server refuses", refused);
    judge(scene, &setting.server, &token, false, A_SECOND);
    runtime.block_on(setting.end())
}

/// What the server and the user interface do wrong. The other steps fail by themselves.
fn disturb(server: &Homeserver, app: &App, failing: &str) {
    match failing {
        "server" => server.fail_next(Endpoint::Logout, Fault::code(ErrorCode::LimitExceeded)),
        "server-silent" => server.fail_next(Endpoint::Logout, Fault::never()),
        "tabs" => app.ui().fail_next(Confirmed::CloseAllTabs, UiFault::Abandoned),
        "app-state" => app.ui().fail_next(Confirmed::CleanAppState, UiFault::Abandoned),
        _ => {}
    }
}

/// Locks the database that the sync service writes to, lets something happen, and returns when the
/// service is writing it: when it holds a connection, and waits for the lock.
fn lock_the_writing_sync(server: &Homeserver, client: &Client) -> TrialResult<Connection> {
    let store = &client.store().event_cache;
    let lock = Connection::open(store.database())?;
    lock.busy_timeout(PLENTY)?;
    lock.execute_batch("BEGIN EXCLUSIVE")?;
    server.say(ROOMS[0], "other", "to be written");
    loop {
        let connections = store.connections();
        if connections.idle < connections.open {
            return Ok(lock);
        }
        thread::yield_now();
    }
}

/// Looks at what is left.
fn judge(scene: &Scene<'_>, server: &Homeserver, token: &str, in_progress: bool, limit: Duration) {
    scene.record("in_progress", in_progress);
    scene.check("the mark is gone", !in_progress);
    if server.is_alive(token) {
        let syncing = syncs(server, limit);
        scene.record("syncing", syncing);
        scene.check("a user who is logged in syncs", syncing);
    }
}

fn kit(scene: &Scene<'_>) -> TrialResult {
    let (app, failing) = (LoggedIn::start(scene.directory())?, scene.case());
    disturb(&app.server, app.app.app(), failing);
    let lock = Arc::new(Mutex::new(None));
    let steps = Steps::of(Arc::clone(&app.app), {
        let (server, managed, lock) =
            (Arc::clone(&app.server), Arc::clone(&app.app), Arc::clone(&lock));
        let failing = failing.to_owned();
        move |state| match (&*failing, state) {
            ("pre-check", transition::State::PreChecking) => {
                Err("there is nobody to log out".into())
            }
            ("runtime", transition::State::RestartingRuntime) => {
                Err("there is no thread for a runtime".into())
            }
            ("stop-sync", transition::State::StoppingSyncService) => {
                let client = managed.app().globals().client.get().ok_or("there is no client")?;
                let locked = lock_the_writing_sync(&server, &client);
                let locked = locked.map_err(|error| error.to_string())?;
                *lock.lock().map_err(|_| "the lock is lost")? = Some(locked);
                Ok(())
            }
            _ => Ok(()),
        }
    });
    let sync = if failing == "stop-sync" { BRIEF } else { PLENTY };
    let driver = Driver::new(steps, LogoutConfig { sync, ..app.app.logout_config() });
    let ended = block_on(driver.run());
    drop(lock.lock().map(|mut lock| lock.take()));

    let committed = !app.server.is_alive(&app.token);
    let finished = ended.as_ref().is_ok_and(|report| report.warnings.is_empty());
    scene.check("it says what failed", !finished);
    scene.record("ended", ended.map_or_else(|error| error.to_string(), |_| "completed".to_owned()));
    judge(scene, &app.server, &app.token, driver.is_running(), PLENTY);
    let after = matches!(failing, "tabs" | "app-state" | "runtime");
    scene.check("it ended where the step is", committed == after);
    drop(driver);
    app.end()
}
