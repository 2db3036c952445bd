//! 22 cancel or commit: can a cancel be accepted and the logout happen all the same? With the published
//! state machine, yes: while the request is on its way, and in a race between two threads. With the gate
//! of the driver, never. Page: `docs/src/22-cancel-or-commit.md`.

use std::{
    future::{Future, ready},
    hint,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use experiments::{
    prelude::*,
    published::{Flags, Logout},
    setting::{LoggedIn, Setting, syncs, token},
};
use futures::future::join;
use mock_sdk::{
    app::global::Global,
    homeserver::{Endpoint, Fault, Homeserver},
};
use state_machine::{
    cancel::{CancelToken, Cancellation},
    driver::Driver,
    error::{LogoutError, LogoutErrorKind},
};

/// How often two threads meet in one trial.
const MEETINGS: usize = 7_500;

/// The most turns of a loop by which one of them comes later.
const MOST_TURNS: usize = 200;

/// How long that many meetings may take: less than a second, unless the two threads seldom run at the
/// same time. Beside fifty busy programs it was more than ten.
const DEADLINE: Duration = Duration::from_secs(90);

/// Longer than it takes to cancel.
const ANSWER: Duration = Duration::from_millis(100);

/// As long as a logout takes, or a little longer.
const LOGOUT_MICROS: u64 = 20_000;

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Can a cancel be accepted and the logout happen all the same?")
        .hypothesis(
            "With a flag for each, as published, yes: while the request is on its way, and even if it \
             takes no time. With one gate for both, and the server's word for a request that was on its \
             way, no.",
        )
        .variants([
            control("published/cancel-first", published).about("a cancel before the logout begins"),
            control("published/cancel-after", published).about("a cancel when the logout is over"),
            hazard("published/in-flight", Failed, published)
                .about("a cancel when the server has seen the request"),
        ])
        .each(|variant| variant.trials(10).waits())
        .variants([
            hazard("published/at-once", seen(Failed).allowing([Clean]), published_at_once)
                .about("both at the same time, and a server that answers at once")
                .deadline(DEADLINE),
            cure("kit/in-flight", kit_in_flight)
                .about("the driver: a cancel when the server has seen the request"),
            cure("kit/at-once", kit_at_once)
                .about("the cancel token of the driver: both at the same time")
                .trials(10)
                .deadline(DEADLINE),
            cure("kit/any-moment", kit_any_moment)
                .about("the driver: a cancel at a random moment")
                .trials(40),
        ])
        .finding(
            "B8",
            "The published machine accepts a cancel while the server's answer is awaited, logs the user \
             out all the same, and says that the logout was cancelled.",
        )
        .supported_if(
            every("published/in-flight").observed("accepted").always_reads("true")
                & every("published/in-flight").observed("logged_out").always_reads("true")
                & every("published/in-flight").observed("ended").always_reads("Cancelled")
                & every("published/at-once").observed("both").once_at_least(1),
        )
        .refuted_if(
            every("published/in-flight").is(Clean)
                | every("published/in-flight").observed("logged_out").always_reads("false"),
        )
        .kit_claim("A cancel that is accepted is honoured, and no other is called accepted.")
        .run()
}

/// The server's part of the published machine, with its flags. Returns whether the user was logged out.
async fn log_out<E>(
    flags: &Flags,
    request: impl Future<Output = Result<(), E>>,
) -> Result<bool, E> {
    if flags.is_cancelled() {
        return Ok(false);
    }
    request.await?;
    flags.pass_point_of_no_return();
    Ok(true)
}

/// The whole machine. The user cancels when the variant says so.
fn published(scene: &Scene<'_>) -> TrialResult {
    let setting = Setting::start(scene.directory(), |_| {})?;
    let tokio_runtime = Global::new(Some(runtime()?));
    let handle = tokio_runtime.with(|it| it.as_ref().map(|it| it.handle().clone()));
    let handle = handle.ok_or("there is no runtime")?;
    handle.block_on(setting.log_in())?;
    let token = token(&setting.app)?;
    setting.server.fail_next(Endpoint::Logout, Fault::delay(ANSWER));

    let logout = Logout::new(&setting.app, &tokio_runtime);
    let mut accepted = scene.case() == "cancel-first" && logout.flags.request_cancellation();
    let ended = handle.block_on(async {
        let in_flight = async {
            setting.server.until(|server| server.count(Endpoint::Logout) > 0).await;
            logout.flags.request_cancellation()
        };
        if scene.case() == "in-flight" {
            let (ended, noted) = join(logout.execute(), in_flight).await;
            accepted = noted;
            ended
        } else {
            logout.execute().await
        }
    });
    if scene.case() == "cancel-after" {
        accepted = logout.flags.request_cancellation();
    }
    let logged_out = !setting.server.is_alive(&token);
    scene.record("accepted", accepted);
    scene.record("logged_out", logged_out);
    scene
        .record("ended", ended.map_or_else(|error| error.to_string(), |()| "Completed".to_owned()));
    scene.record("told", format!("{:?}", logout.told.get()));
    scene.check("an accepted cancel is honoured", !(accepted && logged_out));
    // What is left ends in the context of some runtime.
    runtime()?.block_on(setting.end())
}

