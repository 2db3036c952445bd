//! Limits, where nothing helps to keep them: no runtime, none with a time driver, none that moves.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use futures::executor::block_on;
use state_machine::{driver::Driver, error::LogoutError, transition::Effect};
use tokio::runtime::{Builder, Runtime};

use crate::{
    faults::{STEPS, reaching},
    script::{Answer, App, PLENTY, SHORT, settings_with_short},
};

/// Runs a logout in which this step never answers, and says whether that was told.
fn times_out(effect: Effect, run: impl FnOnce(Pin<Box<dyn Future<Output = ()> + '_>>)) -> bool {
    let app = reaching(effect).answering(effect, Answer::Never);
    let driver = Driver::new(Arc::clone(&app), settings_with_short(effect));
    let (began, mut told) = (Instant::now(), false);
    run(Box::pin(async {
        let says = match driver.run().await {
            Ok(report) => report.warnings.iter().map(ToString::to_string).collect(),
            Err(LogoutError::Recoverable { cause, .. }) => cause.to_string(),
            Err(LogoutError::Unrecoverable { cause, .. }) => cause.to_string(),
            Err(other) => other.to_string(),
        };
        told = says.contains("no answer within 5ms");
    }));
    assert!(began.elapsed() >= SHORT && began.elapsed() < PLENTY, "{:?}", began.elapsed());
    told
}

#[test]
fn a_limit_is_kept_on_a_plain_thread() {
    for (_, effect) in STEPS {
        assert!(times_out(effect, |run| block_on(run)), "{effect:?}");
    }
}

#[test]
fn a_limit_is_kept_on_a_runtime_without_a_time_driver() {
    let runtime = Builder::new_current_thread().build().unwrap();
    for (_, effect) in STEPS {
        assert!(times_out(effect, |run| runtime.block_on(run)), "{effect:?}");
    }
}

/// A runtime whose only worker is blocked, until this is dropped.
struct Blocked {
    runtime: Runtime,
    _release: mpsc::Sender<()>,
}

impl Blocked {
    fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let (release, blocked) = mpsc::channel::<()>();
        let (began, blocking) = mpsc::channel();
        runtime.spawn(async move {
            began.send(()).unwrap();
            let _ = blocked.recv();
        });
        blocking.recv_timeout(PLENTY).unwrap();
        Self { runtime, _release: release }
    }
}

/// The session lives on a runtime that does not move any more, whose context is entered here: its
/// timer would never go off.
#[test]
fn a_limit_is_kept_while_the_runtime_of_the_session_is_blocked() {
    for (_, effect) in STEPS {
        let blocked = Blocked::new();
        let told = thread::scope(|scope| {
            let driving = scope.spawn(|| {
                let _context = blocked.runtime.enter();
                times_out(effect, |run| block_on(run))
            });
            driving.join().unwrap()
        });
        assert!(told, "{effect:?}");
        // Released before the runtime is dropped, which waits for its worker.
        let Blocked { runtime, _release: release } = blocked;
        drop(release);
        drop(runtime);
    }
}

#[test]
fn a_limit_of_zero_polls_each_step_once() {
    let settings = state_machine::config::LogoutConfig {
        checks: Duration::ZERO,
        sync: Duration::ZERO,
        ..crate::script::settings()
    };
    let app = App::new();
    block_on(Driver::new(Arc::clone(&app), settings.clone()).run()).unwrap();
    let app = App::new().answering(Effect::StopSync, Answer::Turns(1));
    let error = block_on(Driver::new(Arc::clone(&app), settings).run()).unwrap_err();
    assert!(error.to_string().contains("no answer within 0ns"), "{error}");
    assert!(app.world().syncing);
}

/// What keeps a limit itself has to say what is wrong before it is given up.
#[test]
fn a_step_that_keeps_its_own_limit_has_nine_tenths_of_it() {
    let app = App::new();
    block_on(Driver::new(Arc::clone(&app), crate::script::settings()).run()).unwrap();
    for effect in [Effect::StopSync, Effect::CloseSession, Effect::ShutDownTasks] {
        assert_eq!(app.limit(effect), Some(PLENTY / 10 * 9), "{effect:?}");
    }
    let settings =
        state_machine::config::LogoutConfig { session: Duration::MAX, ..crate::script::settings() };
    let app = App::new();
    block_on(Driver::new(Arc::clone(&app), settings).run()).unwrap();
    assert_eq!(app.limit(Effect::CloseSession), Some(Duration::MAX), "none is none");
}
