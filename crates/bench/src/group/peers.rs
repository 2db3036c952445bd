//! The subjects of the bench `group`: the kit's group, the floor and the peers. Each peer is used as its
//! documentation shows.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_shutdown::ShutdownManager;
use sundown::group::TaskGroup;
use swansong::Swansong;
use tokio::{
    sync::{oneshot, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_graceful::Shutdown;
use tokio_graceful_shutdown::{SubsystemBuilder, SubsystemHandle, Toplevel};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::workload::{Countdown, Work};

/// Longer than anything takes.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// The end of a group.
pub type Ending<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A group of tasks, made for a number of them.
pub trait Group: Send {
    /// Spawns that many tasks.
    fn spawn(&mut self, n: usize, work: Work);

    /// Tells all of them to stop, and waits until they have ended.
    fn stop(&mut self) -> Ending<'_>;
}

/// Makes groups of one kind.
#[derive(Clone, Copy)]
pub struct Maker {
    /// The name of the subject.
    pub subject: &'static str,
    /// The largest group that is measured by default: with slow peers a million takes minutes.
    pub usual_limit: usize,
    /// Makes a group.
    pub make: fn(usize) -> Box<dyn Group>,
}

/// All subjects, the floor first.
pub const MAKERS: [Maker; 11] = [
    maker("floor", usize::MAX, |n| Box::new(Floor::new(n))),
    maker("sundown", usize::MAX, |_| Box::new(TaskGroup::new("measured"))),
    maker("tokio-util", usize::MAX, |_| Box::new(Tracker::default())),
    maker("tokio-util-child", 100_000, |_| {
        Box::new(Tracker { token_each: true, ..Tracker::default() })
    }),
    maker("async-shutdown", usize::MAX, |_| Box::new(ShutdownManager::new())),
    maker("swansong", usize::MAX, |_| Box::new(Swansong::new())),
    maker("tokio-graceful", 100_000, |_| Box::new(Graceful::new())),
    maker("tokio-graceful-shutdown", 10_000, |_| Box::new(Subsystems::new())),
    maker("drain", 100_000, |_| Box::new(Drain::new())),
    maker("join-set-watch", 100_000, |_| Box::new(Set::default())),
    maker("oneshot-join-handle", usize::MAX, |n| Box::new(Handles(Vec::with_capacity(n)))),
];

const fn maker(
    subject: &'static str,
    usual_limit: usize,
    make: fn(usize) -> Box<dyn Group>,
) -> Maker {
    Maker { subject, usual_limit, make }
}

/// Preallocated slots for wakers, a flag and a counter. Nothing of it could be left out.
struct Floor(Arc<FloorShared>);

struct FloorShared {
    is_raised: AtomicBool,
    slots: Box<[Mutex<Option<Waker>>]>,
    running: Countdown,
}

struct FloorWait {
    shared: Arc<FloorShared>,
    slot: usize,
}

impl Floor {
    fn new(n: usize) -> Self {
        let shared = FloorShared {
            is_raised: AtomicBool::new(false),
            slots: (0..n).map(|_| Mutex::new(None)).collect(),
            running: Countdown::new(),
        };
        Self(Arc::new(shared))
    }
}

impl Group for Floor {
    fn spawn(&mut self, n: usize, work: Work) {
        self.0.running.begin(n);
        for slot in 0..n {
            let wait = FloorWait { shared: Arc::clone(&self.0), slot };
            tokio::spawn(work.on(wait));
        }
    }

    fn stop(&mut self) -> Ending<'_> {
        Box::pin(async {
            self.0.is_raised.store(true, Ordering::SeqCst);
            for slot in &self.0.slots {
                let waker = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                waker.map(Waker::wake).unwrap_or_default();
            }
            self.0.running.at_zero().await;
        })
    }
}

impl Future for FloorWait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let shared = &self.shared;
        if !shared.is_raised.load(Ordering::Acquire) {
            let mut slot = shared.slots[self.slot].lock().unwrap_or_else(PoisonError::into_inner);
            *slot = Some(context.waker().clone());
            drop(slot);
            if !shared.is_raised.load(Ordering::SeqCst) {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

impl Drop for FloorWait {
    fn drop(&mut self) {
        self.shared.running.count();
    }
}

impl Group for TaskGroup {
    fn spawn(&mut self, n: usize, work: Work) {
        for _ in 0..n {
            let _ = Self::spawn(self, "member", move |stop| work.on(stop));
        }
    }

    fn stop(&mut self) -> Ending<'_> {
        Box::pin(async { drop(self.drain(Duration::MAX).await) })
    }
}

#[derive(Default)]
struct Tracker {
    token_each: bool,
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Group for Tracker {
    fn spawn(&mut self, n: usize, work: Work) {
        for _ in 0..n {
            let token = if self.token_each { self.token.child_token() } else { self.token.clone() };
            self.tracker.spawn(work.on(token.cancelled_owned()));
        }
    }

    fn stop(&mut self) -> Ending<'_> {
        Box::pin(async {
            self.tracker.close();
            self.token.cancel();
            self.tracker.wait().await;
        })
    }
}

impl Group for ShutdownManager<()> {
    fn spawn(&mut self, n: usize, work: Work) {
        for _ in 0..n {
            let wait = work.on(self.wait_shutdown_triggered());
            if let Ok(tracked) = self.wrap_delay_shutdown(wait) {
                tokio::spawn(tracked);
            }
        }
    }

    fn stop(&mut self) -> Ending<'_> {
        Box::pin(async {
            let _ = self.trigger_shutdown(());
            self.wait_shutdown_complete().await;
        })
    }
}

impl Group for Swansong {
    fn spawn(&mut self, n: usize, work: Work) {
        for _ in 0..n {
            tokio::spawn(self.guarded(work.on(self.shutting_down())));
        }
    }

    fn stop(&mut self) -> Ending<'_> {
        Box::pin(async { self.shut_down().await })
    }
}

