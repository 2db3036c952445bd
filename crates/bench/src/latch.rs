//! Bench `latch`: all that it takes to have so many waiters register, to fire once, and to have all
//! of them through.
//!
//! `bare` polls the waiters by hand, outside of any runtime: nothing but the latch is measured.
//! `tasks` has each wait in a task of its own: what is left of the difference in use.

use std::{
    future::{Future, poll_fn},
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use event_listener::Event;
use sundown::latch::Latch;
use tokio::{
    runtime::Runtime,
    sync::{Notify, SetOnce, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Clock, Took},
    figure::Figure,
    flavour::cores,
    options::Options,
    output::{Output, note},
    rounds::{Reference, Sample, interleaved, summary},
    task::{UNREGISTERED, Work},
};

/// At least so many waiters are measured in a round.
const WAITERS_IN_A_ROUND: usize = 10_000;
const LATCHES_IN_A_ROUND: usize = 500;

/// One wait. Nothing has been done for it before its first poll but to allocate it.
type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Everybody, the floor first and ours second.
pub const SUBJECTS: [(&str, Make); 7] = [
    ("floor", || signal::<Floor>()),
    ("sundown", || signal::<Latch>()),
    ("set-once", || signal::<SetOnce<()>>()),
    ("notify", || signal::<Notify>()),
    ("event-listener", || signal::<Listened>()),
    ("watch", || signal::<Watched>()),
    ("cancellation-token", || signal::<CancellationToken>()),
];

/// Makes a signal.
pub type Make = fn() -> Box<dyn Signal>;

fn signal<S: Once>() -> Box<dyn Signal> {
    Box::new(Arc::new(S::default()))
}

/// A signal that is given once.
trait Once: Default + Send + Sync + 'static {
    /// Waits for it.
    fn wait(&self) -> impl Future<Output = ()> + Send;

    /// Gives it.
    fn fire(&self);
}

/// The same, whichever it is.
pub trait Signal {
    /// A wait that has not begun.
    fn waiting(&self) -> Waiting;

    /// Gives it.
    fn fire(&self);
}

impl<S: Once> Signal for Arc<S> {
    fn waiting(&self) -> Waiting {
        let signal = Self::clone(self);
        Box::pin(async move { signal.wait().await })
    }

    fn fire(&self) {
        S::fire(self);
    }
}

