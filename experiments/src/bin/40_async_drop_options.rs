//! 40 async drop options: a destructor cannot await. What happens to a background task and its unwritten
//! rows when its owner is dropped? Every option leaves the task running or loses its rows, unless
//! somebody calls and awaits a shutdown. The *graceful-with-fallback* pattern (`experiments/src/pattern.rs`)
//! is no exception, and neither is the kit. Page: `docs/src/40-async-drop-options.md`.

use std::{
    convert::Infallible,
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
};

use experiments::{
    pattern::{Manager, logged},
    prelude::*,
    probe::{Responder, on_one_thread, probe},
    scene::Body,
};
use sundown::task::BackgroundTask;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::JoinHandle,
};

/// How many rows the task holds. To write one is to increment `Writer::rows_written`.
const ROWS: usize = 3;

fn main() -> ExitCode {
    Experiment::new(file!())
        .question(
            "What happens to a background task and its unwritten data when its owner is dropped?",
        )
        .hypothesis(
            "Every option leaves the task running or loses its rows, unless somebody calls and \
             awaits a shutdown, or the task heeds a signal that the destructor sends and its runtime \
             lives. Where the shutdown is forgotten, a fallback that aborts ends the task, and loses the \
             rows.",
        )
        .first_expected("The same, without the signal in the destructor, which was not tried.")
        .variants([
            hazard("leak", Failed, trial(spawn_leaked, drop_owner)).about("the handle is dropped"),
            hazard("abort-in-drop", Failed, trial(Aborting::spawn, drop_owner))
                .about("the destructor aborts the task"),
            control("signal-in-drop/heeds", trial(Signalling::spawn, drop_owner))
                .about("the destructor sends the signal, and the task heeds it"),
            hazard("signal-in-drop/deaf", Failed, trial(Signalling::spawn_deaf, drop_owner))
                .about("the same, and the task does not"),
            control("manual/called", trial(Manual::spawn, Manual::shutdown))
                .about("a shutdown() by hand, which is called"),
            hazard("manual/forgotten", Failed, trial(Manual::spawn, drop_owner))
                .about("a shutdown() by hand, which is forgotten"),
            control("coordinator/told", trial(Coordinated::spawn, Coordinated::end_program))
                .about("a coordinator ends the task at the end of the program"),
            hazard("coordinator/owner-gone", Failed, trial(Coordinated::spawn, drop_owner))
                .about("the owner is dropped before the end of the program"),
            control("pattern/shutdown", trial(spawn_in_pattern, shut_pattern_down))
                .about("the pattern, shut down before it is dropped"),
            hazard("pattern/forgotten", Failed, trial(spawn_in_pattern, drop_owner))
                .about("the pattern, dropped without a shutdown"),
            cure("kit/shutdown", trial(spawn_in_kit, shut_kit_down))
                .about("BackgroundTask, shut down before it is dropped"),
            hazard("kit/forgotten", Failed, trial(spawn_in_kit, drop_owner))
                .about("BackgroundTask, dropped without a shutdown: no cure for that"),
        ])
        .keeps("still_running", [])
        .keeps("rows_lost", [])
        .keeps("warned", [])
        .claim(
            "D1",
            "The four traditional options each have a drawback. With the pattern nothing leaks, and \
             a shutdown that was forgotten is logged.",
        )
        .supported_if(
            every("leak").observed("still_running").always_reads("true")
                & every("abort-in-drop").observed("rows_lost").always_at_least(1)
                & every("manual/forgotten").is(Failed)
                & every("coordinator/owner-gone").is(Failed)
                & every("pattern/shutdown").is(Clean)
                & every("pattern/forgotten").observed("still_running").always_reads("false")
                & every("pattern/forgotten").observed("warned").always_reads("true"),
        )
        .refuted_if(
            every("pattern/shutdown").is(Failed)
                | every("pattern/forgotten").observed("still_running").always_reads("true")
                | every("pattern/forgotten").observed("warned").always_reads("false"),
        )
        .finding(
            "D1b",
            "Where the shutdown is forgotten, the pattern loses what an abort loses.",
        )
        .supported_if(
            every("pattern/forgotten").observed("rows_lost").always_at_least(1)
                & every("pattern/shutdown").observed("rows_lost").always_at_most(0),
        )
        .refuted_if(every("pattern/forgotten").observed("rows_lost").always_at_most(0))
        .run()
}

