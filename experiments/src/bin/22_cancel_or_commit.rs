//! # 22 · cancel or commit
//!
//! A logout can be cancelled until the point of no return, says the write-up of Robrix's logout (claim
//! B8). The code that it shows has no cancel. Here is a *reconstruction*, which keeps the flag that the
//! write-up has, `point_of_no_return`, and puts another one beside it, `cancel_requested`, as later
//! versions of that application do. A cancel looks at the first flag and sets the second; a logout
//! looks at the second and, when the server has answered, sets the first. Each is right by itself.
//!
//! - **`two-flags/cancel-first`** and **`two-flags/cancel-after`**: the controls. A cancel before the
//!   logout keeps it from being requested, and one after it is refused.
//! - **`two-flags/in-flight`**: the cancel comes when the server has seen the request, and the answer
//!   is still to come. It is accepted, and the user is logged out.
//! - **`two-flags/at-once`**: the flags by themselves, with a server that answers at once: two threads
//!   use them at the same time, 7,500 times in each trial, one of them after a few turns of a loop
//!   that are drawn by lot. It is a race between instructions, and needs no slow server.
//! - **`kit/…`**: the same with the driver, and with the cancel token that it uses; and **`kit/any-moment`**,
//!   a cancel at a moment of the logout that is drawn by lot.
//!
//! A trial fails where a cancel was accepted *and* the user is logged out, or where what somebody was
//! told is not what the server says.
//!
//! `two-flags/at-once` has 20 trials of 7,500 meetings. Of 20,000 both had their way in 81 at the least
//! on two idle cores, and in 18 beside eight other programs; were it only one meeting in 10,000, a run
//! that misses it would still be rarer than one in a million.

use std::{
    error::Error,
    future::{Future, ready},
    hint,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use experiments::{
    runtime,
    setting::{LoggedIn, Setting, homeserver},
};
use futures::executor::block_on;
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    Trial, TrialResult, always, control, cure, every, hazard, seen,
};
use mock_sdk::homeserver::{Endpoint, Fault};
use state_machine::{
    cancel::{CancelToken, Cancellation},
    error::{LogoutError, RecoverableError},
};

/// How often two threads meet in one trial.
const MEETINGS: usize = 7_500;

/// The most turns of a loop by which one of them comes later.
const MOST_TURNS: usize = 200;

/// How long that many meetings may take: less than a second, unless the machine has so much else to do
/// that the two threads seldom run at the same time. Beside fifty busy programs it was more than ten.
const DEADLINE: Duration = Duration::from_secs(90);

/// Longer than it takes to cancel.
const ANSWER: Duration = Duration::from_millis(100);

/// As long as a logout takes, or a little longer.
const LOGOUT_MICROS: u64 = 20_000;

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("Can a cancel be accepted and the logout happen all the same?")
        .hypothesis(
            "With a flag for each, yes: while the request is on its way, and even where it takes no \
             time. With one gate for both and the server's word for what was on its way, no.",
        )
        .variant(
            control("two-flags/cancel-first", always(Clean), |trial| two_flags(trial, When::Before))
                .about("a cancel before the logout begins")
                .trials(10)
                .waits(),
        )
        .variant(
            control("two-flags/cancel-after", always(Clean), |trial| two_flags(trial, When::After))
                .about("a cancel when the logout is over")
                .trials(10)
                .waits(),
        )
        .variant(
            hazard("two-flags/in-flight", always(Failed), |trial| two_flags(trial, When::InFlight))
                .about("a cancel when the server has seen the request")
                .trials(10)
                .waits(),
        )
        .variant(
            hazard("two-flags/at-once", seen(Failed).allowing([Clean]), two_flags_at_once)
                .about("both at the same time, and a server that answers at once")
                .trials(20)
                .deadline(DEADLINE),
        )
        .variant(
            cure("kit/in-flight", always(Clean), kit_in_flight)
                .about("the driver: a cancel when the server has seen the request"),
        )
        .variant(
            cure("kit/at-once", always(Clean), kit_at_once)
                .about("the cancel token of the driver: both at the same time")
                .trials(10)
                .deadline(DEADLINE),
        )
        .variant(
            cure("kit/any-moment", always(Clean), kit_any_moment)
                .about("the driver: a cancel at a moment drawn by lot")
                .trials(40),
        )
        .claim("B8", "A logout can be cancelled until the point of no return.")
        .supported_if(every("two-flags/*").is(always(Clean)))
        .refuted_if(
            every("two-flags/in-flight").is(always(Failed))
                & every("two-flags/at-once").observed("both").once_at_least(1),
        )
        .kit_claim("A cancel that is accepted is honoured, and no other is called accepted.")
        .run()
}

/// The reconstruction.
#[derive(Default)]
struct TwoFlags {
    cancel_requested: AtomicBool,
    point_of_no_return: AtomicBool,
}

// The strongest ordering there is: what goes wrong here is not for want of one.
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    InFlight,
    After,
}

