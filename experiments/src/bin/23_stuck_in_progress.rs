//! 23 stuck in progress: what does a logout leave behind when it gives up? The write-up's `execute`
//! leaves its mark set, whichever step fails, and the sync service stopped if stopping it is what
//! failed. The version before leaves it stopped wherever it returns. The driver leaves neither. Page:
//! `docs/src/23-stuck-in-progress.md`.

use std::sync::Mutex;

use experiments::{
    prelude::*,
    setting::{LoggedIn, ROOMS, Setting, syncs, token},
    steps::Steps,
};
use mock_sdk::{
    app::{App, action::Confirmed, ui::UiFault},
    client::Client,
    homeserver::{Endpoint, Fault, Homeserver},
    matrix_error::ErrorCode,
    store::rusqlite::Connection,
};
use state_machine::{config::LogoutConfig, driver::Driver, transition::State};
use tokio::{runtime::Builder, time::timeout};

/// How long to wait for a sync that, as a rule, does not come.
const A_SECOND: Duration = Duration::from_secs(1);

/// The limit for a sync service that does not stop.
const BRIEF: Duration = Duration::from_millis(100);

/// A step fails in the same way each time, and what does not happen is waited for.
const TRIALS: u32 = 10;

/// The steps that can fail, and how.
const STEPS: [(&str, &str); 6] = [
    ("pre-check", "there is nobody to log out"),
    ("stop-sync", "the sync service does not stop in time"),
    ("server", "the server refuses"),
    ("tabs", "the user interface does not close its tabs"),
    ("app-state", "the user interface does not let go"),
    ("runtime", "no runtime can be started"),
];

fn main() -> ExitCode {
    let marked = |name: &str| every(name).observed("in_progress").always_reads("true");
    Experiment::new(file!())
        .question("What does a logout leave behind when it gives up?")
        .hypothesis(
            "The write-up leaves the mark that it is in progress, after every early return, and a \
             stopped sync service, if stopping it is what failed. The version before leaves the \
             sync service stopped wherever it returns. The kit leaves neither, anywhere.",
        )
        .variants([
            control("execute/nothing", execute)
                .about("nothing fails"),
            hazard("first-version/server", Failed, first_version)
                .about("the version before the state machine; the server refuses")
                .waits(),
        ])
        .variants(STEPS.into_iter().flat_map(|(step, about)| {
            [
                hazard(format!("execute/{step}"), Failed, execute).about(about).waits(),
                cure(format!("kit/{step}"), kit).about(format!("the driver; {about}")).waits(),
            ]
        }))
        .each(|variant| variant.trials(TRIALS))
        .claim(
            "B9",
            "On an early return the code shown leaves the in-progress mark set and the sync service \
             stopped.",
        )
        .supported_if(
            marked("execute/pre-check")
                & marked("execute/stop-sync")
                & marked("execute/server")
                & marked("execute/tabs")
                & marked("execute/app-state")
                & marked("execute/runtime")
                & every("execute/stop-sync").observed("syncing").always_reads("false")
                & every("first-version/server").observed("syncing").always_reads("false"),
        )
        .refuted_if(
            every("execute/*").observed("in_progress").always_reads("false")
                | every("execute/stop-sync").observed("syncing").always_reads("true"),
        )
        .kit_claim("Whichever step fails, the mark goes with the run, and a user who is still logged in syncs.")
        .run()
}

/// The application of the write-up, as far as `execute` reaches into it.
struct Shown<'a> {
    setting: &'a Setting,
    runtime: Option<Runtime>,
    /// The step that fails, if one does.
    failing: &'a str,
    /// `LOGOUT_IN_PROGRESS`
    in_progress: bool,
}

impl Shown<'_> {
    /// As the write-up shows it, without what it tells the user on the way.
    async fn execute(&mut self) -> TrialResult {
        let app = &self.setting.app;
        let globals = app.globals();
        self.in_progress = true;

        self.perform_prechecks()?;
        self.stop_sync_service().await?;
        match self.perform_server_logout().await {
            Ok(()) => {
                let _ = app.files().delete_latest_user_id();
            }
            Err(error) => {
                if let Some(service) = globals.sync_service.get() {
                    service.start()?;
                }
                return Err(error);
            }
        }
        app.ui().close_all_tabs().await?;
        globals.client.take();
        globals.sync_service.take();
        app.expect_worker_end();
        globals.request_sender.take();
        globals.all_joined_rooms.take();
        app.ui().clean_app_state().await?;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        if self.failing == "runtime" {
            return Err("there is no thread for a runtime".into());
        }
        self.runtime = Some(runtime()?);

        self.in_progress = false;
        Ok(())
    }

    /// The version before, up to its first return.
    async fn first_version(&mut self) -> TrialResult {
        self.perform_prechecks()?;
        self.stop_sync_service().await?;
        self.perform_server_logout().await
    }

    fn client(&self) -> TrialResult<Client> {
        let client = self.setting.app.globals().client.get().ok_or("there is no client")?;
        Ok(Client::clone(&client))
    }

    fn perform_prechecks(&self) -> TrialResult {
        match self.failing {
            "pre-check" => Err("there is nobody to log out".into()),
            _ => self.client()?.matrix_auth().logged_in().then_some(()).ok_or("logged out".into()),
        }
    }

    async fn stop_sync_service(&self) -> TrialResult {
        let service = self.setting.app.globals().sync_service.get().ok_or("no sync service")?;
        if self.failing != "stop-sync" {
            service.stop().await;
            return Ok(());
        }
        let lock = lock_the_writing_sync(&self.setting.server, &self.client()?)?;
        let stopped = timeout(BRIEF, service.stop()).await;
        drop(lock);
        Ok(stopped.map_err(|_| "the sync service does not stop")?)
    }

    async fn perform_server_logout(&self) -> TrialResult {
        Ok(self.client()?.matrix_auth().logout().await?)
    }
}

fn execute(scene: &Scene<'_>) -> TrialResult {
    shown(scene, async |shown| shown.execute().await)
}

fn first_version(scene: &Scene<'_>) -> TrialResult {
    shown(scene, async |shown| shown.first_version().await)
}

fn shown(
    scene: &Scene<'_>,
    log_out: impl AsyncFnOnce(&mut Shown<'_>) -> TrialResult,
) -> TrialResult {
    let (setting, failing) = (Setting::start(scene.directory(), |_| {})?, scene.case());
    let runtime = runtime()?;
    runtime.block_on(setting.log_in())?;
    let token = token(&setting.app)?;
    disturb(&setting.server, &setting.app, failing);
    let mut shown =
        Shown { setting: &setting, runtime: Some(runtime), failing, in_progress: false };
    // On a runtime of its own: a logout cannot run on the one that it shuts down.
    let driving = Builder::new_current_thread().enable_all().build()?;
    let ended = driving.block_on(log_out(&mut shown));
    scene.check("it fails where a step does", ended.is_err() == (failing != "nothing"));
    judge(scene, &setting.server, &token, shown.in_progress, A_SECOND);
    drop(shown);
    // What is left ends in the context of some runtime.
    driving.block_on(setting.end())
}

/// What the server and the user interface do wrong. The other steps fail by themselves.
fn disturb(server: &Homeserver, app: &App, failing: &str) {
    match failing {
        "server" => server.fail_next(Endpoint::Logout, Fault::code(ErrorCode::LimitExceeded)),
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
            ("pre-check", State::PreChecking) => Err("there is nobody to log out".into()),
            ("runtime", State::RestartingRuntime) => Err("there is no thread for a runtime".into()),
            ("stop-sync", State::StoppingSyncService) => {
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
