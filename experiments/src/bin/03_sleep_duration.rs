//! 03 sleep duration: how long must one wait for the panic to stay away? No wait prevents it: a wait
//! only decides who is the last owner. It causes the panic if a task of the client's own would have
//! been last, and keeps it away if a user interface would have been. Page:
//! `docs/src/03-sleep-duration.md`.

use std::{cell::RefCell, future::pending, sync::mpsc, time::Instant};

use experiments::prelude::*;
use tokio::sync::oneshot;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Experiment 13 collects its cures.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("How long must one wait for the panic to stay away?")
        .hypothesis(
            "No wait prevents it: a wait only decides who is the last owner. If a task of the \
             client's own would have been last, waiting causes the panic; if a user interface would \
             have been, waiting until it has let go keeps the panic away.",
        )
        .first_expected(
            "No wait prevents it. Where a task of the client's own may be its last owner, waiting brings \
             it on.",
        )
        .variants([
            hazard("*/drop-then-wait/0ms", Aborted, |scene| drop_then_wait(scene, ms(0)))
                .about("dropped off context, then shut down at once")
                .cured(),
            hazard("*/drop-then-wait/1s", Aborted, |scene| drop_then_wait(scene, ms(1000)))
                .about("dropped off context; the wait after that is never reached")
                .trials(5)
                .waits()
                .cured(),
            control("*/drop-inside/0ms", drop_inside)
                .about("dropped in a context, then shut down at once"),
            hazard("*/down-then-wait/0ms", Aborted, |scene| down_then_wait(scene, ms(0)))
                .about("shut down, then dropped off context at once")
                .cured(),
            hazard("*/down-then-wait/10ms", Aborted, |scene| down_then_wait(scene, ms(10)))
                .about("shut down, then a wait, then dropped off context")
                .cured(),
            hazard("*/down-then-wait/100ms", Aborted, |scene| down_then_wait(scene, ms(100)))
                .about("the same, with a longer wait")
                .trials(10)
                .waits()
                .cured(),
            hazard("old/down-then-wait/1s", Aborted, |scene| down_then_wait(scene, ms(1000)))
                .about("the same, with a very long wait")
                .trials(5)
                .waits()
                .cured(),
            control("*/init-task/0ms", |scene| init_task(scene, ms(0)))
                .about("dropped off context at once: the client's own task is the last owner")
                .trials(10),
            control("*/init-task/10ms", |scene| init_task(scene, ms(10)))
                .about("dropped off context after a wait that the task outlasts")
                .trials(10),
            hazard("*/init-task/100ms", Aborted, |scene| init_task(scene, ms(100)))
                .about("dropped off context after a wait that outlasts the task")
                .trials(10)
                .cured(),
            hazard("old/init-task/1s", Aborted, |scene| init_task(scene, ms(1000)))
                .about("the same, with a very long wait")
                .trials(5)
                .waits()
                .cured(),
            hazard("*/ui-frame/0ms", Aborted, |scene| log_out(scene, ms(0), Frame::Soon))
                .about("dropped in a context, then shut down at once, before the user interface's frame")
                .trials(10)
                .cured(),
            hazard("*/ui-frame/10ms", Aborted, |scene| log_out(scene, ms(10), Frame::Soon))
                .about("the same, with a wait that ends before the frame")
                .trials(10)
                .cured(),
            control("*/ui-frame/100ms", |scene| log_out(scene, ms(100), Frame::Soon))
                .about("the same, with a wait that ends after the frame")
                .trials(10),
            control("old/ui-frame/1s", |scene| log_out(scene, ms(1000), Frame::Soon))
                .about("the same, with a very long wait")
                .trials(5)
                .waits(),
            hazard("*/ui-holds-on/0ms", Aborted, |scene| log_out(scene, ms(0), Frame::Later))
                .about("the same, and the user interface lets go only after the shutdown; no wait")
                .trials(10)
                .cured(),
            hazard("*/ui-holds-on/100ms", Aborted, |scene| log_out(scene, ms(100), Frame::Later))
                .about("the same with a wait, which the trial reaches and records")
                .trials(10)
                .cured(),
        ])
        .claim(
            "A4a",
            "A wait between the drop and the shutdown keeps the panic away if somebody who has no \
             context lets go meanwhile.",
        )
        .supported_if(
            every("*/ui-frame/0ms").is(Aborted)
                & every("*/ui-frame/10ms").is(Aborted)
                & every("*/ui-frame/100ms").is(Clean),
        )
        .refuted_if(every("*/ui-frame/100ms").is(Aborted) | every("*/ui-frame/0ms").is(Clean))
        .kit_claim("A session's handle can be dropped before any wait and after it.")
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn drop_then_wait(scene: &Scene<'_>, wait: Duration) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    drop(store);
    thread::sleep(wait);
    runtime.shutdown_background();
    Ok(())
}

