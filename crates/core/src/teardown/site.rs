//! The small runtime that destructors find: driven by the lane's thread, with at most one blocking thread.
//!
//! It has one blocking thread, because SQLite connections that are closed concurrently can leave the
//! write-ahead log behind (experiment 12). The thread exists only while a closure is running or queued.
//!
//! A site serves one batch. What comes later, through a handle that a destructor gave away, ends with the
//! site, or keeps its threads, and delays no other batch.

use std::{
    cell::OnceCell,
    io,
    sync::{OnceLock, Weak},
    thread,
    time::Duration,
};

use tokio::runtime::{Builder, Handle, Runtime};

use super::{batch::Batch, lane, service::Service};
use crate::{
    fork::ProcessGuard,
    panics,
    sync::{Arc, AtomicUsize, Mutex, Ordering, lock},
    this_thread,
};

/// What the threads that serve a batch share with the hooks of its runtime.
pub(super) struct Site {
    /// The number of its lane.
    lane: usize,
    service: Arc<Service>,
    handle: OnceLock<Handle>,
    /// The batch, until it is finished.
    batch: Mutex<Option<Arc<Batch>>>,
    /// How many blocking threads run. One that exits may overlap with the next.
    blocking_threads: AtomicUsize,
}

impl Site {
    /// A site, and its runtime. Whoever drops the last reference to that waits for its blocking thread.
    ///
    /// # Errors
    ///
    /// The OS refused a file descriptor.
    pub(super) fn open(
        lane: usize,
        service: &Arc<Service>,
    ) -> io::Result<(Arc<Self>, Arc<Runtime>)> {
        let site = Arc::new(Self {
            lane,
            service: Arc::clone(service),
            handle: OnceLock::new(),
            batch: Mutex::default(),
            blocking_threads: AtomicUsize::new(0),
        });
        let runtime = site.runtime()?;
        let _ = site.handle.set(runtime.handle().clone());
        Ok((site, Arc::new(runtime)))
    }

    fn runtime(self: &Arc<Self>) -> io::Result<Runtime> {
        // Weak: a handle that a destructor gives away must not keep the service.
        let [started, parked] = [(); 2].map(|()| Arc::downgrade(self));
        Builder::new_current_thread()
            .enable_all()
            .thread_name("sundown-close")
            .max_blocking_threads(1)
            // A blocking thread with an empty queue exits at once. The exit shows that the queue is
            // empty: stable Tokio does not expose the queue length.
            .thread_keep_alive(Duration::ZERO)
            .on_thread_start(move || {
                if let Some(site) = started.upgrade() {
                    site.on_thread_start();
                }
            })
            .on_thread_park(move || {
                if let Some(site) = parked.upgrade() {
                    site.on_park();
                }
            })
            .build()
    }

    /// Whether this thread belongs to the lane, or has the context of its runtime.
    pub(super) fn includes_this_thread(&self) -> bool {
        let is_here = |here: Handle| self.handle.get().is_some_and(|own| own.id() == here.id());
        lane::is_this_thread_of(self.lane) || Handle::try_current().is_ok_and(is_here)
    }

    /// How many tasks are alive.
    pub(super) fn tasks(&self) -> usize {
        self.handle.get().map_or(0, |handle| handle.metrics().num_alive_tasks())
    }

    pub(super) fn has_blocking_thread(&self) -> bool {
        // Relaxed: a snapshot for a report.
        self.blocking_threads.load(Ordering::Relaxed) > 0
    }

    /// From now on this serves the batch.
    pub(super) fn serve(self: &Arc<Self>, batch: &Arc<Batch>) {
        *lock(&self.batch) = Some(Arc::clone(batch));
        batch.lock().site = Some(Arc::clone(self));
    }

    /// Posts a fence for this epoch of the batch, behind everything that is queued.
    pub(super) fn post_fence(handle: &Handle, batch: &Arc<Batch>, epoch: u64) {
        let fence = Arc::clone(batch);
        let fence = move || {
            let mut state = fence.lock();
            state.thread_was_granted();
            state.quiet.on_fence(epoch, this_thread::number());
            drop(state);
            exit_at_once();
        };
        let is_refused = batch.lock().is_thread_refused() && !there_are_threads();
        // Tokio panics if it can start no thread. The fence is queued all the same, and runs with the
        // next. So it is asked again only when there are threads.
        if is_refused || panics::catch(|| drop(handle.spawn_blocking(fence))).is_err() {
            let mut state = batch.lock();
            state.fence_was_refused(epoch);
            // A driver may be waiting for the fence.
            batch.changed(state);
        }
    }

    /// A blocking thread starts.
    fn on_thread_start(self: &Arc<Self>) {
        let process = ProcessGuard::this_process();
        let farewell = Farewell { site: Arc::downgrade(self), process };
        let _ = FAREWELL.try_with(|cell| cell.set(farewell));
        lane::this_thread_is_of(self.lane);
        // Relaxed: a count for reports.
        self.blocking_threads.fetch_add(1, Ordering::Relaxed);
    }

    /// A blocking thread exits. If no work of the batch is left now, the batch is finished.
    fn on_thread_exit(self: &Arc<Self>) {
        lane::preempt::before_the_exit_is_recorded();
        // Relaxed: a count for reports.
        self.blocking_threads.fetch_sub(1, Ordering::Relaxed);
        let Some(batch) = lock(&self.batch).clone() else { return };
        let tasks = self.tasks();
        let mut state = batch.lock();
        // Another thread that exits at the same time may have finished it.
        if !state.is_served_at(self) {
            return;
        }
        state.quiet.on_thread_exit(this_thread::number());
        let period = state.finish(tasks);
        if period.is_some() {
            *lock(&self.batch) = None;
            // Before anybody who waits is told: then the lease of this batch has been given back.
            self.service.give_back();
        }
        batch.changed(state);
        if let Some(period) = period {
            period.fire();
        }
    }

    /// The runtime has nothing to poll.
    fn on_park(&self) {
        if self.tasks() == 0 {
            // Not while the lock is held.
            let batch = lock(&self.batch).clone();
            if let Some(batch) = batch {
                batch.last_task_ended();
            }
        }
    }
}

/// Says that a blocking thread is gone.
///
/// It is the first thread-local that code of the kit or of a destructor registers on the thread, so it is
/// destroyed after all others of these ([`joinable`](crate::joinable)). Tokio's `on_thread_stop` would be too
/// early: what closures have left in thread-locals is dropped after that, and may spawn tasks.
struct Farewell {
    /// Weak: a handle that a destructor gives away must not keep the service.
    site: Weak<Site>,
    /// If a closure forks, the child has this thread, too. There a lock may be held for ever.
    process: ProcessGuard,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        if self.process.forked_from().is_none() {
            if let Some(site) = self.site.upgrade() {
                site.on_thread_exit();
            }
        }
    }
}

thread_local!(static FAREWELL: OnceCell<Farewell> = const { OnceCell::new() });

/// Whether the OS has a thread for us.
pub(super) fn there_are_threads() -> bool {
    let thread = thread::Builder::new().name("sundown-close".to_owned());
    thread.spawn(|| ()).is_ok_and(|thread| thread.join().is_ok())
}

/// A blocking thread with an empty queue exits after a wait of no time. By default Linux ends such a wait
/// up to 50 µs late, so that it can end several at once.
fn exit_at_once() {
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
}
