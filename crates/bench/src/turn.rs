//! Bench `turn`: what a look at the signal adds to a turn of a loop.
//!
//! A turn yields to the runtime once, like a turn that waits for something. The figures are what each
//! subject *adds* to a floor. The floor of `alone` and `per-core` is the same loop without a signal.
//! The floor of `alone-signal` and `per-core-signal` is the same `select!` on something that is never
//! ready, so these figures leave out the cost of the `select!` itself.

use std::{
    future::pending,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use async_shutdown::ShutdownManager;
use sundown::group::TaskGroup;
use tokio::{
    runtime::Handle,
    sync::{oneshot, watch},
    task::yield_now,
};
use tokio_graceful::Shutdown;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Clock, Took},
    figure::Figure,
    flavour::{Flavour, Places, cores},
    options::Options,
    output::{note, print},
    rounds::{Sample, interleaved},
};

/// The turns of one measurement: a few milliseconds, so that a disturbance also affects the
/// measurements beside it.
const TURNS: usize = 20_000;

/// A loop. `$is_told` is one turn, and says whether it was the last.
macro_rules! turns {
    ($one:ident, $is_told:expr) => {{
        let began = $one.begin().await;
        for _ in 0..TURNS {
            if $is_told {
                break;
            }
        }
        $one.end(began);
    }};
}

/// A turn that yields and then looks without waiting.
macro_rules! look {
    ($is_told:expr) => {{
        yield_now().await;
        $is_told
    }};
}

/// A turn that selects. The signal comes first, so that work cannot delay the end.
macro_rules! select_on {
    ($signal:expr) => {
        tokio::select! {
            biased;
            _ = $signal => true,
            () = yield_now() => false,
        }
    };
}

/// All subjects, the floors first.
pub const SUBJECTS: [(&str, Subject); 11] = [
    // No look at all.
    ("floor", looks(|_, place, one| drop(place.spawn(async move { turns!(one, look!(false)) })))),
    // `select!` on something that is never ready.
    (
        "floor-select",
        selects(|_, place, one| {
            place.spawn(async move { turns!(one, select_on!(pending::<()>())) });
        }),
    ),
    (
        "sundown",
        selects(|signals, place, one| {
            let work = |mut stop| async move { turns!(one, select_on!(&mut stop)) };
            let _ = signals.group.spawn_on(place, "loop", work);
        }),
    ),
    // A load, which wakes nobody.
    (
        "atomic-bool",
        looks(|signals, place, one| {
            let flag = Arc::clone(&signals.flag);
            place.spawn(async move { turns!(one, look!(flag.load(Ordering::Acquire))) });
        }),
    ),
    // A new future in each turn, as for everything that is called `-anew`.
    (
        "token-anew",
        selects(|signals, place, one| {
            let token = signals.token.clone();
            place.spawn(async move { turns!(one, select_on!(token.cancelled())) });
        }),
    ),
    // One future, pinned outside the loop.
    (
        "token-pinned",
        selects(|signals, place, one| {
            let token = signals.token.clone();
            place.spawn(async move {
                let mut cancelled = pin!(token.cancelled());
                turns!(one, select_on!(cancelled.as_mut()));
            });
        }),
    ),
    // Wakes nobody.
    (
        "token-is-cancelled",
        looks(|signals, place, one| {
            let token = signals.token.clone();
            place.spawn(async move { turns!(one, look!(token.is_cancelled())) });
        }),
    ),
    (
        "watch-anew",
        selects(|signals, place, one| {
            let mut watch = signals.watch.subscribe();
            place.spawn(async move { turns!(one, select_on!(watch.changed())) });
        }),
    ),
    (
        "oneshot",
        selects(|signals, place, one| {
            let (trigger, mut triggered) = oneshot::channel();
            signals.triggers.push(trigger);
            place.spawn(async move { turns!(one, select_on!(&mut triggered)) });
        }),
    ),
    (
        "async-shutdown-anew",
        selects(|signals, place, one| {
            let manager = signals.manager.clone();
            place.spawn(async move { turns!(one, select_on!(manager.wait_shutdown_triggered())) });
        }),
    ),
    (
        "tokio-graceful-anew",
        selects(|signals, place, one| {
            let guard = signals.graceful.guard();
            place.spawn(async move { turns!(one, select_on!(guard.cancelled())) });
        }),
    ),
];

