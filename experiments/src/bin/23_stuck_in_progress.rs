//! # 23 · stuck in progress
//!
//! The write-up of Robrix's logout shows its `execute` in full. It sets `LOGOUT_IN_PROGRESS` when it
//! begins and clears it when it succeeds. Between the two it returns early in six places, and before
//! the state machine there was a version with more of them, which stopped the sync service first. What
//! is left behind by each of them (claim B9)?
//!
//! `execute` is *reconstructed* here from the code as shown, over a real client, sync service, server
//! and user interface; what it calls and the write-up does not show (`handle_error`, for one) does
//! nothing. Each variant makes one step fail:
//!
//! - **`execute/pre-check`**: there is nobody to log out.
//! - **`execute/stop-sync`**: the sync service does not stop in time. Another connection has locked the
//!   database that it is writing to, and lets go a little later.
//! - **`execute/server`**: the server refuses. This is the one return that restarts the sync service.
//! - **`execute/tabs`**, **`execute/app-state`**: the user interface does not confirm.
//! - **`execute/runtime`**: no runtime can be started.
//! - **`first-version/server`**: the version before the state machine, and a server that refuses. It
//!   has no mark.
//!
//! A trial fails where the mark is left set when `execute` has returned, or where the user is still
//! logged in and the sync service does not run. Whether it does is seen by the server: something
//! happens, and is asked for or is not. The control is an `execute` in which nothing fails. The cures
//! (`kit/…`) are the driver with the same faults.

use std::{
    cell::Cell,
    error::Error,
    process::ExitCode,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use experiments::{
    runtime,
    setting::{LoggedIn, PLENTY, ROOMS, Setting, homeserver, syncs},
    steps::Steps,
};
use futures::executor::block_on;
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    Trial, TrialResult, always, control, cure, every, hazard,
};
use mock_sdk::{
    app::{App, action::Confirmed, ui::UiFault},
    client::Client,
    homeserver::{Endpoint, Fault, Homeserver},
    matrix_error::ErrorCode,
    store::rusqlite::Connection,
};
use state_machine::{config::LogoutConfig, driver::Driver, transition::State};
use tokio::runtime::Runtime;

/// How long a sync is waited for that, as a rule, does not come.
const A_SECOND: Duration = Duration::from_secs(1);

/// How long a sync service may take to stop that does not.
const BRIEF: Duration = Duration::from_millis(100);

/// How often each step fails: in the same way each time. And what does not happen is waited for.
const TRIALS: u32 = 10;

/// The step that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failing {
    Nothing,
    PreCheck,
    StopSync,
    Server,
    Tabs,
    AppState,
    Runtime,
}

fn main() -> ExitCode {
    let mut experiment = Experiment::new(env!("CARGO_BIN_NAME"))
        .question("What does a logout leave behind when it gives up?")
        .hypothesis(
            "In the write-up, the mark that it is in progress, after every early return, and a sync \
             service that it had stopped, where stopping it is what failed; in the version before, \
             the stopped sync service wherever it returns. In the kit, neither, anywhere.",
        )
        .variant(
            control("execute/nothing", always(Clean), |trial| execute(trial, Failing::Nothing))
                .about("nothing fails")
            .trials(TRIALS),
        )
        .variant(
            hazard("first-version/server", always(Failed), first_version)
                .about("the version before the state machine; the server refuses")
            .trials(TRIALS)
            .waits(),
        );
    for (name, failing, about) in [
        ("pre-check", Failing::PreCheck, "there is nobody to log out"),
        ("stop-sync", Failing::StopSync, "the sync service does not stop in time"),
        ("server", Failing::Server, "the server refuses"),
        ("tabs", Failing::Tabs, "the user interface does not close its tabs"),
        ("app-state", Failing::AppState, "the user interface does not let go"),
        ("runtime", Failing::Runtime, "no runtime can be started"),
    ] {
        experiment = experiment
            .variant(
                hazard(format!("execute/{name}"), always(Failed), move |trial| {
                    execute(trial, failing)
                })
                .about(about)
                .trials(TRIALS)
                .waits(),
            )
            .variant(
                cure(format!("kit/{name}"), always(Clean), move |trial| kit(trial, failing))
                    .about(format!("the driver; {about}"))
                    .trials(TRIALS)
                    .waits(),
            );
    }
    experiment
        .claim(
            "B9",
            "On an early return the code shown leaves the in-progress mark set and the sync service \
             stopped.",
        )
        .supported_if(
            every("execute/pre-check").observed("in_progress").always_reads("true")
                & every("execute/stop-sync").observed("in_progress").always_reads("true")
                & every("execute/server").observed("in_progress").always_reads("true")
                & every("execute/tabs").observed("in_progress").always_reads("true")
                & every("execute/app-state").observed("in_progress").always_reads("true")
                & every("execute/runtime").observed("in_progress").always_reads("true")
                & every("execute/stop-sync").observed("syncing").always_reads("false")
                & every("first-version/server").observed("syncing").always_reads("false"),
        )
        .refuted_if(
            every("execute/*").observed("in_progress").always_reads("false")
                | every("execute/stop-sync").observed("syncing").always_reads("true"),
        )
        .kit_claim("Whichever step fails, the mark goes with the run, and who is still logged in syncs.")
        .run()
}

