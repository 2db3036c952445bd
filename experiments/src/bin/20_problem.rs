//! # 20 · problem
//!
//! The logout that panicked, whole. The write-up of Robrix's logout (project-robius/robrix, pull
//! request 432) gives six steps (claim B1):
//!
//! 1. open several rooms on the desktop;
//! 2. switch to the phone;
//! 3. log out there;
//! 4. enlarge the window to the desktop again;
//! 5. log in again;
//! 6. panic.
//!
//! This is an application with these rooms and tabs, on a real SQLite pool and with a real server. It
//! logs out as that application did: [`log_out_naively`] is its sequence, in its order. Nothing in it
//! is made worse than it was. The user interface is the main thread.
//!
//! What is the matter? On the desktop the tabs have rooms, and each room holds the client. On the
//! phone nobody closes tabs. The client is taken out of its global, and lives on in them; its runtime
//! goes. The next login lays the tabs out anew. It is the *user interface's* thread that drops the
//! old ones, and with them the client; and on that thread there is no runtime.
//!
//! Beside it, with one thing changed each:
//!
//! - `on-desktop`: logged out on the desktop, where the tabs are closed. The cache of rooms is not;
//! - `no-rooms`: nothing was opened, so that nobody else holds the client;
//! - `in-context`: the main thread has entered a runtime, the new one;
//! - `runtime-kept`: the runtime is not shut down. Then tasks of the client's own hold it for ever:
//!   no panic, and nothing is closed.

use std::{
    error::Error,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use experiments::{
    control, hazard, runtime,
    story::{Failure, LeftOver, User, act, config, server, soon},
};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean},
    Trial, TrialResult, every,
};
use mock_sdk::{
    app::{App, action::Action, ui::Shown},
    homeserver::Homeserver,
    store::Generation,
};
use tokio::runtime::Runtime;

/// How often each is tried: it is always the same, and takes a while.
const TRIALS: u32 = 10;

/// What is done otherwise than in the six steps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Change {
    on_desktop: bool,
    no_rooms: bool,
    in_context: bool,
    runtime_kept: bool,
}

impl Change {
    /// No room is opened.
    pub(crate) const NO_ROOMS: Self =
        Self { on_desktop: false, no_rooms: true, in_context: false, runtime_kept: false };
}

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Why does logging in again panic?")
        .hypothesis(
            "Because the user interface is the last to hold the old client, and drops it at the \
             next login on a thread without runtime context. Where nobody but the globals holds \
             it, or the thread is in a context, nothing happens.",
        )
        .variants([
            hazard("*/six-steps", Aborted, |scene| {
                six_steps(scene, scene.generation, Change::default())
            })
            .about("rooms on the desktop, logout on the phone, login on the desktop")
            .trials(TRIALS),
            hazard("*/on-desktop", Aborted, |scene| {
                six_steps(scene, scene.generation, Change { on_desktop: true, ..Change::default() })
            })
            .about("logout on the desktop, where the tabs are closed, and the cache is not")
            .trials(TRIALS),
            control("*/no-rooms", |scene| six_steps(scene, scene.generation, Change::NO_ROOMS))
                .about("no room was opened")
                .trials(TRIALS),
            control("*/in-context", |scene| {
                six_steps(scene, scene.generation, Change { in_context: true, ..Change::default() })
            })
            .about("the user interface's thread is in the context of a runtime")
            .trials(TRIALS),
            control("*/runtime-kept", |scene| {
                six_steps(
                    scene,
                    scene.generation,
                    Change { runtime_kept: true, ..Change::default() },
                )
            })
            .about("the runtime is not shut down, and the old client stays in its own tasks")
            .trials(TRIALS),
        ])
        .tells("old/six-steps")
        .claim("B1", "The six steps (desktop with rooms, phone, log out, desktop, log in) panic.")
        .supported_if(every("*/six-steps").is(Aborted))
        .refuted_if(every("*/six-steps").is(Clean))
        .run()
}

/// The runtime of the application, as it has it: where everybody reaches it.
type TokioRuntime = Mutex<Option<Runtime>>;

pub(crate) fn six_steps(trial: &Trial<'_>, generation: Generation, change: Change) -> TrialResult {
    let server = server().map_err(|failure| failure as Box<dyn Error>)?;
    let (app, event_loop) = App::new(config(trial, &server, generation));
    let tokio_runtime = Mutex::new(None);
    start_matrix_tokio(&app, &tokio_runtime).map_err(|failure| failure as Box<dyn Error>)?;
    let spare = runtime()?;
    let context = change.in_context.then(|| spare.enter());
    act(&app, event_loop, || steps(trial, &server, &app, &tokio_runtime, change))?;
    drop(context);
    // What is left belongs to the second login, and is no part of the story.
    let again = take(&tokio_runtime);
    let _context = again.as_ref().map(Runtime::enter);
    drop((app.globals().all_joined_rooms.take(), app.globals().sync_service.take()));
    drop(app.globals().client.take());
    Ok(())
}

