//! # 09 · shutdown methods
//!
//! A Tokio runtime can be taken down in three ways: `shutdown_background()`,
//! `shutdown_timeout(limit)`, and by dropping it. What has ended when each of them *returns*?
//!
//! Under way at that moment are a task that awaits the store, and the blocking closure that works
//! for it: a query that is not to be interrupted. The pool's own handle is gone already. The closure
//! goes on until it is let go, or else for [`QUERY`]; in the variants that are expected to wait, it
//! is never let go, and in those that are not, only after they have been looked at. Then the trial
//! looks at what is observable from outside: whether the closure still runs, which files are still
//! open, how many tasks the runtime counts, whether the log is still there, and how long the call
//! took.
//!
//! `shutdown_background()` waits for nothing (claim A3), a limit that is too short ends as it does,
//! and the work of the pool goes on afterwards (claim A8): nobody can know for how long, and a new
//! runtime that opens the same store meets it. Dropping the runtime, or a limit that is long enough,
//! waits for closures that run, and everything is closed.

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use experiments::{each_generation, warm_store};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    Trial, TrialResult, always, control, every, hazard,
};
use mock_sdk::store::{Generation, residue};
use sundown::evidence::open_files;
use tokio::runtime::Runtime;

/// How long the query takes that is under way.
const QUERY: Duration = Duration::from_millis(50);

/// A limit that the query outlasts, because in that variant it is only let go afterwards.
const TOO_SHORT: Duration = Duration::from_millis(5);

/// A limit that nothing outlasts.
const LONG_ENOUGH: Duration = Duration::from_secs(8);

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("What has ended when a runtime's shutdown returns?")
        .hypothesis(
            "After `shutdown_background()`, or a limit that was too short, work of the pool still \
             runs and its files are open. After `drop`, or a limit that was long enough, neither.",
        )
        .variants(
            each_generation(hazard, "background", always(Failed), |trial, generation| {
                look_after(trial, generation, Query::UntilLetGo, Runtime::shutdown_background)
            })
            .about("shutdown_background()"),
        )
        .variants(
            each_generation(hazard, "timeout-too-short", always(Failed), |trial, generation| {
                look_after(trial, generation, Query::UntilLetGo, |runtime| {
                    runtime.shutdown_timeout(TOO_SHORT);
                })
            })
            .about("shutdown_timeout() with a limit that the query outlasts"),
        )
        .variants(
            each_generation(control, "timeout-long-enough", always(Clean), |trial, generation| {
                look_after(trial, generation, Query::OfFixedLength, |runtime| {
                    runtime.shutdown_timeout(LONG_ENOUGH);
                })
            })
            .about("shutdown_timeout() with a limit that outlasts the query"),
        )
        .variants(
            each_generation(control, "drop", always(Clean), |trial, generation| {
                look_after(trial, generation, Query::OfFixedLength, drop)
            })
            .about("drop(runtime)"),
        )
        .claim("A3", "`shutdown_background()` does not wait for tasks.")
        .supported_if(
            every("*/background").observed("query_running").always_reads("true")
                & every("*/drop").observed("query_running").never_reads("true"),
        )
        .refuted_if(every("*/background").observed("query_running").never_reads("true"))
        .claim("A8", "Tasks of the pool are still present after shutdown.")
        .supported_if(
            every("*/background").observed("query_running").always_reads("true")
                & every("*/background").observed("files_open").always_at_least(1),
        )
        .refuted_if(
            every("*/background").observed("query_running").never_reads("true")
                & every("*/background").observed("files_open").always_at_most(0),
        )
        .run()
}

/// The query that is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Query {
    OfFixedLength,
    UntilLetGo,
}

fn look_after(
    trial: &Trial<'_>,
    generation: Generation,
    query: Query,
    shut_down: impl FnOnce(Runtime),
) -> TrialResult {
    let (runtime, store) = warm_store(trial, generation)?;
    let database = store.database().to_owned();
    let metrics = runtime.metrics();

    // A task of the application awaits a query.
    let running = Arc::new(AtomicBool::new(true));
    let (started, has_started) = mpsc::channel();
    let (let_go, is_let_go) = mpsc::channel::<()>();
    let (ended, has_ended) = mpsc::channel::<()>();
    let under_way = Arc::clone(&running);
    runtime.spawn(async move {
        let work = store.interact("query", move |_| {
            let _ended = ended;
            let _ = started.send(());
            let _ = is_let_go.recv_timeout(if query == Query::OfFixedLength {
                QUERY
            } else {
                Duration::MAX
            });
            under_way.store(false, Ordering::Release);
            Ok(())
        });
        work.await
    });
    has_started.recv()?;

    let start = Instant::now();
    shut_down(runtime);
    trial.record("took", start.elapsed());

    let still_running = running.load(Ordering::Acquire);
    let files_open = open_files(trial.directory())?.len();
    trial.record("query_running", still_running);
    trial.record("files_open", files_open);
    trial.record("tasks_alive", metrics.num_alive_tasks());
    trial.record("wal_left", residue(&database)?.wal_bytes.is_some());
    trial.check("no work runs any more", !still_running);
    trial.check("no file is open any more", files_open == 0);

    // Not a part of the question: let the query end, so that the trial does.
    drop(let_go);
    let _ = has_ended.recv();
    Ok(())
}