/// How a loop looks for the signal.
#[derive(Clone, Copy)]
pub struct Subject {
    /// Whether it selects, and so is woken by the signal.
    selects: bool,
    spawn: Spawn,
}

/// Spawns a loop.
type Spawn = fn(&mut Signals, &Handle, Loop);

const fn looks(spawn: Spawn) -> Subject {
    Subject { selects: false, spawn }
}

const fn selects(spawn: Spawn) -> Subject {
    Subject { selects: true, spawn }
}

/// Runs the bench.
pub fn run(options: &Options) -> io::Result<()> {
    for flavour in options.flavours() {
        measure(flavour, ["alone", "alone-signal"], 1, options)?;
        measure(flavour, ["per-core", "per-core-signal"], cores(), options)?;
    }
    Ok(())
}

fn measure(
    flavour: Flavour,
    [whole, signal]: [&'static str; 2],
    tasks: usize,
    options: &Options,
) -> io::Result<()> {
    note(&format!("turn, {whole}: {tasks} at the same time, {flavour}"));
    let subjects = options.subjects(&SUBJECTS, |(name, _)| name);
    let places = Places::new(flavour, tasks)?;
    let name = |(name, _): &(&'static str, Subject)| *name;
    let samples = interleaved(options.rounds(101, 5), &subjects, name, |(_, subject)| {
        Ok([time(&places, tasks, *subject)])
    })?;
    let mut figures = Vec::new();
    for (case, floor) in [(whole, "floor"), (signal, "floor-select")] {
        let Some(floor) = samples.place(floor) else { continue };
        for (at, (name, subject)) in subjects.iter().enumerate() {
            if case == signal && !subject.selects {
                continue;
            }
            let summary = if at == floor {
                samples.summary(at, 0, floor)
            } else {
                samples.added(at, 0, floor)
            };
            figures.push(Figure::new("turn", case, tasks, flavour, name).measured(summary));
        }
    }
    print(options.format, &figures)
}

/// The time of a turn, with this many loops at the same time that share a signal.
fn time(places: &Places, tasks: usize, subject: Subject) -> Sample {
    let mut signals = Signals::new(places.place(0));
    let (report, reports) = mpsc::channel();
    let missing = Arc::new(AtomicUsize::new(tasks));
    let clock = Clock::start();
    for task in 0..tasks {
        let one = Loop { missing: Arc::clone(&missing), report: report.clone() };
        (subject.spawn)(&mut signals, places.place(task), one);
    }
    drop(report);
    let wall: Duration = reports.iter().sum();
    let took = Took { wall, ..clock.read() };
    // The senders must stay until the loops have ended.
    drop(signals);
    Sample::per(took, TURNS * tasks)
}

/// What a loop shares with the others.
pub struct Loop {
    /// How many loops have not begun.
    missing: Arc<AtomicUsize>,
    /// Where a loop sends how long it took.
    report: mpsc::Sender<Duration>,
}

impl Loop {
    /// Waits until all loops have begun.
    async fn begin(&self) -> Instant {
        self.missing.fetch_sub(1, Ordering::SeqCst);
        while self.missing.load(Ordering::SeqCst) > 0 {
            yield_now().await;
        }
        Instant::now()
    }

    fn end(&self, began: Instant) {
        let _ = self.report.send(began.elapsed());
    }
}

/// All the signals.
pub struct Signals {
    group: TaskGroup,
    flag: Arc<AtomicBool>,
    token: CancellationToken,
    watch: watch::Sender<bool>,
    manager: ShutdownManager<()>,
    graceful: Shutdown,
    triggers: Vec<oneshot::Sender<()>>,
}

impl Signals {
    fn new(place: &Handle) -> Self {
        let _context = place.enter();
        let (trigger, triggered) = oneshot::channel::<()>();
        Self {
            group: TaskGroup::new("measured"),
            flag: Arc::default(),
            token: CancellationToken::new(),
            watch: watch::Sender::default(),
            manager: ShutdownManager::new(),
            graceful: Shutdown::new(async { drop(triggered.await) }),
            triggers: vec![trigger],
        }
    }
}
