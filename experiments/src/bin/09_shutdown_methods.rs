//! # 09 · shutdown methods
//!
//! A Tokio runtime can be taken down in three ways: `shutdown_background()`,
//! `shutdown_timeout(limit)`, and by dropping it. What has ended when each of them *returns*?
//!
//! Under way at that moment are a task that awaits the store, of which it is the only owner, and the
//! blocking closure that works for it: a query that is not to be interrupted. In the variants that
//! are expected to wait, the query takes 50 ms. In those that are not, it goes on until it is let go,
//! and that is done only after the trial has looked at what can be seen from outside: whether the
//! query still runs, which files are still open (no count of connections: while one holds a lock,
//! SQLite keeps the descriptors of those that were closed beside it), how many tasks the runtime
//! counts (it does not count closures), whether the log is still there, and how long the call took.
//!
//! `shutdown_background()` waits for nothing (claim A3), a limit that is too short ends as it does,
//! and the work of the pool goes on afterwards (claim A8): nobody can know for how long, and a new
//! runtime that opens the same store meets it. Dropping the runtime, or a limit that is long enough,
//! waits for closures that run, and everything is closed.
//!
//! The cures close a session first, which waits for the task's handle and so for the query, and take
//! the runtime down after that, by the method that waits for nothing. Where the limit is too short
//! they are told so.

use std::{
    future::Future,
    ops::Deref,
    process::ExitCode,
    sync::mpsc::{self, TryRecvError},
    time::{Duration, Instant},
};

use experiments::{Scene, control, cure, hazard, scene::guarded};
use lab::{Experiment, Outcome::Failed, TrialResult, every};
use mock_sdk::store::{Store, residue, rusqlite::Connection};
use sundown::evidence::open_files;
use tokio::runtime::Runtime;

/// How long the query takes where it is waited for.
pub const QUERY: Duration = Duration::from_millis(50);
/// And where it is not.
pub const UNTIL_LET_GO: Duration = Duration::MAX;

/// A limit that the query outlasts.
pub const TOO_SHORT: Duration = Duration::from_millis(5);

/// A limit that outlasts the query.
const LONG_ENOUGH: Duration = Duration::from_secs(8);

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Number 13 takes its cures from here.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("What has ended when a runtime's shutdown returns?")
        .hypothesis(
            "After `shutdown_background()`, or a limit that was too short, work of the pool still \
             runs and its files are open. After `drop`, or a limit that was long enough, neither.",
        )
        .variants([
            hazard("*/background", Failed, |scene| {
                look_after(scene, UNTIL_LET_GO, |runtime, _| {
                    runtime.shutdown_background();
                    Ok(())
                })
            })
            .about("shutdown_background()"),
            hazard("*/timeout-too-short", Failed, |scene| {
                look_after(scene, UNTIL_LET_GO, |runtime, _| {
                    runtime.shutdown_timeout(TOO_SHORT);
                    Ok(())
                })
            })
            .about("shutdown_timeout() with a limit that the query outlasts"),
            control("*/timeout-long-enough", |scene| {
                look_after(scene, QUERY, |runtime, _| {
                    runtime.shutdown_timeout(LONG_ENOUGH);
                    Ok(())
                })
            })
            .about("shutdown_timeout() with a limit that outlasts the query"),
            control("*/drop", |scene| {
                look_after(scene, QUERY, |runtime, _| {
                    drop(runtime);
                    Ok(())
                })
            })
            .about("drop(runtime)"),
            cure("*/kit/background", guarded(closed_first))
                .about("the session is closed first, and then shutdown_background()"),
            cure("*/kit/timeout-too-short", guarded(closed_twice))
                .about("closed within a limit that is too short, which it says, and then again"),
        ])
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
        .kit_claim(
            "A session says whether it has closed; when it has, no query runs and no file is open, \
             and any shutdown of the runtime will do.",
        )
}

/// The task has a handle of the session: it is closed when the task has let that go.
fn closed_first(scene: &Scene<'_>) -> TrialResult {
    look_after(scene, QUERY, |runtime, _| {
        scene.close()?;
        runtime.shutdown_background();
        Ok(())
    })
}

/// `shutdown_timeout` returns at its limit as it does at the end. `close` returns an error.
fn closed_twice(scene: &Scene<'_>) -> TrialResult {
    look_after(scene, UNTIL_LET_GO, |runtime, let_go| {
        let told = scene.one_handle_is_left(TOO_SHORT);
        scene.trial.check("the session says that the task has a handle", told);
        let_go.send(())?;
        scene.close()?;
        runtime.shutdown_background();
        Ok(())
    })
}

/// Looks when the shutdown has returned. It is given what lets the query go, which otherwise happens
/// after the look.
fn look_after(
    scene: &Scene<'_>,
    time: Duration,
    shut_down: impl FnOnce(Runtime, &mpsc::Sender<()>) -> TrialResult,
) -> TrialResult {
    let (trial, (runtime, store)) = (scene.trial, scene.warm_store()?);
    let database = store.database().to_owned();
    let metrics = runtime.metrics();

    let (task, query) = query(store, time);
    runtime.spawn(task);
    query.has_started.recv()?;

    let start = Instant::now();
    shut_down(runtime, &query.let_go)?;
    trial.record("took", start.elapsed());

    let query_running = query.is_running();
    let files_open = open_files(trial.directory())?.len();
    trial.record("query_running", query_running);
    trial.record("files_open", files_open);
    trial.record("tasks_alive", metrics.num_alive_tasks());
    trial.record("wal_left", residue(&database)?.wal_bytes.is_some());
    trial.check("the query has ended", !query_running);
    trial.check("no file is open any more", files_open == 0);

    // The trial ends only when the query has: what it does later must not be cut off.
    query.end();
    Ok(())
}

/// A query under way.
pub struct Query {
    /// Is told when it has begun.
    pub has_started: mpsc::Receiver<()>,
    let_go: mpsc::Sender<()>,
    has_ended: mpsc::Receiver<()>,
}

/// A task that awaits the store, of which it is the only owner, and its query, which goes on for so
/// long unless it is let go.
pub fn query(
    store: impl Deref<Target = Store> + Send + Sync + 'static,
    time: Duration,
) -> (impl Future<Output = ()> + Send + 'static, Query) {
    let (started, has_started) = mpsc::channel();
    let (let_go, is_let_go) = mpsc::channel::<()>();
    let (ended, has_ended) = mpsc::channel::<()>();
    let task = async move {
        let query = move |_: &mut Connection| {
            let _ended_when_dropped = ended;
            let _ = started.send(());
            let _ = is_let_go.recv_timeout(time);
            Ok(())
        };
        let _ = store.interact("query", query).await;
    };
    (task, Query { has_started, let_go, has_ended })
}

impl Query {
    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.has_ended.try_recv() == Err(TryRecvError::Empty)
    }

    /// Lets it go, and waits until it has ended.
    pub fn end(self) {
        drop(self.let_go);
        let _ = self.has_ended.recv();
    }
}
