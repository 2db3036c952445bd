//! # 45 · signal latency
//!
//! How long does a graceful stop take? Typically until the current tick of its interval, says the
//! write-up of the *graceful-with-fallback* pattern, and at worst as long as the interval is: 5
//! minutes for one of its two loops (claim D6). That is what a reader of the code would fear: the
//! task is waiting for the next tick when the signal comes.
//!
//! It does not wait for the tick alone. `select!` registers the task with both, and whichever comes
//! first wakes it. What a stop does wait for is the *body* of the loop: while a branch has been chosen
//! and awaits something in its turn, nobody looks at the signal.
//!
//! - `…/100-microseconds`, `…/5-minutes`: the loops as the write-up has them, told to stop when the
//!   first tick (which is immediate) is over.
//! - `looks-after-the-tick/5-minutes`: the loop as the claim has it. It awaits the tick, and looks at
//!   the signal then. Here the trial does not wait for the end: it is minutes away.
//! - `pattern/5-minutes-at-work`: the signal comes while the body is at work; it has ended when the
//!   work is done, which here is when the trial lets it go.
//! - `kit/…`: the same loops with `BackgroundTask`. What is at work is aborted at the limit.
//!
//! Latencies are recorded, and judged by a bound of seconds, which is generous for any machine and
//! nothing beside 5 minutes.

use std::{
    future::Future,
    pin::pin,
    process::ExitCode,
    sync::mpsc::{self, Receiver, Sender},
    time::{Duration, Instant},
};

use experiments::{
    Scene, control, cure, hazard,
    pattern::{Manager, Signal},
    runtime,
};
use lab::{Experiment, Outcome::Failed, Trial, TrialResult, every};
use sundown::{stop::Stop, task::BackgroundTask};
use tokio::{
    sync::oneshot,
    time::{interval, timeout},
};

/// The intervals of the write-up's two loops.
const SCHEDULER: Duration = Duration::from_micros(100);
const CLEANUP: Duration = Duration::from_secs(5 * 60);

/// How long a trial looks at what does not end within minutes, or not before it is let go.
const LOOK: Duration = Duration::from_millis(20);

/// Long for a machine, and short beside 5 minutes.
const SOON: i64 = 5_000_000_000;

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Does a graceful stop wait for the interval of the loop that is to stop?")
        .hypothesis(
            "No: select wakes at the signal, whatever the interval. A stop waits for the body of \
             the loop, and for a tick only where the loop does not select.",
        )
        .variants([
            control("pattern/100-microseconds", |trial| pattern_stops(trial, SCHEDULER))
                .about("a loop that selects between the signal and a tick every 100 µs"),
            control("pattern/5-minutes", |trial| pattern_stops(trial, CLEANUP))
                .about("the same with a tick every 5 minutes"),
            hazard("looks-after-the-tick/5-minutes", Failed, looks_after_the_tick)
                .about("a loop that awaits the tick, and looks at the signal then"),
            hazard("pattern/5-minutes-at-work", Failed, pattern_at_work)
                .about("the signal comes while the loop's body awaits something"),
            cure("kit/100-microseconds", |trial| kit_stops(trial, SCHEDULER))
                .about("BackgroundTask, a tick every 100 µs"),
            cure("kit/5-minutes", |trial| kit_stops(trial, CLEANUP))
                .about("BackgroundTask, a tick every 5 minutes"),
            cure("kit/5-minutes-at-work", kit_at_work)
                .about("BackgroundTask, its body at work: aborted at the limit"),
        ])
        .claim("D6", "A graceful stop may wait for the interval of the loop, up to 5 minutes.")
        .supported_if(!every("pattern/5-minutes").observed("latency").always_at_most(SOON))
        .refuted_if(
            every("pattern/5-minutes").observed("latency").always_at_most(SOON)
                & every("looks-after-the-tick/5-minutes").is(Failed),
        )
        .run()
}

/// The loop of the pattern. Says when its first tick is over.
async fn selects<S: Future>(stop: S, period: Duration, ticked: Sender<()>) {
    let mut stop = pin!(stop);
    let mut interval = interval(period);
    loop {
        tokio::select! {
            _ = &mut stop => break,
            _ = interval.tick() => {
                let _ = ticked.send(());
            }
        }
    }
}

