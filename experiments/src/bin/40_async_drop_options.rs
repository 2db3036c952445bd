//! 40 async drop options: a destructor cannot await. What becomes of a long-lived task, and of what it
//! holds, when its owner goes? Every option leaves it running or loses its rows, unless somebody calls
//! and awaits a shutdown; the *graceful-with-fallback* pattern is no exception, and neither is the
//! kit. Page: `docs/src/40-async-drop-options.md`.

use std::{
    convert::Infallible,
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
};

use experiments::{
    pattern::Manager,
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

/// What the task has in memory, and writes when it is told to stop.
const ROWS: usize = 3;

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("What becomes of a background task, and of what it holds, when its owner goes?")
        .hypothesis(
            "Every option leaves the task running or loses its rows, unless somebody calls and \
             awaits a shutdown. Where the shutdown is forgotten, a fallback that aborts ends the \
             task, and loses the rows.",
        )
        .variants([
            hazard("leak", Failed, owned(leak, dropped)).about("the handle is dropped"),
            hazard("abort-in-drop", Failed, owned(Aborting::spawn, dropped))
                .about("the destructor aborts the task"),
            control("manual/called", owned(Manual::spawn, Manual::shutdown))
                .about("a shutdown() by hand, which is called"),
            hazard("manual/forgotten", Failed, owned(Manual::spawn, dropped))
                .about("a shutdown() by hand, which is forgotten"),
            control("coordinator/told", owned(Coordinated::spawn, Coordinated::end_of_program))
                .about("a coordinator ends the task at the end of the program"),
            hazard("coordinator/owner-gone", Failed, owned(Coordinated::spawn, dropped))
                .about("the owner is dropped before the end of the program"),
            control("pattern/shutdown", owned(pattern, shut_down_pattern))
                .about("the pattern, shut down before it is dropped"),
            hazard("pattern/forgotten", Failed, owned(pattern, dropped))
                .about("the pattern, dropped without a shutdown"),
            cure("kit/shutdown", owned(kit, shut_down_kit))
                .about("BackgroundTask, shut down before it is dropped"),
            hazard("kit/forgotten", Failed, owned(kit, dropped))
                .about("BackgroundTask, dropped without a shutdown: no cure for that"),
        ])
        .claim(
            "D1",
            "The four traditional options each have a drawback (a leak, an abrupt end, a call that \
             is easily forgotten, orchestration from outside); the pattern has none of them.",
        )
        .supported_if(
            every("leak").is(Failed)
                & every("abort-in-drop").is(Failed)
                & every("manual/forgotten").is(Failed)
                & every("coordinator/owner-gone").is(Failed)
                & every("pattern/*").is(Clean),
        )
        .refuted_if(
            every("pattern/forgotten").observed("still_running").always_reads("true")
                | every("pattern/forgotten").observed("rows_lost").always_at_least(1),
        )
        .run()
}

/// Gives the task an owner, ends that in one way, and looks: does the task still run, and how many
/// rows are lost because it has ended without writing them?
fn owned<Owner>(
    own: impl Fn(Writer) -> Owner + Send + Sync + 'static,
    end: impl AsyncFn(Owner) -> TrialResult + Send + Sync + 'static,
) -> impl Body {
    on_one_thread(async move |scene| {
        let (probe, responder) = probe();
        let rows_written = Arc::new(AtomicUsize::new(0));
        let owner = own(Writer { responder, rows_written: Arc::clone(&rows_written) });
        scene.check("the task has begun", probe.is_running().await);
        end(owner).await?;

        let still_running = probe.is_running().await;
        let rows_written = rows_written.load(Ordering::Relaxed);
        let rows_lost = if still_running { 0 } else { ROWS - rows_written };
        scene.record("still_running", still_running);
        scene.record("rows_lost", rows_lost);
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
    /// Keeps its rows until it is told to stop, and then writes them.
    async fn work<S: Future>(mut self, stop: S) {
        self.responder.until(stop).await;
        for _ in 0..ROWS {
            tokio::task::yield_now().await;
            self.rows_written.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The owner is dropped, and nothing else is done.
async fn dropped<Owner>(owner: Owner) -> TrialResult {
    drop(owner);
    Ok(())
}

fn leak(writer: Writer) -> JoinHandle<()> {
    tokio::spawn(writer.work(pending::<Infallible>()))
}

struct Aborting(JoinHandle<()>);

impl Aborting {
    fn spawn(writer: Writer) -> Self {
        Self(leak(writer))
    }
}

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
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

/// An owner that has nothing of its task: that is with the coordinator, which lives as long as the
/// program.
struct Coordinated(&'static watch::Sender<bool>, &'static mut JoinHandle<()>);

impl Coordinated {
    fn spawn(writer: Writer) -> Self {
        let coordinator = Box::leak(Box::new(watch::Sender::new(false)));
        let mut told = coordinator.subscribe();
        let task = writer.work(async move { told.wait_for(|told| *told).await.is_ok() });
        Self(coordinator, Box::leak(Box::new(tokio::spawn(task))))
    }

    async fn end_of_program(self) -> TrialResult {
        self.0.send_replace(true);
        Ok(self.1.await?)
    }
}

fn pattern(writer: Writer) -> Manager {
    Manager::spawn(|signal| writer.work(signal))
}

async fn shut_down_pattern(manager: Manager) -> TrialResult {
    manager.shutdown().await;
    Ok(())
}

fn kit(writer: Writer) -> BackgroundTask<()> {
    BackgroundTask::spawn_on(&Handle::current(), "writer", |stop| writer.work(stop))
}

async fn shut_down_kit(task: BackgroundTask<()>) -> TrialResult {
    let _ = task.shutdown().await?;
    Ok(())
}
