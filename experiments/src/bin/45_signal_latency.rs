//! 45 signal latency: does a graceful stop wait for the interval of the loop, up to 5 minutes, as
//! the pattern's write-up claims (D6, D13)? No: `select!` wakes at the signal. It waits for the body of
//! the loop, and a loop that does not select waits for the tick. Page:
//! `docs/src/45-signal-latency.md`.

use std::{
    pin::pin,
    sync::mpsc::{self, Receiver, Sender},
    time::Instant,
};

use experiments::{
    pattern::{Owner, StopSignal, abort_at},
    poll_once,
    prelude::*,
};
use lab::Condition;
use tokio::{
    sync::oneshot,
    time::{interval, timeout},
};

/// The intervals of the write-up's two loops.
const SCHEDULER: Duration = Duration::from_micros(100);
const CLEANUP: Duration = Duration::from_secs(5 * 60);

/// How long a trial looks at a loop that does not end within minutes, or not before it is let go.
const LOOK: Duration = Duration::from_millis(20);

/// The write-up's best case, and its unit.
const MILLISECOND: i64 = 1_000_000;

/// Generous for any machine, and short beside 5 minutes.
const SOON: i64 = 5_000_000_000;

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Does a graceful stop wait for the interval of the loop that is to stop?")
        .hypothesis(
            "No: select wakes at the signal, whatever the interval. A stop waits for the body of \
             the loop, and for a tick only if the loop does not select.",
        )
        .variants([
            control("pattern/100-microseconds", |scene| stops_at_once(scene, SCHEDULER))
                .about("a loop that selects between the signal and a tick every 100 µs"),
            control("pattern/5-minutes", |scene| stops_at_once(scene, CLEANUP))
                .about("the same with a tick every 5 minutes"),
            hazard("looks-after-the-tick/5-minutes", Failed, looks_after_the_tick)
                .about("a loop that awaits the tick, and looks at the signal then"),
            hazard("pattern/5-minutes-at-work", Failed, at_work)
                .about("the signal comes while the loop's body awaits something"),
            cure("kit/100-microseconds", |scene| stops_at_once(scene, SCHEDULER))
                .about("BackgroundTask, a tick every 100 µs"),
            cure("kit/5-minutes", |scene| stops_at_once(scene, CLEANUP))
                .about("BackgroundTask, a tick every 5 minutes"),
            cure("kit/5-minutes-at-work", at_work)
                .about("BackgroundTask, its body at work: aborted at the limit"),
        ])
        .keeps("stopped", [])
        .keeps("latency", [SOON])
        .keeps("aborted", [])
        .claim("D6", "A graceful stop may wait for the interval of the loop, up to 5 minutes.")
        .supported_if(!every("pattern/5-minutes").observed("latency").always_at_most(SOON))
        .refuted_if(
            every("pattern/5-minutes").observed("latency").always_at_most(SOON)
                & every("looks-after-the-tick/5-minutes").is(Failed),
        )
        .claim("D13", "At best, a graceful stop takes a millisecond at most.")
        .supported_if(
            !takes_longer("pattern/5-minutes") & !takes_longer("pattern/100-microseconds"),
        )
        .refuted_if(takes_longer("pattern/5-minutes") | takes_longer("pattern/100-microseconds"))
        .run()
}

/// Not even the fastest trial is as fast as the write-up's best case.
fn takes_longer(variant: &str) -> Condition {
    every(variant).observed("latency").always_at_least(MILLISECOND + 1)
}

/// The pattern's loop. It reports each tick, and then works until it is let go.
async fn selects(
    mut stop: StopSignal,
    period: Duration,
    ticked: Sender<()>,
    mut work: Option<oneshot::Receiver<()>>,
) {
    let mut interval = interval(period);
    loop {
        tokio::select! {
            () = &mut stop => break,
            _ = interval.tick() => {
                let _ = ticked.send(());
                if let Some(work) = &mut work {
                    let _ = work.await;
                }
            }
        }
    }
}

fn stops_at_once(scene: &Scene<'_>, period: Duration) -> TrialResult {
    let runtime = runtime()?;
    let _context = runtime.enter();
    let (ticked, has_ticked) = mpsc::channel();
    let owner = Owner::spawn(scene, "loop", move |stop| selects(stop, period, ticked, None))?;
    has_ticked.recv()?;

    let told = Instant::now();
    let report = runtime.block_on(owner.shutdown())?;
    scene.record("latency", told.elapsed());
    scene.check("the task has ended", is_gone(&has_ticked));
    scene.check("by itself", report.is_none_or(|report| report.aborted == 0));
    Ok(())
}

/// Whether the task has dropped its end of the channel, after whatever it sent.
fn is_gone(has_ticked: &Receiver<()>) -> bool {
    has_ticked.try_iter().for_each(drop);
    has_ticked.try_recv() == Err(mpsc::TryRecvError::Disconnected)
}

fn looks_after_the_tick(scene: &Scene<'_>) -> TrialResult {
    let runtime = runtime()?;
    let _context = runtime.enter();
    let (ticked, has_ticked) = mpsc::channel();
    let owner = Owner::spawn(scene, "loop", |mut stop| async move {
        let mut interval = interval(CLEANUP);
        loop {
            interval.tick().await;
            if poll_once(pin!(&mut stop)).await.is_ready() {
                break;
            }
            let _ = ticked.send(());
        }
    })?;
    has_ticked.recv()?;

    let stopped = runtime.block_on(async { timeout(LOOK, owner.shutdown()).await.is_ok() });
    scene.record("stopped", stopped);
    scene.check("the task has ended", stopped);
    Ok(())
}

fn at_work(scene: &Scene<'_>) -> TrialResult {
    let runtime = runtime()?;
    let _context = runtime.enter();
    let ((ticked, has_ticked), (let_go, work)) = (mpsc::channel(), oneshot::channel());
    let owner = Owner::spawn(scene, "loop", |stop| selects(stop, CLEANUP, ticked, Some(work)))?;
    has_ticked.recv()?;

    runtime.block_on(async {
        match &owner {
            Owner::Pattern(manager) => {
                let mut shutdown = pin!(manager.shutdown());
                let stopped = timeout(LOOK, &mut shutdown).await.is_ok();
                scene.record("stopped", stopped);
                scene.check("the task ends while it is at work", stopped);
                if !stopped {
                    drop(let_go);
                    let done = Instant::now();
                    shutdown.await;
                    scene.record("latency_after_the_work", done.elapsed());
                }
            }
            Owner::Kit(task) => {
                abort_at(LOOK, task, scene).await?;
                scene.check("the task has ended, though its work has not", let_go.is_closed());
            }
        }
        Ok(())
    })
}