fn two_flags(trial: &Trial<'_>, when: When) -> TrialResult {
    let setting = Setting::start(trial.directory(), |_| {})?;
    let flags = TwoFlags::default();
    runtime()?.block_on(async {
        setting.log_in().await?;
        let client = setting.app.globals().client.get().ok_or("there is no client")?;
        let token = client.access_token().ok_or("there is no token")?;
        setting.server.fail_next(Endpoint::Logout, Fault::delay(ANSWER));

        let mut accepted = when == When::Before && flags.cancel();
        let seen = setting.server.until(|server| server.count(Endpoint::Logout) > 0);
        let cancelled_in_flight = async {
            if when == When::InFlight {
                seen.await;
                accepted = flags.cancel();
            }
        };
        let auth = client.matrix_auth();
        let (logged_out, ()) = tokio::join!(flags.log_out(auth.logout()), cancelled_in_flight);
        let logged_out = logged_out?;
        if when == When::After {
            accepted = flags.cancel();
        }
        trial.record("accepted", accepted);
        trial.record("logged_out", logged_out);
        trial.check("who logs out knows it", logged_out != setting.server.is_alive(&token));
        trial.check("an accepted cancel is honoured", !(accepted && logged_out));
        setting.end().await
    })
}

fn two_flags_at_once(trial: &Trial<'_>) -> TrialResult {
    let both = meetings(
        trial,
        TwoFlags::default,
        |flags| matches!(block_on(flags.log_out(ready(Ok::<_, ()>(())))), Ok(true)),
        TwoFlags::cancel,
    );
    trial.record("both", both);
    trial.check("an accepted cancel is honoured", both == 0);
    Ok(())
}

fn kit_at_once(trial: &Trial<'_>) -> TrialResult {
    let both = meetings(
        trial,
        CancelToken::new,
        |token| matches!(block_on(token.request(ready(()))), Ok(Some(()))),
        |token| token.cancel() == Cancellation::Accepted,
    );
    trial.record("both", both);
    trial.check("an accepted cancel is honoured", both == 0);
    Ok(())
}

/// Has two threads meet, again and again, each time at something new: how often both had their way.
fn meetings<T: Send + Sync>(
    trial: &Trial<'_>,
    new: impl Fn() -> T,
    log_out: impl Fn(&T) -> bool,
    cancel: impl Fn(&T) -> bool + Sync,
) -> usize {
    let mut random = trial.random();
    let places: Vec<T> = (0..MEETINGS).map(|_| new()).collect();
    let accepted: Vec<AtomicBool> = (0..MEETINGS).map(|_| AtomicBool::new(false)).collect();
    let (begun, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            for (nth, (place, accepted)) in places.iter().zip(&accepted).enumerate() {
                // Acquire, of a release: the two are at the same place.
                wait_until(|| begun.load(Ordering::Acquire) > nth);
                accepted.store(cancel(place), Ordering::Relaxed);
                // Release: the answer is there before it is looked for.
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
    })
}

/// Waits where a wait must be short: only now and then another thread is let go first.
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

fn kit_in_flight(trial: &Trial<'_>) -> TrialResult {
    let app = LoggedIn::start(&Arc::new(homeserver()?), trial.directory())?;
    let done = trial.random().bool();
    let never = if done { Fault::never().done_at_once() } else { Fault::never() };
    app.server.fail_next(Endpoint::Logout, never);
    let driver = app.driver();
    let seen = async {
        app.server.until(|server| server.count(Endpoint::Logout) > 0).await;
        driver.cancel()
    };
    let (ended, told) = block_on(futures::future::join(driver.run(), seen));
    trial.record("told", format!("{told:?}"));
    trial.check("it is told that the server decides", told == Cancellation::UpToServer);
    judge(trial, &app, told, ended.map(drop))?;
    app.end()
}

fn kit_any_moment(trial: &Trial<'_>) -> TrialResult {
    let app = LoggedIn::start(&Arc::new(homeserver()?), trial.directory())?;
    let moment = Duration::from_micros(trial.random().u64(0..LOGOUT_MICROS));
    let driver = app.driver();
    let (told, ended) = thread::scope(|scope| {
        let cancelling = scope.spawn(|| {
            thread::sleep(moment);
            driver.cancel()
        });
        let ended = block_on(driver.run());
        Ok::<_, Box<dyn Error>>((cancelling.join().map_err(|_| "it panicked")?, ended))
    })?;
    trial.record("told", format!("{told:?}"));
    judge(trial, &app, told, ended.map(drop))?;
    app.end()
}

/// Compares what each was told with what the server says.
fn judge(
    trial: &Trial<'_>,
    app: &LoggedIn,
    told: Cancellation,
    ended: Result<(), LogoutError>,
) -> TrialResult {
    let alive = app.server.is_alive(&app.token);
    let agrees = match &ended {
        Ok(()) => !alive,
        Err(LogoutError::Recoverable { cause: RecoverableError::Cancelled, .. }) => alive,
        Err(_) => return Err(format!("{ended:?}").into()),
    };
    trial.record("logged_out", !alive);
    trial.check("the end is what the server says", agrees);
    let honoured = match told {
        Cancellation::Accepted => alive && app.server.count(Endpoint::Logout) == 0,
        Cancellation::TooLate => !alive,
        // Before the logout began, or when it had ended: then it says how.
        Cancellation::NotRunning => !alive,
        Cancellation::UpToServer | Cancellation::AlreadyCancelled => true,
    };
    trial.check("what the cancel was told is so", honoured);
    if alive {
        trial.check("the sync service runs again", app.syncs());
    }
    Ok(())
}
