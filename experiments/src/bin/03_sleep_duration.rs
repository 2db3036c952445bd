//! # 03 · sleep duration
//!
//! The first thing that anyone tries against a panic at shutdown is to wait a little. The demo
//! project *rust-logout-issue* says why it should help: after the client was dropped, its tasks need
//! time to complete before the runtime goes (claim A4).
//!
//! There are four places to wait in, and each is tried with no wait, and with longer ones up to a
//! second:
//!
//! - **`drop-then-wait`** is the order of that project: drop the client, wait, shut the runtime down.
//!   The drop is off context, so it aborts, and the wait is never reached. With the drop inside a
//!   context no wait is needed at all.
//! - **`down-then-wait`** shuts the runtime down first, waits for things to settle, and drops then.
//!   No time settles this.
//! - **`init-task`** is a client as real ones are: while it starts, a task of its own holds a clone
//!   of it until the server has answered, 50 ms later here. Whoever drops *last* runs the destructor.
//!   Dropped at once, the client outlives its drop in that task, which ends on a thread of the
//!   runtime: clean. Dropped after a wait, the dropping thread is last: abort. Waiting longer makes
//!   it *worse*, which is what makes the panic look like a race that needs just a little more time.
//! - **`ui-frame`** has a user interface in it: a thread whose cache holds a clone, and which lets go
//!   of it at its next frame, 50 ms after it was told to. The application waits, drops its own handle
//!   *in a context*, and shuts down. If it waits for less than the frame, the thread of the user
//!   interface is last, which has no context: abort. If it waits for more, the application is: clean.
//!   This is the one place where waiting helps, and what helps is that another owner went first.
//!
//! The server's answer and the frame are given by the trial itself, each in its place between the
//! waits, so that who is last is never left to chance.

use std::{cell::RefCell, process::ExitCode, sync::mpsc, thread, time::Duration};

use experiments::{
    Scene, control, cure, hazard,
    scene::{Kept, guarded},
    warm_store,
};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean},
    TrialResult, every,
};
use mock_sdk::store::Store;
use tokio::sync::oneshot;

const NO_WAIT: Duration = Duration::ZERO;
const SHORT: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_millis(100);
const VERY_LONG: Duration = Duration::from_secs(1);

/// How long after the start the server answers the client's first request.
const ANSWER: Duration = Duration::from_millis(50);

/// How long after it was told to the user interface lets go: at its next frame.
const FRAME: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Number 13 takes its cures from here.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("How long must one wait for the panic to stay away?")
        .hypothesis(
            "No wait prevents it by itself: it only decides who is the last owner. Where a task of \
             the client's own would be, waiting brings the panic on; where a user interface would \
             be, waiting until that has let go keeps it away.",
        )
        .variants([
            hazard("*/drop-then-wait/0ms", Aborted, drop_then_wait(NO_WAIT))
                .about("dropped off context, then shut down at once"),
            hazard("*/drop-then-wait/1s", Aborted, drop_then_wait(VERY_LONG))
                .about("dropped off context, then a wait, then shut down")
                .trials(5)
                .waits(),
            control("*/drop-inside/0ms", drop_inside_without_wait)
                .about("dropped in a context, then shut down at once"),
            hazard("*/down-then-wait/0ms", Aborted, down_then_wait(NO_WAIT))
                .about("shut down, then dropped off context at once"),
            hazard("*/down-then-wait/10ms", Aborted, down_then_wait(SHORT))
                .about("shut down, then a wait, then dropped off context"),
            hazard("*/down-then-wait/100ms", Aborted, down_then_wait(LONG))
                .about("the same, with a longer wait")
                .trials(10)
                .waits(),
            hazard("old/down-then-wait/1s", Aborted, down_then_wait(VERY_LONG))
                .about("the same, with a very long wait")
                .trials(5)
                .waits(),
            control("*/init-task/0ms", init_task(NO_WAIT))
                .about("dropped off context at once: the client's own task is the last owner")
                .trials(10),
            control("*/init-task/10ms", init_task(SHORT))
                .about("dropped off context after a wait that the task outlasts")
                .trials(10),
            hazard("*/init-task/100ms", Aborted, init_task(LONG))
                .about("dropped off context after a wait that outlasts the task")
                .trials(10),
            hazard("old/init-task/1s", Aborted, init_task(VERY_LONG))
                .about("the same, with a very long wait")
                .trials(5)
                .waits(),
            hazard("*/ui-frame/0ms", Aborted, ui_frame(NO_WAIT))
                .about("a user interface lets go at its next frame, the application at once")
                .trials(10),
            hazard("*/ui-frame/10ms", Aborted, ui_frame(SHORT))
                .about("the same, after a wait that ends before the frame")
                .trials(10),
            control("*/ui-frame/100ms", ui_frame(LONG))
                .about("the same, after a wait that the frame comes in")
                .trials(10),
            control("old/ui-frame/1s", ui_frame(VERY_LONG))
                .about("the same, after a very long wait")
                .trials(5)
                .waits(),
            cure("*/kit/drop-then-wait/0ms", guarded(drop_then_wait(NO_WAIT)))
                .about("a session's handle, dropped off context, then shut down at once"),
            cure("*/kit/drop-then-wait/1s", guarded(drop_then_wait(VERY_LONG)))
                .about("a session's handle, dropped off context, then a wait, then shut down")
                .trials(5)
                .waits(),
            cure("*/kit/down-then-wait/0ms", guarded(down_then_wait(NO_WAIT)))
                .about("shut down, then a session's handle dropped off context at once"),
            cure("*/kit/down-then-wait/10ms", guarded(down_then_wait(SHORT)))
                .about("shut down, then a wait, then a session's handle dropped off context"),
            cure("*/kit/down-then-wait/100ms", guarded(down_then_wait(LONG)))
                .about("the same, with a longer wait")
                .trials(10)
                .waits(),
            cure("old/kit/down-then-wait/1s", guarded(down_then_wait(VERY_LONG)))
                .about("the same, with a very long wait")
                .trials(5)
                .waits(),
            cure("*/kit/init-task/100ms", guarded(init_task(LONG)))
                .about("a session's handle in the task and one that outlasts it")
                .trials(10),
            cure("old/kit/init-task/1s", guarded(init_task(VERY_LONG)))
                .about("the same, with a very long wait")
                .trials(5)
                .waits(),
            cure("*/kit/ui-frame/0ms", guarded(ui_frame(NO_WAIT)))
                .about("session's handles in the user interface and in the application")
                .trials(10),
            cure("*/kit/ui-frame/10ms", guarded(ui_frame(SHORT)))
                .about("the same, after a wait that ends before the frame")
                .trials(10),
        ])
        .claim("A4", "Giving the tasks time after the drop prevents the panic.")
        .supported_if(
            every("*/drop-then-wait/0ms").is(Aborted) & every("*/drop-then-wait/1s").is(Clean),
        )
        .refuted_if(
            every("*/drop-then-wait/*").is(Aborted)
                & every("*/down-then-wait/*").is(Aborted)
                & every("*/drop-inside/0ms").is(Clean),
        )
        .kit_claim("A session's handle can be dropped before any wait and after it.")
}