/// The application of the write-up, as far as `execute` reaches into it.
struct Shown<'a> {
    setting: &'a Setting,
    runtime: Mutex<Option<Runtime>>,
    failing: Failing,
    /// `LOGOUT_IN_PROGRESS`
    in_progress: Cell<bool>,
}

type Step = Result<(), Box<dyn Error>>;

impl Shown<'_> {
    /// As it is shown, without what it tells the user on the way.
    async fn execute(&self) -> Step {
        self.in_progress.set(true);

        self.perform_prechecks()?;
        self.stop_sync_service().await?;
        match self.perform_server_logout().await {
            Ok(()) => {
                let _ = self.setting.app.files().delete_latest_user_id();
            }
            Err(error) => {
                if let Some(service) = self.setting.app.globals().sync_service.get() {
                    service.start()?;
                }
                return Err(error);
            }
        }
        self.close_all_tabs().await?;
        self.clean_app_state().await?;
        self.shut_down_background_tasks();
        self.restart_runtime()?;

        self.in_progress.set(false);
        Ok(())
    }

    fn client(&self) -> Result<Client, Box<dyn Error>> {
        let client = self.setting.app.globals().client.get().ok_or("there is no client")?;
        Ok(Client::clone(&client))
    }

    fn perform_prechecks(&self) -> Step {
        match self.failing {
            Failing::PreCheck => Err("there is nobody to log out".into()),
            _ => self.client()?.matrix_auth().logged_in().then_some(()).ok_or("logged out".into()),
        }
    }

    async fn stop_sync_service(&self) -> Step {
        let service = self.setting.app.globals().sync_service.get().ok_or("no sync service")?;
        if self.failing != Failing::StopSync {
            service.stop().await;
            return Ok(());
        }
        let client = self.client()?;
        let lock = lock_the_writing_sync(&self.setting.server, &client)?;
        let stopped = tokio::time::timeout(BRIEF, service.stop()).await;
        drop(lock);
        Ok(stopped.map_err(|_| "the sync service does not stop")?)
    }

    async fn perform_server_logout(&self) -> Step {
        Ok(self.client()?.matrix_auth().logout().await?)
    }

    async fn close_all_tabs(&self) -> Step {
        Ok(self.setting.app.ui().close_all_tabs().await?)
    }

    async fn clean_app_state(&self) -> Step {
        let globals = self.setting.app.globals();
        globals.client.take();
        globals.sync_service.take();
        self.setting.app.expect_worker_end();
        globals.request_sender.take();
        globals.all_joined_rooms.take();
        Ok(self.setting.app.ui().clean_app_state().await?)
    }

    fn shut_down_background_tasks(&self) {
        let runtime = self.runtime.lock().ok().and_then(|mut runtime| runtime.take());
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }

    fn restart_runtime(&self) -> Step {
        if self.failing == Failing::Runtime {
            return Err("there is no thread for a runtime".into());
        }
        let next = runtime()?;
        if let Ok(mut runtime) = self.runtime.lock() {
            *runtime = Some(next);
        }
        Ok(())
    }

    /// The version before, up to the return that is looked at.
    async fn first_version(&self) -> Step {
        self.perform_prechecks()?;
        self.stop_sync_service().await?;
        self.perform_server_logout().await
    }
}

fn execute(trial: &Trial<'_>, failing: Failing) -> TrialResult {
    shown(trial, failing, |shown| block_on_runtime(async { shown.execute().await }))
}

fn first_version(trial: &Trial<'_>) -> TrialResult {
    shown(trial, Failing::Server, |shown| block_on_runtime(async { shown.first_version().await }))
}