struct Graceful {
    trigger: Option<oneshot::Sender<()>>,
    shutdown: Option<Shutdown>,
}

impl Graceful {
    fn new() -> Self {
        let (trigger, triggered) = oneshot::channel::<()>();
        let shutdown = Shutdown::new(async { drop(triggered.await) });
        Self { trigger: Some(trigger), shutdown: Some(shutdown) }
    }
}

impl Group for Graceful {
    fn spawn(&mut self, n: usize, work: Work) {
        let Some(shutdown) = &self.shutdown else { return };
        for _ in 0..n {
            shutdown.spawn_task_fn(move |guard| async move { work.on(guard.cancelled()).await });
        }
    }

    fn stop(&mut self) -> Ending<'_> {
        Box::pin(async {
            let _ = self.trigger.take().map(|trigger| trigger.send(()));
            if let Some(shutdown) = self.shutdown.take() {
                shutdown.shutdown().await;
            }
        })
    }
}

struct Subsystems {
    token: CancellationToken,
    start: Option<oneshot::Sender<(usize, Work)>>,
    toplevel: Option<Toplevel>,
}

impl Subsystems {
    fn new() -> Self {
        let (start, started) = oneshot::channel::<(usize, Work)>();
        let token = CancellationToken::new();
        let top = async move |handle: &mut SubsystemHandle| {
            // The group itself is made before the measurement begins.
            let Ok((n, work)) = started.await else { return };
            for _ in 0..n {
                handle.start(SubsystemBuilder::new(
                    "member",
                    async move |handle: &mut SubsystemHandle| {
                        work.on(handle.on_shutdown_requested()).await;
                        Ok::<(), std::io::Error>(())
                    },
                ));
            }
        };
        let toplevel = Toplevel::new_with_shutdown_token(top, token.clone());
        Self { token, start: Some(start), toplevel: Some(toplevel) }
    }
}

impl Group for Subsystems {
    fn spawn(&mut self, n: usize, work: Work) {
        let _ = self.start.take().map(|start| start.send((n, work)));
    }

    fn stop(&mut self) -> Ending<'_> {
        Box::pin(async {
            self.token.cancel();
            if let Some(toplevel) = self.toplevel.take() {
                let _ = toplevel.handle_shutdown_requests(FOR_EVER).await;
            }
        })
    }
}

struct Drain {
    signal: Option<drain::Signal>,
    watch: Option<drain::Watch>,
}

impl Drain {
    fn new() -> Self {
        let (signal, watch) = drain::channel();
        Self { signal: Some(signal), watch: Some(watch) }
    }
}

impl Group for Drain {
    fn spawn(&mut self, n: usize, work: Work) {
        let Some(watch) = self.watch.take() else { return };
        for _ in 0..n {
            tokio::spawn(work.on(watch.clone().signaled()));
        }
    }

    fn stop(&mut self) -> Ending<'_> {
        Box::pin(async {
            if let Some(signal) = self.signal.take() {
                signal.drain().await;
            }
        })
    }
}

#[derive(Default)]
struct Set {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl Group for Set {
    fn spawn(&mut self, n: usize, work: Work) {
        for _ in 0..n {
            let mut stop = self.stop.subscribe();
            self.tasks.spawn(work.on(async move { drop(stop.changed().await) }));
        }
    }

    fn stop(&mut self) -> Ending<'_> {
        Box::pin(async {
            self.stop.send_replace(true);
            while self.tasks.join_next().await.is_some() {}
        })
    }
}

struct Handles(Vec<(oneshot::Sender<()>, JoinHandle<()>)>);

impl Group for Handles {
    fn spawn(&mut self, n: usize, work: Work) {
        for _ in 0..n {
            let (stop, stopped) = oneshot::channel();
            self.0.push((stop, tokio::spawn(work.on(stopped))));
        }
    }

    fn stop(&mut self) -> Ending<'_> {
        Box::pin(async {
            let mut handles = Vec::with_capacity(self.0.len());
            for (stop, handle) in self.0.drain(..) {
                let _ = stop.send(());
                handles.push(handle);
            }
            for handle in handles {
                let _ = handle.await;
            }
        })
    }
}
