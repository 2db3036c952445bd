//! 22 cancel or commit: can a cancel be accepted and the logout happen all the same? With a flag for
//! each, yes: while the request is on its way, and in a race between two threads. With the gate of the
//! driver, never. Page: `docs/src/22-cancel-or-commit.md`.

use std::{
    future::{Future, ready},
    hint,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use experiments::{
    prelude::*,
    setting::{LoggedIn, Setting, syncs, token},
};
use futures::future::join;
use mock_sdk::homeserver::{Endpoint, Fault, Homeserver};
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
            "With a flag for each, yes: while the request is on its way, and even if it takes no \
             time. With one gate for both, and the server's word for a request that was on its \
             way, no.",
        )
        .variants([
            control("two-flags/cancel-first", two_flags).about("a cancel before the logout begins"),
            control("two-flags/cancel-after", two_flags).about("a cancel when the logout is over"),
            hazard("two-flags/in-flight", Failed, two_flags)
                .about("a cancel when the server has seen the request"),
        ])
        .each(|variant| variant.trials(10).waits())
        .variants([
            hazard("two-flags/at-once", seen(Failed).allowing([Clean]), two_flags_at_once)
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
        .claim("B8", "A logout can be cancelled until the point of no return.")
        .supported_if(every("two-flags/*").is(Clean))
        .refuted_if(
            every("two-flags/in-flight").is(Failed)
                & every("two-flags/at-once").observed("both").once_at_least(1),
        )
        .kit_claim("A cancel that is accepted is honoured, and no other is called accepted.")
        .run()
}

/// The reconstruction. It has the strongest ordering there is: what goes wrong does not for want of one.
#[derive(Default)]
struct TwoFlags {
    cancel_requested: AtomicBool,
    point_of_no_return: AtomicBool,
}

impl TwoFlags {
    /// Whether the cancel is accepted.
    fn cancel(&self) -> bool {
        if self.point_of_no_return.load(Ordering::SeqCst) {
            return false;
        }
        self.cancel_requested.store(true, Ordering::SeqCst);
        true
    }

    /// Whether the user has been logged out.
    async fn log_out<E>(&self, request: impl Future<Output = Result<(), E>>) -> Result<bool, E> {
        if self.cancel_requested.load(Ordering::SeqCst) {
            return Ok(false);
        }
        request.await?;
        self.point_of_no_return.store(true, Ordering::SeqCst);
        Ok(true)
    }
}

fn two_flags(scene: &Scene<'_>) -> TrialResult {
    let setting = Setting::start(scene.directory(), |_| {})?;
    let flags = TwoFlags::default();
    runtime()?.block_on(async {
        setting.log_in().await?;
        let client = setting.app.globals().client.get().ok_or("there is no client")?;
        let token = token(&setting.app)?;
        setting.server.fail_next(Endpoint::Logout, Fault::delay(ANSWER));

        let mut accepted = scene.case() == "cancel-first" && flags.cancel();
        let cancelled_in_flight = async {
            if scene.case() == "in-flight" {
                setting.server.until(|server| server.count(Endpoint::Logout) > 0).await;
                accepted = flags.cancel();
            }
        };
        let auth = client.matrix_auth();
        let (logged_out, ()) = join(flags.log_out(auth.logout()), cancelled_in_flight).await;
        let logged_out = logged_out?;
        if scene.case() == "cancel-after" {
            accepted = flags.cancel();
        }
        scene.record("accepted", accepted);
        scene.record("logged_out", logged_out);
        scene.check("who logs out knows it", logged_out != setting.server.is_alive(&token));
        scene.check("an accepted cancel is honoured", !(accepted && logged_out));
        setting.end().await
    })
}

fn two_flags_at_once(scene: &Scene<'_>) -> TrialResult {
    meetings(
        scene,
        TwoFlags::default,
        |flags| matches!(block_on(flags.log_out(ready(Ok::<_, ()>(())))), Ok(true)),
        TwoFlags::cancel,
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