/// The same, with a body that takes until it is let go.
async fn selects_and_works<S: Future>(stop: S, ticked: Sender<()>, work: oneshot::Receiver<()>) {
    let mut stop = pin!(stop);
    let mut work = pin!(work);
    let mut interval = interval(CLEANUP);
    loop {
        tokio::select! {
            _ = &mut stop => break,
            _ = interval.tick() => {
                let _ = ticked.send(());
                let _ = work.as_mut().await;
            }
        }
    }
}

fn pattern_stops(trial: &Trial<'_>, period: Duration) -> TrialResult {
    let runtime = runtime()?;
    let (ticked, has_ticked) = mpsc::channel();
    let manager = {
        let _context = runtime.enter();
        Manager::spawn(|signal| selects(signal, period, ticked))
    };
    has_ticked.recv()?;

    let told = Instant::now();
    runtime.block_on(manager.shutdown());
    trial.record("latency", told.elapsed());
    trial.check("the task has ended", is_gone(&has_ticked));
    Ok(())
}

fn kit_stops(trial: &Trial<'_>, period: Duration) -> TrialResult {
    let runtime = runtime()?;
    let (ticked, has_ticked) = mpsc::channel();
    let task = BackgroundTask::spawn_on(runtime.handle(), "loop", move |stop| {
        selects(stop, period, ticked)
    });
    has_ticked.recv()?;

    let told = Instant::now();
    let report = runtime.block_on(task.shutdown())?;
    trial.record("latency", told.elapsed());
    trial.check("the task has ended", is_gone(&has_ticked));
    trial.check("by itself", report.aborted == 0);
    Ok(())
}

/// Whether the task has dropped its end of the channel, with whatever it sent before.
fn is_gone(has_ticked: &Receiver<()>) -> bool {
    loop {
        match has_ticked.try_recv() {
            Ok(()) => {}
            Err(error) => return error == mpsc::TryRecvError::Disconnected,
        }
    }
}

fn looks_after_the_tick(trial: &Scene<'_>) -> TrialResult {
    let runtime = runtime()?;
    let (ticked, has_ticked) = mpsc::channel();
    let manager = {
        let _context = runtime.enter();
        Manager::spawn(|mut signal: Signal| async move {
            let mut interval = interval(CLEANUP);
            loop {
                interval.tick().await;
                if signal.try_recv() != Err(oneshot::error::TryRecvError::Empty) {
                    break;
                }
                let _ = ticked.send(());
            }
        })
    };
    has_ticked.recv()?;

    let stopped = runtime.block_on(async { timeout(LOOK, manager.shutdown()).await.is_ok() });
    trial.record("stopped", stopped);
    trial.check("the task has ended", stopped);
    Ok(())
}

fn pattern_at_work(trial: &Scene<'_>) -> TrialResult {
    let runtime = runtime()?;
    let ((ticked, has_ticked), (let_go, work)) = (mpsc::channel(), oneshot::channel());
    let manager = {
        let _context = runtime.enter();
        Manager::spawn(|signal| selects_and_works(signal, ticked, work))
    };
    has_ticked.recv()?;

    runtime.block_on(async {
        let mut shutdown = pin!(manager.shutdown());
        let stopped = timeout(LOOK, &mut shutdown).await.is_ok();
        trial.record("stopped", stopped);
        trial.check("the task ends while it is at work", stopped);
        if !stopped {
            drop(let_go);
            let done = Instant::now();
            shutdown.await;
            trial.record("latency_after_the_work", done.elapsed());
        }
    });
    Ok(())
}

fn kit_at_work(trial: &Scene<'_>) -> TrialResult {
    let runtime = runtime()?;
    let ((ticked, has_ticked), (let_go, work)) = (mpsc::channel(), oneshot::channel());
    let task = BackgroundTask::spawn_on(runtime.handle(), "loop", |stop: Stop| {
        selects_and_works(stop, ticked, work)
    });
    has_ticked.recv()?;

    // The abort is told within the limit. On a busy machine it may take effect after it, and then
    // this is an error: so the end is waited for.
    let _ = runtime.block_on(task.shutdown_within(LOOK));
    let report = runtime.block_on(task.shutdown())?;
    trial.record("aborted", report.aborted);
    trial.check("the task has ended, though its work has not", let_go.is_closed());
    Ok(())
}