fn steps(
    trial: &Trial<'_>,
    server: &Homeserver,
    app: &App,
    tokio_runtime: &TokioRuntime,
    change: Change,
) -> Result<(), Failure> {
    let mut user = User::new(server, app);
    log_in(&user, app, tokio_runtime)?;
    if !change.no_rooms {
        user.open_rooms()?;
    }
    if !change.on_desktop {
        user.switch_to_phone()?;
    }
    log_out_naively(&user, app, tokio_runtime, change)?;
    if !change.on_desktop {
        user.switch_to_desktop()?;
    }
    user.say("logging in again");
    log_in(&user, app, tokio_runtime)?;
    let shown = |shown: &Shown| matches!(shown, Shown::Rooms { .. });
    // The old tabs are dropped where this is drawn.
    user.screen("the rooms", |screen| shown(&screen.shown) && screen.cached_rooms == 0)?;
    user.say("nothing happened");
    let old = app.files().stores_path("0001");
    let files = sundown::evidence::open_files(&old)?.len();
    trial.record("old_files_open", files);
    user.say(&format!("{files} files of the old client are open"));
    Ok(())
}

fn log_in(user: &User<'_>, app: &App, tokio_runtime: &TokioRuntime) -> Result<(), Failure> {
    let before = user.syncs();
    // On the runtime, as the application's request worker does it.
    let login = {
        let app = app.clone();
        let handle = {
            let runtime = tokio_runtime.lock().unwrap_or_else(PoisonError::into_inner);
            runtime.as_ref().ok_or("there is no runtime")?.handle().clone()
        };
        handle.spawn(async move { app.log_in("me", "secret").await })
    };
    soon("the login", login)???;
    user.synced_since(before)?;
    user.say("logged in");
    Ok(())
}

fn start_matrix_tokio(app: &App, tokio_runtime: &TokioRuntime) -> Result<(), Failure> {
    let started = runtime()?;
    app.start_worker(started.handle());
    let mut there = tokio_runtime.lock().unwrap_or_else(PoisonError::into_inner);
    *there = Some(started);
    Ok(())
}

fn take(tokio_runtime: &TokioRuntime) -> Option<Runtime> {
    tokio_runtime.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// The sequence of the write-up, in its order: the asynchronous part on the runtime, and then, from
/// there on where nothing is awaited, on this thread, which is not one of the interface's either.
fn log_out_naively(
    user: &User<'_>,
    app: &App,
    tokio_runtime: &TokioRuntime,
    change: Change,
) -> Result<(), Failure> {
    let globals = app.globals();
    user.say("10 %  starting the logout");
    let client = globals.client.get().ok_or("no active client found")?;
    if !client.matrix_auth().logged_in() {
        return Err("the client is not logged in".into());
    }
    let handle = client.runtime().clone();
    let context = handle.enter();

    user.say("20 %  stopping the sync service");
    let service = globals.sync_service.get().ok_or("there is no sync service")?;
    handle.block_on(service.stop());
    drop(service);

    user.say("30 %  logging out from the server");
    let answer = handle
        .block_on(async { tokio::time::timeout(SERVER, client.matrix_auth().logout()).await });
    answer.map_err(|_| "the server did not answer within 5 seconds")??;
    drop(client);

    user.say("50 %  cleaning up client state and caches");
    drop(globals.client.take());
    drop(globals.sync_service.take());
    globals.tombstoned_rooms.take();
    globals.ignored_users.take();
    // It closes the channel. The monitor reports the worker's end as unexpected, and is expected to.
    globals.request_sender.take();

    if change.on_desktop {
        user.say("60 %  closing all tabs");
        handle.block_on(app.ui().close_all_tabs())?;
    }

    user.say("70 %  deleting the latest user id");
    app.files().delete_latest_user_id()?;

    let descriptors = LeftOver::look(app)?.descriptors;
    if change.runtime_kept {
        user.say("80 %  keeping the runtime");
    } else {
        user.say(&format!("80 %  shutting the runtime down; {descriptors} files are open"));
        let before = take(tokio_runtime);
        drop(context);
        if let Some(existing) = before {
            existing.shutdown_background();
        }
        user.say("90 %  starting it again");
        start_matrix_tokio(app, tokio_runtime)?;
    }
    app.ui().post(Action::LogoutSuccess)?;
    user.say("100 % logged out");
    Ok(())
}

/// How long the server may take, as in the write-up.
const SERVER: Duration = Duration::from_secs(5);
