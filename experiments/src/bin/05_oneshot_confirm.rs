//! 05 oneshot confirm: what does the confirmation of the user interface do against the panic? It
//! changes the order: the user interface, which has no context, is not the last owner. If it is the
//! order and not the time, `same-time` aborts and `at-once` is clean. Page:
//! `docs/src/05-oneshot-confirm.md`.

use std::time::Instant;

use experiments::{
    prelude::*,
    scene::Protection,
    setting::{Setting, open_rooms},
};
use lab::Condition;
use mock_sdk::app::{App, action::Action, held::Holding};

/// How often the user interface draws, and does what it was told.
const FRAME: Duration = Duration::from_millis(30);

/// Longer than a confirmation takes, which is a frame at most and the time to clean up.
const SAME_TIME: Duration = Duration::from_millis(90);

/// Much longer, also on a busy machine.
const LONG_TIME: Duration = Duration::from_secs(1);

/// A trial takes a while and always ends the same. (Experiment 13 tries the cures as often as all
/// others.)
const TRIALS: u32 = 10;

fn main() -> ExitCode {
    experiment().run()
}

/// What two sources say, each in its own words: the time does it.
fn waiting_is_enough() -> Condition {
    every("*/same-time").is(Clean)
        & every("*/long-time").is(Clean)
        & every("*/commented-out").is(Aborted)
}

fn waiting_is_not_enough() -> Condition {
    every("*/same-time").is(Aborted)
        & every("*/same-time").observed("waited").always_at_least(90_000_000)
        & every("*/long-time").is(Aborted)
        & every("*/long-time").observed("waited").always_at_least(1_000_000_000)
        & every("*/at-once").is(Clean)
}

/// The experiment. Experiment 13 collects its cures.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("What does the confirmation of the user interface do against the panic?")
        .hypothesis(
            "It makes the user interface let go before the application's main loop, a task, which is \
             then the last owner, in context. A wait of the same length that orders nothing does not \
             prevent the panic; an order that takes a few milliseconds does.",
        )
        .first_expected(
            "The same, with a task of the client's own as the last owner. The SDK's send queue holds the \
             client weakly, and the mock's did not.",
        )
        .variants([
        control("*/confirmed", log_out_and_in)
            .about("clean_app_state as it is in the write-up")
            .waits(),
        hazard("*/commented-out", Aborted, log_out_and_in)
            .about("the confirmation is commented out, as in its comparison")
            .waits()
            .cured(),
        hazard("*/same-time", Aborted, log_out_and_in)
            .about("no confirmation, but a wait that is longer than one takes on a quiet machine")
            .waits()
            .cured(),
        hazard("*/long-time", Aborted, log_out_and_in)
            .about("no confirmation, but a wait of a second")
            .waits()
            .cured(),
        control("*/at-once", log_out_and_in)
            .about("the confirmation of a user interface that waits for no frame"),
        hazard("*/confirmed-late", Aborted, log_out_and_in)
            .about("the confirmation, after the shutdown")
            .waits()
            .cured(),
        hazard("*/confirmed/alone", Aborted, log_out_and_in)
            .about("as in the write-up; no task holds the client: the application has no main loop, the timelines no tasks")
            .waits()
            .cured(),
        ])
        .each(|variant| variant.trials(TRIALS))
        .claim("A4b", "It is the time that does it: tasks complete while the program waits.")
        .supported_if(waiting_is_enough())
        .refuted_if(waiting_is_not_enough())
        .claim(
            "A5a",
            "The order in which the owners of the client let go helps, and does not fully solve it.",
        )
        .supported_if(
            every("*/at-once").is(Clean)
                & every("*/confirmed-late").is(Aborted)
                & every("*/confirmed/alone").is(Aborted),
        )
        .refuted_if(!every("*/at-once").is(Clean) | every("*/confirmed/alone").is(Clean))
        .claim(
            "B10a",
            "It is an issue of destruction order. (At the logout: who lets go of the client before whom.)",
        )
        .supported_if(
            every("*/at-once").is(Clean)
                & every("*/same-time").is(Aborted)
                & every("*/confirmed-late").is(Aborted),
        )
        .refuted_if(!every("*/at-once").is(Clean) | every("*/confirmed-late").is(Clean))
        .claim("B11", "The time that the machine gives the client to destruct avoids the panic.")
        .supported_if(waiting_is_enough())
        .refuted_if(waiting_is_not_enough())
        .claim(
            "B2",
            "With the confirmation there is no panic, and with the confirmation commented out the panic \
             returns.",
        )
        .supported_if(every("*/confirmed").is(Clean) & every("*/commented-out").is(Aborted))
        .refuted_if(!every("*/confirmed").is(Clean) | every("*/commented-out").is(Clean))
        .kit_claim(
            "With a session's handles it does not matter whether, when and in which order the user \
             interface lets go.",
        )
}

fn log_out_and_in(scene: &Scene<'_>) -> TrialResult {
    let setting = Setting::start(scene.directory(), |config| {
        config.generation = scene.generation;
        config.frame = if scene.case() == "at-once" { Duration::ZERO } else { FRAME };
        config.main_loop = scene.case() != "alone";
        // Otherwise the client's first task might be the last owner, or that of a timeline.
        config.background_tasks = config.main_loop;
        config.holding = match &scene.protection {
            Protection::Session(session) => Holding::guarded_by(session),
            _ => Holding::Plain,
        };
    })?;
    let first = runtime()?;
    first.block_on(async {
        setting.log_in().await?;
        open_rooms(&setting.app).await?;
        log_out_from_server(&setting.app).await?;
        let began = Instant::now();
        clean_app_state(&setting.app, scene.case()).await?;
        scene.record("waited", began.elapsed());
        Ok::<_, Box<dyn Error>>(())
    })?;
    let metrics = first.metrics();
    first.shutdown_background();
    // It does not wait, and chance must not decide who is last.
    while metrics.num_alive_tasks() > 0 {
        thread::yield_now();
    }
    if scene.case() == "confirmed-late" {
        setting.app.ui().clean_app_state().wait_blocking(PLENTY)?;
    }

    // At the next login the user interface lets go of whatever it still has.
    let next = runtime()?;
    next.block_on(async {
        setting.app.ui().post(Action::LogoutSuccess)?;
        setting.log_in().await?;
        setting.end().await
    })
}

async fn log_out_from_server(app: &App) -> TrialResult {
    let service = app.globals().sync_service.get().ok_or("there is no sync service")?;
    service.stop().await;
    let client = app.globals().client.get().ok_or("there is no client")?;
    client.matrix_auth().logout().await?;
    Ok(())
}

/// The function of the write-up, but for how it waits.
async fn clean_app_state(app: &App, case: &str) -> TrialResult {
    let globals = app.globals();
    globals.client.take();
    globals.sync_service.take();
    app.expect_worker_end();
    globals.request_sender.take();
    globals.tombstoned_rooms.take();
    globals.ignored_users.take();
    globals.all_joined_rooms.take();
    match case {
        "commented-out" | "confirmed-late" => {}
        "same-time" => tokio::time::sleep(SAME_TIME).await,
        "long-time" => tokio::time::sleep(LONG_TIME).await,
        _ => app.ui().clean_app_state().await?,
    }
    Ok(())
}
