//! Limits, without the help of a runtime.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use futures::executor::block_on;
use state_machine::{config::LogoutConfig, driver::Driver, transition::Effect};
use tokio::runtime::Builder;

use crate::{
    faults::{STEPS, reaching},
    script::{Answer, App, PLENTY, SHORT, settings, settings_with_short},
};

/// A Tokio timer would not fire in the context of this runtime, because its only worker is blocked.
#[test]
fn the_limit_of_each_step_is_kept_while_the_runtime_is_blocked() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
    let (release, blocked) = mpsc::channel::<()>();
    let (began, blocking) = mpsc::channel();
    runtime.spawn(async move {
        began.send(()).unwrap();
        let _ = blocked.recv();
    });
    blocking.recv_timeout(PLENTY).unwrap();
    let context = runtime.enter();
    for (_, effect) in STEPS {
        let app = reaching(effect).answering(effect, Answer::Never);
        let driver = Driver::new(Arc::clone(&app), settings_with_short(effect));
        let began = Instant::now();
        let answer = match block_on(driver.run()) {
            Ok(report) => report.warnings[0].to_string(),
            Err(error) => error.to_string(),
        };
        assert!(answer.contains("no answer within 5ms"), "{effect:?}: {answer}");
        assert!(began.elapsed() >= SHORT && began.elapsed() < PLENTY, "{:?}", began.elapsed());
    }
    // Before the runtime is dropped, because that waits for its worker.
    drop((release, context));
}

#[test]
fn with_a_limit_of_zero_a_step_is_polled_once() {
    let settings = LogoutConfig { checks: Duration::ZERO, sync: Duration::ZERO, ..settings() };
    let app = App::new();
    let _ = block_on(Driver::new(Arc::clone(&app), settings.clone()).run()).unwrap();
    let app = App::new().answering(Effect::StopSync, Answer::Turns(1));
    let error = block_on(Driver::new(Arc::clone(&app), settings).run()).unwrap_err();
    assert!(error.to_string().contains("no answer within 0ns"), "{error}");
    assert!(app.world().syncing);
}

/// A step that keeps a limit itself must report before the driver gives up.
#[test]
fn a_step_that_keeps_its_own_limit_has_nine_tenths_of_it() {
    let app = App::new();
    let settings = LogoutConfig { session: Duration::MAX, ..settings() };
    let _ = block_on(Driver::new(Arc::clone(&app), settings).run()).unwrap();
    assert_eq!(app.limit(Effect::StopSync), Some(PLENTY / 10 * 9));
    assert_eq!(app.limit(Effect::ShutDownTasks), Some(PLENTY / 10 * 9));
    assert_eq!(app.limit(Effect::CloseSession), Some(Duration::MAX), "no limit");
}
