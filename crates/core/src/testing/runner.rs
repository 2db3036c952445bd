//! Runs a test, here or in a process of its own, and looks at what is left.

use std::{
    any::Any,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    process::{ExitCode, Termination},
    thread,
};

use tokio::runtime::{Builder, Runtime};

use super::{Kind, Leak, Options, TIME_TO_END, in_time};
use crate::panics;

/// How the body of a test ended.
pub(super) struct Ended {
    /// The message of what failed.
    failed: Option<String>,
    /// The tasks that are left.
    tasks: Vec<Leak>,
}

/// Runs a test. Panics if it fails.
pub(super) fn run(path: Option<&str>, options: &Options, body: impl FnOnce() -> Ended + Send) {
    #[cfg(target_os = "linux")]
    match super::child::Role::of_this_process(path) {
        super::child::Role::Alone => fail_with(here(options, body).err()),
        super::child::Role::Child(parent) => parent.tell(here(options, body)),
        super::child::Role::Parent(child) => fail_with(child.run().err()),
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        fail_with(here(options, body).err());
    }
}

/// Fails this test.
fn fail_with(message: Option<String>) {
    if let Some(message) = message {
        // Not by `panic!`, which names this line.
        eprintln!("{message}");
        resume_unwind(Box::new(message));
    }
}

/// Runs the body in this process, and looks at what is left.
fn here(options: &Options, body: impl FnOnce() -> Ended + Send) -> Result<(), String> {
    #[cfg(target_os = "linux")]
    let before = {
        // Tokio's parts for signals and child processes are made with the first runtime, and stay.
        drop(Builder::new_current_thread().enable_all().build());
        super::look::begin().map_err(|error| format!("cannot look at this process: {error}"))?
    };
    let name = thread::current().name().unwrap_or("test").to_owned();
    let ended = thread::scope(|scope| {
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, body);
        thread.map(|thread| thread.join())
    });
    let Ended { failed, tasks } = match ended {
        Ok(Ok(ended)) => ended,
        Ok(Err(panic)) => return Err(panics::message(panic)),
        Err(error) => return Err(format!("cannot start a thread for the test: {error}")),
    };
    if let Some(failed) = failed {
        return Err(failed);
    }
    let mut leaks = tasks;
    #[cfg(target_os = "linux")]
    leaks.extend(before.left(|leak| options.allows(leak))?);
    leaks = options.judge(leaks);
    if leaks.is_empty() {
        return Ok(());
    }
    let mut message = "the test left behind what it had started or opened:".to_owned();
    for leak in leaks {
        message += &format!("\n  {leak}");
    }
    Err(message)
}

/// Runs a body without a runtime.
pub(super) fn sync<R: Termination>(body: impl FnOnce() -> R) -> Ended {
    Ended { failed: outcome(catch_unwind(AssertUnwindSafe(body))), tasks: Vec::new() }
}

/// Runs a future on a runtime of its own, which is shut down afterwards.
pub(super) fn with_runtime<F>(
    runtime: impl FnOnce() -> io::Result<Runtime>,
    body: impl FnOnce() -> F,
) -> Ended
where
    F: Future<Output: Termination>,
{
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            let failed = Some(format!("cannot build the runtime of the test: {error}"));
            return Ended { failed, tasks: Vec::new() };
        }
    };
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(async { body().await })));
    let failed = outcome(ended);
    let tasks = match failed {
        None => left_on(&runtime),
        Some(_) => Vec::new(),
    };
    runtime.shutdown_timeout(TIME_TO_END);
    Ended { failed, tasks }
}

/// The tasks that are alive on a runtime, and do not end.
fn left_on(runtime: &Runtime) -> Vec<Leak> {
    let alive = || runtime.metrics().num_alive_tasks();
    // Those that were aborted end when they are polled, and a runtime without workers polls inside `block_on` alone.
    // That never waits here, so a clock that is paused stays where it is.
    let have_ended = in_time(|| {
        alive() == 0 || {
            runtime.block_on(async {
                for _ in 0..64 {
                    tokio::task::yield_now().await;
                }
            });
            alive() == 0
        }
    });
    if have_ended {
        return Vec::new();
    }
    let left = alive();
    #[cfg(target_os = "linux")]
    let functions = super::memory::functions_of_tasks();
    #[cfg(not(target_os = "linux"))]
    let functions = Vec::<String>::new();
    let task = |number: usize| {
        let name = match &*functions {
            [function] => function.clone(),
            functions => {
                functions.get(number - 1).cloned().unwrap_or(format!("{number} of the runtime"))
            }
        };
        let origin = "alive on the test's runtime when the test had ended".to_owned();
        Leak { kind: Kind::Task, name: format!("`{name}`"), origin }
    };
    (1..=left).map(task).collect()
}

/// The message of a test that has failed.
fn outcome<R: Termination>(ended: Result<R, Box<dyn Any + Send>>) -> Option<String> {
    match ended {
        Ok(value) => {
            (value.report() != ExitCode::SUCCESS).then(|| "the test returned an error".to_owned())
        }
        Err(panic) => Some(panics::message(panic)),
    }
}