/// An atomic, and a locked vector of wakers.
#[derive(Default)]
struct Floor {
    has_fired: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Once for Floor {
    fn wait(&self) -> impl Future<Output = ()> + Send {
        poll_fn(|context| {
            if self.has_fired.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            let mut wakers = self.wakers.lock().unwrap_or_else(PoisonError::into_inner);
            if self.has_fired.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            wakers.push(context.waker().clone());
            Poll::Pending
        })
    }

    fn fire(&self) {
        self.has_fired.store(true, Ordering::Release);
        let wakers =
            std::mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Once for Latch {
    fn wait(&self) -> impl Future<Output = ()> + Send {
        Self::wait(self)
    }

    fn fire(&self) {
        Self::fire(self);
    }
}

impl Once for SetOnce<()> {
    async fn wait(&self) {
        Self::wait(self).await;
    }

    fn fire(&self) {
        let _ = self.set(());
    }
}

impl Once for Notify {
    fn wait(&self) -> impl Future<Output = ()> + Send {
        self.notified()
    }

    fn fire(&self) {
        self.notify_waiters();
    }
}

impl Once for CancellationToken {
    fn wait(&self) -> impl Future<Output = ()> + Send {
        self.cancelled()
    }

    fn fire(&self) {
        self.cancel();
    }
}

/// An event, with the flag that makes it last, as its documentation has it.
#[derive(Default)]
struct Listened {
    has_fired: AtomicBool,
    event: Event,
}

impl Once for Listened {
    async fn wait(&self) {
        while !self.has_fired.load(Ordering::SeqCst) {
            let listener = self.event.listen();
            if self.has_fired.load(Ordering::SeqCst) {
                break;
            }
            listener.await;
        }
    }

    fn fire(&self) {
        self.has_fired.store(true, Ordering::SeqCst);
        self.event.notify(usize::MAX);
    }
}

#[derive(Default)]
struct Watched(watch::Sender<bool>);

impl Once for Watched {
    async fn wait(&self) {
        let _ = self.0.subscribe().wait_for(|has_fired| *has_fired).await;
    }

    fn fire(&self) {
        self.0.send_replace(true);
    }
}

/// Counts how often it wakes.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs the bench.
pub fn run(options: &Options, output: &mut Output) -> io::Result<()> {
    let subjects: Vec<_> =
        SUBJECTS.into_iter().filter(|(name, _)| options.is_subject(name)).collect();
    for &n in &options.sizes(&[1, 1000, 100_000], 1000) {
        note(&format!("latch, {n} waiters, polled by hand"));
        measure("bare", "none", n, &subjects, options, output, bare)?;
    }
    for flavour in options.flavours() {
        let runtime = flavour.runtime(cores())?;
        for &n in &options.sizes(&[1, 1000, 100_000], 1000) {
            note(&format!("latch, {n} waiters in tasks, {flavour}"));
            let in_tasks = |signal: &dyn Signal, n| tasks(&runtime, signal, n);
            let name = flavour.to_string();
            measure("tasks", &name, n, &subjects, options, output, in_tasks)?;
        }
    }
    Ok(())
}

fn measure(
    case: &'static str,
    runtime: &str,
    n: usize,
    subjects: &[(&'static str, Make)],
    options: &Options,
    output: &mut Output,
    time: impl Fn(&dyn Signal, usize) -> Took,
) -> io::Result<()> {
    let repeats = (WAITERS_IN_A_ROUND / n).clamp(1, LATCHES_IN_A_ROUND);
    let samples = interleaved(options.rounds(21, 3), subjects, |(_, make)| {
        let mut took = Took::default();
        for _ in 0..repeats {
            took += time(&*make(), n);
        }
        [Sample::per(took, repeats * n)]
    });
    let sundown = subjects.iter().position(|(name, _)| *name == "sundown");
    let reference = Reference { floor: 0, sundown };
    for (at, (name, _)) in subjects.iter().enumerate() {
        let figure = Figure::new("latch", case, n, runtime, name);
        output.figure(figure.measured(summary(&samples, at, 0, reference)))?;
    }
    output.tables()
}

/// Polls all, fires, and polls all again, after which each is ready and its wait dropped.
fn bare(signal: &dyn Signal, n: usize) -> Took {
    let mut waiting: Vec<_> = (0..n).map(|_| signal.waiting()).collect();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let context = &mut Context::from_waker(&waker);

    let clock = Clock::start();
    let early = waiting.iter_mut().filter_map(|one| ready(one, context)).count();
    signal.fire();
    let through = waiting.iter_mut().filter_map(|one| ready(one, context)).count();
    let took = clock.read();

    assert_eq!((early, through), (0, n), "all wait for the signal, and all pass after it");
    assert_eq!(woken.0.load(Ordering::Relaxed), n, "each was woken once");
    took
}

fn ready(waiting: &mut Waiting, context: &mut Context<'_>) -> Option<()> {
    waiting.as_mut().poll(context).is_ready().then_some(())
}

/// Has a task for each waiter: from before the first is spawned until all have ended.
fn tasks(runtime: &Runtime, signal: &dyn Signal, n: usize) -> Took {
    runtime.block_on(async {
        let waiting: Vec<_> = (0..n).map(|_| Work::Measured.on(signal.waiting())).collect();
        let mut tasks: Vec<JoinHandle<()>> = Vec::with_capacity(n);
        UNREGISTERED.begin(n);
        let clock = Clock::start();
        tasks.extend(waiting.into_iter().map(tokio::spawn));
        UNREGISTERED.at_zero().await;
        signal.fire();
        for task in tasks {
            let _ = task.await;
        }
        clock.read()
    })
}