/// On a runtime of its own: one that is shut down cannot drive its own shutdown here.
fn block_on_runtime(logout: impl Future<Output = Step>) -> Step {
    let driving = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    driving.block_on(logout)
}

fn shown(
    trial: &Trial<'_>,
    failing: Failing,
    log_out: impl FnOnce(&Shown<'_>) -> Step,
) -> TrialResult {
    let setting = Setting::start(trial.directory(), |_| {})?;
    let runtime = runtime()?;
    let token = runtime.block_on(async {
        setting.log_in().await?;
        let client = setting.app.globals().client.get().ok_or("there is no client")?;
        Ok::<_, Box<dyn Error>>(client.access_token().ok_or("there is no token")?)
    })?;
    disturb(&setting.server, &setting.app, failing);
    let shown = Shown {
        setting: &setting,
        runtime: Mutex::new(Some(runtime)),
        failing,
        in_progress: Cell::new(false),
    };
    let ended = log_out(&shown);
    trial.check("it fails where a step does", ended.is_err() == (failing != Failing::Nothing));
    judge(trial, &setting.server, &token, shown.in_progress.get(), A_SECOND);
    drop(shown);
    // In some runtime's context, as far as there is anything left.
    experiments::runtime()?.block_on(setting.end())
}

/// What the server and the user interface do wrong. The rest is for the step itself.
fn disturb(server: &Homeserver, app: &App, failing: Failing) {
    match failing {
        Failing::Server => {
            server.fail_next(Endpoint::Logout, Fault::code(ErrorCode::LimitExceeded));
        }
        Failing::Tabs => app.ui().fail_next(Confirmed::CloseAllTabs, UiFault::Abandoned),
        Failing::AppState => app.ui().fail_next(Confirmed::CleanAppState, UiFault::Abandoned),
        _ => {}
    }
}

/// Locks the database that the sync service writes to, has something happen, and returns when it is
/// writing that: it holds a connection, and waits for the lock.
fn lock_the_writing_sync(
    server: &Homeserver,
    client: &Client,
) -> Result<Connection, Box<dyn Error>> {
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
fn judge(trial: &Trial<'_>, server: &Homeserver, token: &str, in_progress: bool, limit: Duration) {
    trial.record("in_progress", in_progress);
    trial.check("the mark is gone", !in_progress);
    if server.is_alive(token) {
        let syncing = syncs(server, limit);
        trial.record("syncing", syncing);
        trial.check("who is logged in syncs", syncing);
    }
}

fn kit(trial: &Trial<'_>, failing: Failing) -> TrialResult {
    let app = LoggedIn::start(&Arc::new(homeserver()?), trial.directory())?;
    disturb(&app.server, app.app.app(), failing);
    let lock = Arc::new(Mutex::new(None));
    let steps = Steps::of(Arc::clone(&app.app), {
        let (server, managed, lock) =
            (Arc::clone(&app.server), Arc::clone(&app.app), Arc::clone(&lock));
        move |state| match (failing, state) {
            (Failing::PreCheck, State::PreChecking) => Err("there is nobody to log out".into()),
            (Failing::Runtime, State::RestartingRuntime) => {
                Err("there is no thread for a runtime".into())
            }
            (Failing::StopSync, State::StoppingSyncService) => {
                let client = managed.app().globals().client.get().ok_or("there is no client")?;
                let locked = lock_the_writing_sync(&server, &client);
                let locked = locked.map_err(|error| error.to_string())?;
                *lock.lock().map_err(|_| "the lock is lost")? = Some(locked);
                Ok(())
            }
            _ => Ok(()),
        }
    });
    let sync = if failing == Failing::StopSync { BRIEF } else { PLENTY };
    let driver = Driver::new(steps, LogoutConfig { sync, ..app.app.logout_config() });
    let ended = block_on(driver.run());
    drop(lock.lock().map(|mut lock| lock.take()));

    let committed = !app.server.is_alive(&app.token);
    let finished = ended.as_ref().is_ok_and(|report| report.warnings.is_empty());
    trial.check("it says what failed", !finished);
    trial.record("ended", ended.map_or_else(|error| error.to_string(), |_| "completed".to_owned()));
    judge(trial, &app.server, &app.token, driver.is_running(), PLENTY);
    let after = matches!(failing, Failing::Tabs | Failing::AppState | Failing::Runtime);
    trial.check("it ended where the step is", committed == after);
    drop(driver);
    app.end()
}