/// Spawns the task under an owner, disposes of the owner with `end`, and checks whether the task is still
/// running and how many rows it lost.
fn trial<Owner>(
    spawn: impl Fn(Writer) -> Owner + Send + Sync + 'static,
    end: impl AsyncFn(Owner) -> TrialResult + Send + Sync + 'static,
) -> impl Body {
    on_one_thread(async move |scene| {
        let (probe, responder) = probe();
        let rows_written = Arc::new(AtomicUsize::new(0));
        let owner = spawn(Writer { responder, rows_written: Arc::clone(&rows_written) });
        scene.check("the task has begun", probe.is_running().await);
        end(owner).await?;

        let still_running = probe.is_running().await;
        let rows_written = rows_written.load(Ordering::Relaxed);
        // A running task may still write its rows.
        let rows_lost = if still_running { 0 } else { ROWS - rows_written };
        scene.record("still_running", still_running);
        scene.record("rows_lost", rows_lost);
        if scene.variant().starts_with("pattern/") {
            scene.record("warned", logged().iter().any(|line| line.contains("without a shutdown")));
        }
        scene.check("the task has ended", !still_running);
        scene.check("no row is lost", rows_lost == 0);
        Ok(())
    })
}

/// The task.
struct Writer {
    responder: Responder,
    rows_written: Arc<AtomicUsize>,
}

impl Writer {
    /// Keeps its rows until `stop` is ready, and then writes them.
    async fn work<S: Future>(mut self, stop: S) {
        self.responder.until(stop).await;
        for _ in 0..ROWS {
            tokio::task::yield_now().await;
            self.rows_written.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn drop_owner<Owner>(owner: Owner) -> TrialResult {
    drop(owner);
    Ok(())
}

fn spawn_leaked(writer: Writer) -> JoinHandle<()> {
    tokio::spawn(writer.work(pending::<Infallible>()))
}

struct Aborting(JoinHandle<()>);

impl Aborting {
    fn spawn(writer: Writer) -> Self {
        Self(spawn_leaked(writer))
    }
}

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Has the destructor send the signal, which takes no time, and leave the task to it.
struct Signalling(Arc<Notify>);

impl Signalling {
    fn spawn(writer: Writer) -> Self {
        let stop = Arc::new(Notify::new());
        drop(tokio::spawn(writer.work(Arc::clone(&stop).notified_owned())));
        Self(stop)
    }

    fn spawn_deaf(writer: Writer) -> Self {
        drop(spawn_leaked(writer));
        Self(Arc::default())
    }
}

impl Drop for Signalling {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

struct Manual {
    stop: Arc<Notify>,
    handle: JoinHandle<()>,
}

impl Manual {
    fn spawn(writer: Writer) -> Self {
        let stop = Arc::new(Notify::new());
        let handle = tokio::spawn(writer.work(Arc::clone(&stop).notified_owned()));
        Self { stop, handle }
    }

    async fn shutdown(self) -> TrialResult {
        self.stop.notify_one();
        Ok(self.handle.await?)
    }
}

/// An owner and its coordinator. The coordinator has the handle and lives as long as the program: what
/// is leaked stands for it, and dropping this drops neither.
struct Coordinated {
    stop: &'static watch::Sender<bool>,
    task: &'static mut JoinHandle<()>,
}

impl Coordinated {
    fn spawn(writer: Writer) -> Self {
        let stop = Box::leak(Box::new(watch::Sender::new(false)));
        let mut stopped = stop.subscribe();
        let task = writer.work(async move { stopped.wait_for(|stopped| *stopped).await.is_ok() });
        Self { stop, task: Box::leak(Box::new(tokio::spawn(task))) }
    }

    async fn end_program(self) -> TrialResult {
        self.stop.send_replace(true);
        Ok(self.task.await?)
    }
}

fn spawn_in_pattern(writer: Writer) -> Manager {
    Manager::spawn(|signal| writer.work(signal))
}

async fn shut_pattern_down(manager: Manager) -> TrialResult {
    manager.shutdown().await;
    Ok(())
}

fn spawn_in_kit(writer: Writer) -> BackgroundTask<()> {
    BackgroundTask::spawn_on(&Handle::current(), "writer", |stop| writer.work(stop))
}

async fn shut_kit_down(task: BackgroundTask<()>) -> TrialResult {
    let _ = task.shutdown().await?;
    Ok(())
}
