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

/// Why a test has failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    pub(super) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Its body has, or could not run.
    Body,
    /// Something was left behind.
    Left,
}

impl Failure {
    pub(super) const fn of(message: String) -> Self {
        Self { reason: Reason::Body, message }
    }
}

/// What a test panics with that has left something behind. It is no text, so that no expected text of a `#[should_panic]`
/// is found in it.
struct LeftBehind;

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
    {
        use super::child::Role;
        fail_with(match Role::of_this_process(path) {
            Ok(Role::Alone) => here(options, body),
            Ok(Role::Child(parent)) => parent.end(&here(options, body)),
            Ok(Role::Parent(child)) => child.run(),
            Err(message) => Err(Failure::of(message)),
        });
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        fail_with(here(options, body));
    }
}

/// Fails this test, if it has.
fn fail_with(result: Result<(), Failure>) {
    let Err(Failure { reason, message }) = result else { return };
    // Not by `panic!`, which names this line.
    eprintln!("{message}");
    resume_unwind(match reason {
        Reason::Body => Box::new(message),
        Reason::Left => Box::new(LeftBehind),
    });
}

/// Runs the body in this process, and looks at what is left.
fn here(options: &Options, body: impl FnOnce() -> Ended + Send) -> Result<(), Failure> {
    #[cfg(not(target_os = "linux"))]
    return judge(options, run_body(body)?, Vec::new());
    #[cfg(target_os = "linux")]
    {
        // Tokio's parts for signals and child processes are made with the first runtime, and stay. It is not just
        // dropped: in a test that has a runtime of its own, that panics.
        if let Ok(first) = Builder::new_current_thread().enable_all().build() {
            first.shutdown_background();
        }
        let before = super::look::begin()
            .map_err(|error| Failure::of(format!("cannot look at this process: {error}")))?;
        let result = run_body(body).and_then(|tasks| {
            let left = before.left(options).map_err(Failure::of)?;
            judge(options, tasks, left)
        });
        if result.is_err() {
            // The rest ends with the process of the test.
            before.end_processes(|leak| options.allows(leak));
        }
        result
    }
}

/// Runs the body on a thread of its own. Returns the tasks that it has left behind.
fn run_body(body: impl FnOnce() -> Ended + Send) -> Result<Vec<Leak>, Failure> {
    let name = thread::current().name().unwrap_or("test").to_owned();
    let ended = thread::scope(|scope| {
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, body);
        thread.map(|thread| thread.join())
    });
    match ended {
        Ok(Ok(Ended { failed: None, tasks })) => Ok(tasks),
        Ok(Ok(Ended { failed: Some(failed), .. })) => Err(Failure::of(failed)),
        Ok(Err(panic)) => Err(Failure::of(panics::message(panic))),
        Err(error) => Err(Failure::of(format!("cannot start a thread for the test: {error}"))),
    }
}

fn judge(options: &Options, tasks: Vec<Leak>, others: Vec<Leak>) -> Result<(), Failure> {
    let leaks = options.judge(tasks.into_iter().chain(others).collect());
    if leaks.is_empty() {
        return Ok(());
    }
    let mut message = "the test left behind what it had started or opened:".to_owned();
    for leak in leaks {
        message += &format!("\n  {leak}");
    }
    Err(Failure { reason: Reason::Left, message })
}

/// Runs a body without a runtime.
pub(super) fn sync<R: Termination>(options: &Options, body: impl FnOnce() -> R) -> Ended {
    Ended { failed: outcome(options, catch_unwind(AssertUnwindSafe(body))), tasks: Vec::new() }
}

/// Runs a future on a runtime of its own, which is shut down afterwards.
pub(super) fn with_runtime<F>(
    options: &Options,
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
    let failed = outcome(options, ended);
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
fn outcome<R: Termination>(
    options: &Options,
    ended: Result<R, Box<dyn Any + Send>>,
) -> Option<String> {
    let returned = ended.map(|value| value.report() == ExitCode::SUCCESS);
    match (returned.map_err(panics::message), &options.expected_panic) {
        (Ok(false), _) => Some("the test returned an error".to_owned()),
        (Ok(true), None) => None,
        (Ok(true), Some(_)) => Some("the test did not panic, which it should".to_owned()),
        (Err(message), None) => Some(message),
        (Err(message), Some(expected)) => (!message.contains(expected)).then(|| {
            format!("the test panicked with another message than expected\n  panic: {message}\n  expected: {expected}")
        }),
    }
}