fn published_at_once(scene: &Scene<'_>) -> TrialResult {
    meetings(
        scene,
        Flags::default,
        |flags| matches!(block_on(log_out(flags, ready(Ok::<_, ()>(())))), Ok(true)),
        Flags::request_cancellation,
    )
}

fn kit_at_once(scene: &Scene<'_>) -> TrialResult {
    meetings(
        scene,
        CancelToken::new,
        |token| matches!(block_on(token.request(ready(()))), Ok(Some(()))),
        |token| token.cancel() == Cancellation::Accepted,
    )
}

/// Lets two threads meet, again and again, each time at something new, and counts how often both the
/// logout and the cancel got their way.
fn meetings<T: Send + Sync>(
    scene: &Scene<'_>,
    new: impl Fn() -> T,
    log_out: impl Fn(&T) -> bool,
    cancel: impl Fn(&T) -> bool + Sync,
) -> TrialResult {
    let mut random = scene.random();
    let places: Vec<T> = (0..MEETINGS).map(|_| new()).collect();
    let accepted: Vec<AtomicBool> = (0..MEETINGS).map(|_| AtomicBool::new(false)).collect();
    let (begun, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let both = thread::scope(|scope| {
        scope.spawn(|| {
            for (nth, (place, accepted)) in places.iter().zip(&accepted).enumerate() {
                // Acquire, of a release: the two are at the same place.
                wait_until(|| begun.load(Ordering::Acquire) > nth);
                accepted.store(cancel(place), Ordering::Relaxed);
                // Release: the answer is there before the other thread looks for it.
                done.store(nth + 1, Ordering::Release);
            }
        });
        let mut both = 0;
        for (nth, (place, accepted)) in places.iter().zip(&accepted).enumerate() {
            let turns = random.usize(0..MOST_TURNS);
            begun.store(nth + 1, Ordering::Release);
            (0..turns).for_each(|_| hint::spin_loop());
            let logged_out = log_out(place);
            wait_until(|| done.load(Ordering::Acquire) > nth);
            both += usize::from(logged_out && accepted.load(Ordering::Relaxed));
        }
        both
    });
    scene.record("both", both);
    scene.check("an accepted cancel is honoured", both == 0);
    Ok(())
}

/// Spins, because the threads must meet within nanoseconds, and seldom lets another thread run.
fn wait_until(is_so: impl Fn() -> bool) {
    let mut turns = 0_u32;
    while !is_so() {
        turns = turns.wrapping_add(1);
        if turns.is_multiple_of(1000) {
            thread::yield_now();
        }
        hint::spin_loop();
    }
}

fn kit_in_flight(scene: &Scene<'_>) -> TrialResult {
    let done = scene.random().bool();
    let never = if done { Fault::never().done_at_once() } else { Fault::never() };
    let told = kit(scene, Some(never), |server| {
        block_on(server.until(|server| server.count(Endpoint::Logout) > 0));
    })?;
    scene.check("the cancel is told that the server decides", told == Cancellation::UpToServer);
    Ok(())
}

fn kit_any_moment(scene: &Scene<'_>) -> TrialResult {
    let moment = Duration::from_micros(scene.random().u64(0..LOGOUT_MICROS));
    kit(scene, None, |_| thread::sleep(moment)).map(drop)
}

/// Cancels a logout from another thread, which waits for its moment, and compares what each was told
/// with what the server says. Returns what the cancel was told.
fn kit(
    scene: &Scene<'_>,
    fault: Option<Fault>,
    wait: impl FnOnce(&Homeserver) + Send,
) -> TrialResult<Cancellation> {
    let app = LoggedIn::start(scene.directory())?;
    if let Some(fault) = fault {
        app.server.fail_next(Endpoint::Logout, fault);
    }
    let driver = Driver::new(Arc::clone(&app.app), app.app.logout_config());
    let (ended, told) = thread::scope(|scope| {
        let cancel = scope.spawn(|| {
            wait(&app.server);
            driver.cancel()
        });
        (block_on(driver.run()), cancel.join())
    });
    let told = told.map_err(|_| "the cancel panicked")?;
    let alive = app.server.is_alive(&app.token);
    let agrees = match ended {
        Ok(_) => !alive,
        Err(LogoutError { kind: LogoutErrorKind::Cancelled, .. }) => alive,
        Err(error) => return Err(error.into()),
    };
    scene.record("told", format!("{told:?}"));
    scene.record("logged_out", !alive);
    scene.check("the end is what the server says", agrees);
    let honoured = match told {
        Cancellation::Accepted => alive && app.server.count(Endpoint::Logout) == 0,
        // Not running: the cancel came before the logout began, or when it had ended.
        Cancellation::TooLate | Cancellation::NotRunning => !alive,
        Cancellation::UpToServer | Cancellation::AlreadyCancelled => true,
    };
    scene.check("what the cancel was told is so", honoured);
    if alive {
        scene.check("the sync service runs again", syncs(&app.server, PLENTY));
    }
    drop(driver);
    app.end()?;
    Ok(told)
}
