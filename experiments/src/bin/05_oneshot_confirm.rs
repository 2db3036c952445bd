//! # 05 · oneshot confirm
//!
//! The write-up of Robrix's logout (project-robius/robrix, pull request 432) ends with a comparison.
//! `clean_app_state` takes client, sync service and request sender out of their globals, asks the user
//! interface to clean up, and waits for its confirmation. With the last part commented out the panic
//! returns (claim B2), and the explanation is that the confirmation takes time, in which the client's
//! tasks can end (claim A4).
//!
//! Here that function stands as in the write-up, in an application with a user interface on a thread
//! of its own. Its tabs and its thread-local cache hold rooms, and rooms hold the client; so does a
//! task of the client's own, which sends what is queued for as long as its runtime lives. After
//! `clean_app_state` the runtime is shut down, another one is started, and the user logs in again:
//! *then* a user interface that was not asked to lets go of what it holds. What is different is only
//! the way to wait:
//!
//! - **`confirmed`**: as it is in the write-up.
//! - **`commented-out`**: as it is in the comparison.
//! - **`same-time`**: no confirmation, but a wait that is longer than it takes.
//! - **`at-once`**: the confirmation, of a user interface that does not wait for its next frame: the
//!   order, and hardly any time.
//! - **`confirmed-late`**: the confirmation, and so the same time, but after the shutdown.
//! - **`confirmed/alone`**: as it is in the write-up, with a client that has no tasks of its own.
//!
//! If it is the time, `same-time` is clean and `at-once` is not. If it is the order, it is the other
//! way round: what matters is that the user interface, which has no context, is not the last owner.
//! In the last variant it is, in the order of the write-up, and no confirmation helps.
//!
//! The cures (`kit/…`) are the hazards with handles of a session.

use std::{
    error::Error,
    process::ExitCode,
    time::{Duration, Instant},
};

use experiments::{
    Scene, control, cure, hazard, runtime,
    setting::{PLENTY, Setting},
};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean},
    Trial, TrialResult, every,
};
use mock_sdk::{
    app::{App, action::Action, held::Holding},
    store::Generation,
};
use sundown::{evidence::open_files, session::Session};

/// How often the user interface draws, and does what it was told.
const FRAME: Duration = Duration::from_millis(30);

/// Longer than a confirmation takes: that is a frame at most, and the time to clean up.
const SAME_TIME: Duration = Duration::from_millis(90);

/// How often each is tried: it takes a while, and is always the same. (Experiment 13 tries the cures as
/// often as all others.)
const TRIALS: u32 = 10;

/// How `clean_app_state` waits for the user interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    Confirmed,
    Nothing,
    SoLong(Duration),
    ConfirmedLate,
}

/// What is different.
#[derive(Clone, Copy, Debug)]
struct Way {
    wait: Wait,
    frame: Duration,
    /// Whether the client has tasks of its own.
    tasks: bool,
}

const CONFIRMED: Way = Way { wait: Wait::Confirmed, frame: FRAME, tasks: true };
const COMMENTED_OUT: Way = Way { wait: Wait::Nothing, ..CONFIRMED };
const FOR_SO_LONG: Way = Way { wait: Wait::SoLong(SAME_TIME), ..CONFIRMED };
const AT_ONCE: Way = Way { frame: Duration::ZERO, ..CONFIRMED };
const CONFIRMED_LATE: Way = Way { wait: Wait::ConfirmedLate, ..CONFIRMED };
const ALONE: Way = Way { tasks: false, ..CONFIRMED };

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Number 13 takes its cures from here.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("What does the confirmation of the user interface do against the panic?")
        .hypothesis(
            "It has the user interface let go before the client's own task does, which is the last \
             owner then, in context. A wait that takes as long and orders nothing does not prevent \
             the panic; an order that takes no time does.",
        )
        .variants([
            control("*/confirmed", plainly(CONFIRMED))
                .about("clean_app_state as it is in the write-up")
                .trials(TRIALS)
                .waits(),
            hazard("*/commented-out", Aborted, plainly(COMMENTED_OUT))
                .about("the confirmation is commented out, as in its comparison")
                .trials(TRIALS)
                .waits(),
            hazard("*/same-time", Aborted, plainly(FOR_SO_LONG))
                .about("no confirmation, but a wait that is longer")
                .trials(TRIALS)
                .waits(),
            control("*/at-once", plainly(AT_ONCE))
                .about("the confirmation of a user interface that waits for no frame")
                .trials(TRIALS),
            hazard("*/confirmed-late", Aborted, plainly(CONFIRMED_LATE))
                .about("the confirmation, after the shutdown")
                .trials(TRIALS)
                .waits(),
            hazard("*/confirmed/alone", Aborted, plainly(ALONE))
                .about("as in the write-up; the client has no tasks of its own")
                .trials(TRIALS)
                .waits(),
            cure("*/kit/commented-out", guarded(COMMENTED_OUT))
                .about("no confirmation; tabs and caches have handles of a session")
                .trials(TRIALS)
                .waits(),
            cure("*/kit/same-time", guarded(FOR_SO_LONG))
                .about("a wait instead; tabs and caches have handles of a session")
                .trials(TRIALS)
                .waits(),
            cure("*/kit/confirmed-late", guarded(CONFIRMED_LATE))
                .about("the confirmation after the shutdown; handles of a session")
                .trials(TRIALS)
                .waits(),
            cure("*/kit/confirmed/alone", guarded(ALONE))
                .about("the client has no tasks of its own; handles of a session")
                .trials(TRIALS)
                .waits(),
        ])
        .claim("A4", "Giving the tasks time after the drop prevents the panic.")
        .supported_if(every("*/same-time").is(Clean) & every("*/commented-out").is(Aborted))
        .refuted_if(every("*/same-time").is(Aborted) & every("*/at-once").is(Clean))
        .claim("B2", "With the confirmation commented out the panic returns.")
        .supported_if(every("*/confirmed").is(Clean) & every("*/commented-out").is(Aborted))
        .refuted_if(!every("*/confirmed").is(Clean) | every("*/commented-out").is(Clean))
        .kit_claim(
            "With a session's handles it does not matter whether, when and in which order the user \
             interface lets go.",
        )
}

