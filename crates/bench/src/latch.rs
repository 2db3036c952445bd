//! Bench `latch`: from the registration of all waiters through one firing until all have passed.
//!
//! `bare` polls the waiters by hand, without a runtime, and so measures nothing but the latch. `tasks`
//! lets each wait in a task of its own, and shows how much of the difference is left in use.

use std::{
    future::{Future, poll_fn},
    io, mem,
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
    output::{note, print},
    rounds::{Sample, interleaved},
    workload::{UNREGISTERED, Work},
};

/// A round repeats few waiters until it has at least this many, or this many latches.
const WAITERS_IN_A_ROUND: usize = 10_000;
const LATCHES_IN_A_ROUND: usize = 500;

/// One wait. Before its first poll, it has only been allocated.
type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A signal that is given once.
pub struct Signal {
    /// A wait that has not begun.
    waiting: Box<dyn Fn() -> Waiting>,
    fire: Box<dyn Fn()>,
}

/// Makes a signal.
pub type Make = fn() -> Signal;

fn signal<S: Default + Send + Sync + 'static, W: Future<Output = ()> + Send + 'static>(
    wait: fn(Arc<S>) -> W,
    fire: fn(&S),
) -> Signal {
    let waited = Arc::new(S::default());
    let fired = Arc::clone(&waited);
    Signal {
        waiting: Box::new(move || Box::pin(wait(Arc::clone(&waited)))),
        fire: Box::new(move || fire(&fired)),
    }
}

/// All subjects, the floor first.
pub const SUBJECTS: [(&str, Make); 7] = [
    ("floor", || signal(|floor: Arc<Floor>| async move { floor.wait().await }, Floor::fire)),
    ("sundown", || {
        let wait = |latch: Arc<Latch>| async move { latch.wait().await };
        signal(wait, |latch| {
            latch.fire();
        })
    }),
    ("set-once", || {
        let wait = |once: Arc<SetOnce<()>>| async move { *once.wait().await };
        signal(wait, |once| once.set(()).unwrap_or_default())
    }),
    ("notify", || {
        signal(|notify: Arc<Notify>| async move { notify.notified().await }, Notify::notify_waiters)
    }),
    ("event-listener", || {
        // With a flag that makes the event last, as its documentation shows.
        let wait = |state: Arc<(AtomicBool, Event)>| async move {
            let (has_fired, event) = &*state;
            while !has_fired.load(Ordering::SeqCst) {
                let listener = event.listen();
                if has_fired.load(Ordering::SeqCst) {
                    break;
                }
                listener.await;
            }
        };
        signal(wait, |(has_fired, event)| {
            has_fired.store(true, Ordering::SeqCst);
            event.notify(usize::MAX);
        })
    }),
    ("watch", || {
        let wait = |sender: Arc<watch::Sender<bool>>| async move {
            let _ = sender.subscribe().wait_for(|has_fired| *has_fired).await;
        };
        signal(wait, |sender| {
            sender.send_replace(true);
        })
    }),
    ("cancellation-token", || {
        let wait = |token: Arc<CancellationToken>| async move { token.cancelled().await };
        signal(wait, CancellationToken::cancel)
    }),
];

/// An atomic, and a locked vector of wakers.
#[derive(Default)]
struct Floor {
    has_fired: AtomicBool,
    wakers: Mutex<Vec<Waker>>,
}

impl Floor {
    async fn wait(&self) {
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
        .await;
    }

    fn fire(&self) {
        self.has_fired.store(true, Ordering::Release);
        let wakers = mem::take(&mut *self.wakers.lock().unwrap_or_else(PoisonError::into_inner));
        wakers.into_iter().for_each(Waker::wake);
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
pub fn run(options: &Options) -> io::Result<()> {
    for &n in &options.sizes(&[1, 1000, 100_000], 1000) {
        note(&format!("latch, {n} waiters, polled by hand"));
        measure("bare", "none", n, options, bare)?;
    }
    for flavour in options.flavours() {
        let runtime = flavour.runtime(cores())?;
        for &n in &options.sizes(&[1, 1000, 100_000], 1000) {
            note(&format!("latch, {n} waiters in tasks, {flavour}"));
            let in_tasks = |signal: &Signal, n| tasks(&runtime, signal, n);
            measure("tasks", flavour, n, options, in_tasks)?;
        }
    }
    Ok(())
}

fn measure(
    case: &'static str,
    runtime: impl ToString,
    n: usize,
    options: &Options,
    time: impl Fn(&Signal, usize) -> Took,
) -> io::Result<()> {
    let subjects = options.subjects(&SUBJECTS, |(name, _)| name);
    let repeats = (WAITERS_IN_A_ROUND / n).clamp(1, LATCHES_IN_A_ROUND);
    let samples = interleaved(
        options.rounds(21, 3),
        &subjects,
        |(name, _)| name,
        |(_, make)| {
            let mut took = Took::default();
            for _ in 0..repeats {
                took += time(&make(), n);
            }
            Ok([Sample::per(took, repeats * n)])
        },
    )?;
    print(options.format, &Figure::of_case("latch", (0, case), n, runtime, &samples))
}

/// Polls all waits, fires, and polls all again.
fn bare(signal: &Signal, n: usize) -> Took {
    let mut waiting: Vec<_> = (0..n).map(|_| (signal.waiting)()).collect();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let context = &mut Context::from_waker(&waker);

    let clock = Clock::start();
    let early = waiting.iter_mut().filter_map(|one| ready(one, context)).count();
    (signal.fire)();
    let through = waiting.iter_mut().filter_map(|one| ready(one, context)).count();
    let took = clock.read();

    assert_eq!((early, through), (0, n), "all wait for the signal, and all pass after it");
    assert_eq!(woken.0.load(Ordering::Relaxed), n, "each was woken once");
    took
}

fn ready(waiting: &mut Waiting, context: &mut Context<'_>) -> Option<()> {
    waiting.as_mut().poll(context).is_ready().then_some(())
}

/// Spawns a task for each waiter, fires, and waits until all have ended.
fn tasks(runtime: &Runtime, signal: &Signal, n: usize) -> Took {
    runtime.block_on(async {
        let waiting: Vec<_> = (0..n).map(|_| Work::Measured.on((signal.waiting)())).collect();
        let mut tasks: Vec<JoinHandle<()>> = Vec::with_capacity(n);
        UNREGISTERED.begin(n);
        let clock = Clock::start();
        tasks.extend(waiting.into_iter().map(tokio::spawn));
        UNREGISTERED.at_zero().await;
        (signal.fire)();
        for task in tasks {
            let _ = task.await;
        }
        clock.read()
    })
}