fn drop_then_wait(wait: Duration) -> impl Fn(&Scene<'_>) -> TrialResult + Clone {
    move |scene| {
        let (runtime, store) = scene.warm_store()?;
        drop(store);
        thread::sleep(wait);
        runtime.shutdown_background();
        Ok(())
    }
}

fn drop_inside_without_wait(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
    let (runtime, store) = warm_store(trial, generation)?;
    let context = runtime.enter();
    drop(store);
    drop(context);
    runtime.shutdown_background();
    Ok(())
}

fn down_then_wait(wait: Duration) -> impl Fn(&Scene<'_>) -> TrialResult + Clone {
    move |scene| {
        let (runtime, store) = scene.warm_store()?;
        runtime.shutdown_background();
        thread::sleep(wait);
        drop(store);
        Ok(())
    }
}

fn init_task(wait: Duration) -> impl Fn(&Scene<'_>) -> TrialResult + Clone {
    move |scene| {
        let (runtime, store) = scene.warm_store()?;

        // The client starts: a task holds a clone of it until the server has answered.
        let (server, answer) = oneshot::channel::<()>();
        let clone = store.clone();
        let starting = runtime.spawn(async move {
            let _answered = answer.await;
            drop(clone);
        });

        // The application waits, and drops it, with the answer somewhere before or behind that.
        if wait < ANSWER {
            thread::sleep(wait);
            drop(store);
            thread::sleep(ANSWER - wait);
            drop(server);
            runtime.block_on(starting)?;
        } else {
            thread::sleep(ANSWER);
            drop(server);
            runtime.block_on(starting)?;
            thread::sleep(wait - ANSWER);
            drop(store);
        }
        Ok(())
    }
}

thread_local! {
    /// What the user interface keeps for its next frame.
    static CACHE: RefCell<Option<Kept<Store>>> = const { RefCell::new(None) };
}

fn ui_frame(wait: Duration) -> impl Fn(&Scene<'_>) -> TrialResult + Clone {
    move |scene| {
        let (runtime, store) = scene.warm_store()?;

        // A user interface: its thread has a cache, and does what it was told at its next frame.
        let clone = store.clone();
        let (next_frame, frames) = mpsc::channel::<()>();
        let ui = thread::Builder::new().name("ui".to_owned()).spawn(move || {
            CACHE.set(Some(clone));
            let _it_is_time = frames.recv();
            drop(CACHE.take());
        })?;
        let frame = || {
            drop(next_frame);
            ui.join().map_err(|_| "the user interface panicked")
        };

        // It has been told to let go. The application waits, with the frame before or behind that.
        let shut_down = || {
            let context = runtime.enter();
            drop(store);
            drop(context);
            runtime.shutdown_background();
        };
        if wait < FRAME {
            thread::sleep(wait);
            shut_down();
            thread::sleep(FRAME - wait);
            frame()?;
        } else {
            thread::sleep(FRAME);
            frame()?;
            thread::sleep(wait - FRAME);
            shut_down();
        }
        Ok(())
    }
}