fn plainly(way: Way) -> impl Fn(&Scene<'_>) -> TrialResult {
    move |scene| log_out_and_in(scene, scene.generation, way, None)
}

fn guarded(way: Way) -> impl Fn(&Scene<'_>) -> TrialResult {
    move |scene| {
        let session = Session::new("matrix")?;
        log_out_and_in(scene, scene.generation, way, Some(&session))?;
        let _ = session.close_blocking(PLENTY)?;
        let files_open = open_files(scene.directory())?.len();
        scene.record("files_open", files_open);
        scene.check("no file is open any more", files_open == 0);
        Ok(())
    }
}

fn log_out_and_in(
    trial: &Trial<'_>,
    generation: Generation,
    way: Way,
    session: Option<&Session>,
) -> TrialResult {
    let setting = Setting::start(trial.directory(), |config| {
        config.generation = generation;
        config.frame = way.frame;
        config.background_tasks = way.tasks;
        config.holding = match session {
            Some(session) => Holding::guarded_by(session),
            None => Holding::Plain,
        };
    })?;
    let runtime = runtime()?;
    runtime.block_on(async {
        setting.log_in().await?;
        setting.open_rooms().await?;
        log_out_from_server(&setting.app).await?;
        let began = Instant::now();
        clean_app_state(&setting.app, way.wait).await?;
        trial.record("waited", began.elapsed());
        Ok::<_, Box<dyn Error>>(())
    })?;
    let alive = runtime.metrics();
    runtime.shutdown_background();
    // It does not wait, and so who is last would be left to chance.
    while alive.num_alive_tasks() > 0 {
        std::thread::yield_now();
    }
    if way.wait == Wait::ConfirmedLate {
        setting.app.ui().clean_app_state().wait_blocking(PLENTY)?;
    }

    let next = experiments::runtime()?;
    next.block_on(async {
        setting.app.ui().post(Action::LogoutSuccess)?;
        setting.log_in().await?;
        setting.end().await
    })
}

async fn log_out_from_server(app: &App) -> Result<(), Box<dyn Error>> {
    let service = app.globals().sync_service.get().ok_or("there is no sync service")?;
    service.stop().await;
    let client = app.globals().client.get().ok_or("there is no client")?;
    client.matrix_auth().logout().await?;
    Ok(())
}

/// The function of the write-up, but for the way in which it waits.
async fn clean_app_state(app: &App, wait: Wait) -> Result<(), Box<dyn Error>> {
    let globals = app.globals();
    globals.client.take();
    globals.sync_service.take();
    app.expect_worker_end();
    globals.request_sender.take();
    globals.tombstoned_rooms.take();
    globals.ignored_users.take();
    globals.all_joined_rooms.take();
    match wait {
        Wait::Confirmed => app.ui().clean_app_state().await?,
        Wait::SoLong(time) => tokio::time::sleep(time).await,
        Wait::Nothing | Wait::ConfirmedLate => {}
    }
    Ok(())
}
