//! Bench `turn`: what it adds to a turn of a loop that the loop selects on the signal in it.
//!
//! A turn gives way to the runtime once (`yield_now`), as a turn does that waits for something. Of
//! each subject, what it *adds* is shown: to the same loop without a signal, which is the floor of
//! `alone` and `per-core`; and, of those who select, to the same `select!` on something that is never
//! ready, which is the floor of `alone-signal` and `per-core-signal`: what the signal costs apart from
//! the `select!`.

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
    output::{Output, note},
    rounds::{Reference, Sample, added, interleaved, summary},
};

/// How many turns are one measurement: a few milliseconds, so that what disturbs one strikes its
/// neighbours as well.
const TURNS: usize = 20_000;

/// Everybody, the floors first and ours third.
pub const SUBJECTS: [(&str, Subject); 11] = [
    ("floor", Subject::Floor),
    ("floor-select", Subject::FloorSelect),
    ("sundown", Subject::Sundown),
    ("atomic-bool", Subject::AtomicBool),
    ("token-anew", Subject::TokenAnew),
    ("token-pinned", Subject::TokenPinned),
    ("token-is-cancelled", Subject::TokenIsCancelled),
    ("watch-anew", Subject::WatchAnew),
    ("oneshot", Subject::Oneshot),
    ("async-shutdown-anew", Subject::AsyncShutdownAnew),
    ("tokio-graceful-anew", Subject::TokioGracefulAnew),
];

/// How a loop looks for the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Not at all.
    Floor,
    /// Not at all, but with a `select!` on what is never ready.
    FloorSelect,
    /// `select!` on `&mut stop`.
    Sundown,
    /// A load: it does not wake who waits.
    AtomicBool,
    /// `select!` on `token.cancelled()`, a new future in each turn.
    TokenAnew,
    /// `select!` on one future of the token, pinned outside of the loop.
    TokenPinned,
    /// `token.is_cancelled()`: it does not wake who waits.
    TokenIsCancelled,
    /// `select!` on `receiver.changed()`, a new future in each turn.
    WatchAnew,
    /// `select!` on `&mut receiver`.
    Oneshot,
    /// `select!` on `manager.wait_shutdown_triggered()`, a new future in each turn.
    AsyncShutdownAnew,
    /// `select!` on `guard.cancelled()`, a new future in each turn.
    TokioGracefulAnew,
}

/// Runs the bench.
pub fn run(options: &Options, output: &mut Output) -> io::Result<()> {
    for flavour in options.flavours() {
        measure(flavour, ["alone", "alone-signal"], 1, options, output)?;
        measure(flavour, ["per-core", "per-core-signal"], cores(), options, output)?;
    }
    Ok(())
}

fn measure(
    flavour: Flavour,
    [whole, signal]: [&'static str; 2],
    tasks: usize,
    options: &Options,
    output: &mut Output,
) -> io::Result<()> {
    note(&format!("turn, {whole}: {tasks} at the same time, {flavour}"));
    let subjects: Vec<_> =
        SUBJECTS.into_iter().filter(|(name, _)| options.is_subject(name)).collect();
    let places = Places::new(flavour, tasks)?;
    let samples = interleaved(options.rounds(101, 5), &subjects, |(_, subject)| {
        [time(&places, tasks, *subject)]
    });
    let place = |wanted| subjects.iter().position(|(_, subject)| *subject == wanted);
    for (case, floor) in [(whole, Subject::Floor), (signal, Subject::FloorSelect)] {
        let Some(at_floor) = place(floor) else { continue };
        let reference = Reference { floor: at_floor, sundown: place(Subject::Sundown) };
        for (at, (name, subject)) in subjects.iter().enumerate() {
            if case == signal && !subject.selects() {
                continue;
            }
            let sum = if *subject == floor { summary } else { added };
            let figure = Figure::new("turn", case, tasks, flavour, name);
            output.figure(figure.measured(sum(&samples, at, 0, reference)))?;
        }
    }
    output.tables()
}

impl Subject {
    /// Whether it selects, and so is woken when the signal is given.
    const fn selects(self) -> bool {
        !matches!(self, Self::Floor | Self::AtomicBool | Self::TokenIsCancelled)
    }
}

/// A turn of so many loops that run at the same time and share a signal.
fn time(places: &Places, tasks: usize, subject: Subject) -> Sample {
    let mut signals = Signals::new(places.place(0));
    let (report, reports) = mpsc::channel();
    let missing = Arc::new(AtomicUsize::new(tasks));
    let clock = Clock::start();
    for task in 0..tasks {
        let one = Loop { missing: Arc::clone(&missing), report: report.clone() };
        signals.spawn(places.place(task), subject, one);
    }
    drop(report);
    let wall: Duration = reports.iter().sum();
    let took = Took { wall, ..clock.read() };
    // What gives the signals stays until the loops have ended.
    drop(signals);
    Sample::per(took, TURNS * tasks)
}

/// What a loop has to do with the others.
struct Loop {
    /// How many have not begun.
    missing: Arc<AtomicUsize>,
    /// Where a loop says how long it took.
    report: mpsc::Sender<Duration>,
}

impl Loop {
    /// Waits for the others.
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

/// A loop: `$is_told` is one turn, and says whether it was the last.
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

/// A turn that looks without waiting, and then gives way.
macro_rules! look {
    ($is_told:expr) => {{
        yield_now().await;
        $is_told
    }};
}

/// A turn that selects. The signal comes first: who is to end shall not be kept by work.
macro_rules! select_on {
    ($signal:expr) => {
        tokio::select! {
            biased;
            _ = $signal => true,
            () = yield_now() => false,
        }
    };
}

/// All the signals, given to nobody yet.
struct Signals {
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

    /// Spawns a loop.
    fn spawn(&mut self, place: &Handle, subject: Subject, one: Loop) {
        let token = self.token.clone();
        match subject {
            Subject::Floor => drop(place.spawn(async move { turns!(one, look!(false)) })),
            Subject::FloorSelect => {
                place.spawn(async move { turns!(one, select_on!(pending::<()>())) });
            }
            Subject::Sundown => {
                let work = |mut stop| async move { turns!(one, select_on!(&mut stop)) };
                let _ = self.group.spawn_on(place, "loop", work);
            }
            Subject::AtomicBool => {
                let flag = Arc::clone(&self.flag);
                place.spawn(async move { turns!(one, look!(flag.load(Ordering::Acquire))) });
            }
            Subject::TokenAnew => {
                place.spawn(async move { turns!(one, select_on!(token.cancelled())) });
            }
            Subject::TokenPinned => {
                place.spawn(async move {
                    let mut cancelled = pin!(token.cancelled());
                    turns!(one, select_on!(cancelled.as_mut()));
                });
            }
            Subject::TokenIsCancelled => {
                place.spawn(async move { turns!(one, look!(token.is_cancelled())) });
            }
            Subject::WatchAnew => {
                let mut watch = self.watch.subscribe();
                place.spawn(async move { turns!(one, select_on!(watch.changed())) });
            }
            Subject::Oneshot => {
                let (trigger, mut triggered) = oneshot::channel();
                self.triggers.push(trigger);
                place.spawn(async move { turns!(one, select_on!(&mut triggered)) });
            }
            Subject::AsyncShutdownAnew => {
                let manager = self.manager.clone();
                place.spawn(async move {
                    turns!(one, select_on!(manager.wait_shutdown_triggered()));
                });
            }
            Subject::TokioGracefulAnew => {
                let guard = self.graceful.guard();
                place.spawn(async move { turns!(one, select_on!(guard.cancelled())) });
            }
        }
    }
}