fn drop_inside(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let context = runtime.enter();
    drop(store);
    drop(context);
    runtime.shutdown_background();
    Ok(())
}

fn down_then_wait(scene: &Scene<'_>, wait: Duration) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    runtime.shutdown_background();
    thread::sleep(wait);
    drop(store);
    Ok(())
}

/// When the other owner lets go: when the server answers, or at the next frame.
const EVENT: Duration = ms(50);

/// Lets the application act after its wait and the other owner after [`EVENT`], so that chance does
/// not decide who is last.
fn each_in_its_time(
    wait: Duration,
    act: impl FnOnce(),
    event: impl FnOnce() -> TrialResult,
) -> TrialResult {
    if wait < EVENT {
        thread::sleep(wait);
        act();
        thread::sleep(EVENT - wait);
        event()
    } else {
        thread::sleep(EVENT);
        event()?;
        thread::sleep(wait - EVENT);
        act();
        Ok(())
    }
}

/// While the client starts, a task of its own holds a clone until the server has answered.
fn init_task(scene: &Scene<'_>, wait: Duration) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let (server, answer) = oneshot::channel::<()>();
    let clone = store.clone();
    let starting = runtime.spawn(async move {
        let _answered = answer.await;
        drop(clone);
    });
    let answered = || {
        drop(server);
        Ok(runtime.block_on(starting)?)
    };
    each_in_its_time(wait, || drop(store), answered)
}

thread_local! {
    /// What the user interface keeps for its next frame.
    static CACHE: RefCell<Option<Protected<Store>>> = const { RefCell::new(None) };
}

/// When the user interface lets go.
#[derive(Clone, Copy, PartialEq)]
enum Frame {
    /// At its next frame, after [`EVENT`].
    Soon,
    /// When the runtime is down: at the next login, for example.
    Later,
}

/// The order of the write-up: drop the client, wait, shut the runtime down. The application's main loop,
/// which is a task, has a clone, and the user interface has one in its cache.
fn log_out(scene: &Scene<'_>, wait: Duration, lets_go: Frame) -> TrialResult {
    let (runtime, store) = scene.warm_store()?;
    let (in_the_cache, in_the_loop) = (store.clone(), store.clone());
    let main_loop = runtime.spawn(async move {
        pending::<()>().await;
        drop(in_the_loop);
    });
    let (next_frame, frames) = mpsc::channel::<()>();
    let ui = thread::spawn(move || {
        CACHE.set(Some(in_the_cache));
        let _it_is_time = frames.recv();
        drop(CACHE.take());
    });
    runtime.block_on(async { drop(store) });
    let began = Instant::now();
    let shut_down = || {
        scene.record("waited", began.elapsed());
        runtime.shutdown_background();
        // It does not wait, and chance must not decide who is last.
        let _cancelled = block_on(main_loop);
    };
    let frame = || {
        drop(next_frame);
        Ok(ui.join().map_err(|_| "the user interface panicked")?)
    };
    if lets_go == Frame::Soon {
        return each_in_its_time(wait, shut_down, frame);
    }
    thread::sleep(wait);
    shut_down();
    frame()
}
