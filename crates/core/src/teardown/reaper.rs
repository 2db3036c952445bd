//! Drops values whose destructors need a runtime, and knows when everything that those destructors
//! started has ended.
//!
//! A destructor finds its runtime through the context that the dropping thread has entered, and any
//! runtime will do (experiment 01). So a reaper has a small runtime of its own, on three threads, each
//! for a reason:
//!
//! - one *drives* the runtime: it polls the tasks that destructors spawn, and the timers and sockets
//!   of these ([`drive`](super::drive));
//! - one *drops* the values: it has entered the runtime's context but is not inside a `block_on`, so a
//!   destructor may itself wait for what it started, block on a handle, or `block_in_place`;
//! - one *runs blocking closures*, such as those that close a connection. It is the runtime's only
//!   blocking thread, because SQLite connections that are closed concurrently can leave the write-ahead
//!   log behind (experiment 12). It is kept ready for the first value. After that it exists only while
//!   a closure is running or queued.

use std::{
    collections::VecDeque,
    future::Future,
    io, mem,
    task::Waker,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Handle, Runtime};

use super::{Unfinished, drive, quiescence::Quiescence};
use crate::{
    fork::ProcessGuard,
    latch::Latch,
    panics,
    sync::{Arc, Condvar, Mutex, MutexGuard, lock},
};

/// How long the blocking thread waits while a destructor runs, so that it exists when the destructor
/// queues its first closure. It is released when the destructor has returned.
const HOLD: Duration = Duration::from_millis(1);

/// When to ask again for a thread that the OS refused.
const RETRY: Duration = Duration::from_millis(100);

/// A runtime for destructors. Clones share it. When the last clone is dropped, the threads finish the
/// remaining work, however long that takes, and exit. Nobody waits for them.
#[derive(Clone)]
pub(crate) struct Reaper {
    owner: Arc<Owner>,
}

/// Dropped with the last clone. Then it tells the threads that no more values will come.
struct Owner {
    shared: Arc<Shared>,
    handle: Handle,
    /// Check this first: a forked child has none of the threads, and a lock that one of them held at
    /// the fork is never released there.
    process: ProcessGuard,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Owner {
    /// Tells the threads that no more values will come.
    fn end(&self) {
        self.shared.change(|state| state.ended = true);
        self.shared.value_queued.notify_one();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.process.forked_from().is_none() {
            self.end();
        }
    }
}

/// What the threads of a reaper and its owners share.
#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Notified when a value is queued, and when no more will come.
    value_queued: Condvar,
    pub(super) changed: Condvar,
    /// Fired when the dropping thread has nothing more to do, and when the driving thread has dropped
    /// the runtime.
    dropped: Latch,
    driven: Latch,
}

#[derive(Default)]
pub(super) struct State {
    waiting: VecDeque<Box<dyn Send>>,
    /// Keeps the blocking thread ready for the first value.
    hold: Option<Hold>,
    /// No more values will come.
    pub(super) ended: bool,
    /// Whether a destructor is running.
    dropping: bool,
    /// How long destructors ran, in total.
    destructors: Duration,
    panics: Vec<String>,
    pub(super) quiescence: Quiescence,
    /// Fired when no work is left.
    waiters: Vec<Arc<Latch>>,
    /// Wakes the driving thread's future when this state changes.
    pub(super) driver: Option<Waker>,
    /// Wakes it when the last task has ended.
    pub(super) driver_idle: Option<Waker>,
}

impl State {
    /// Whether every queued value has been dropped.
    pub(super) fn all_dropped(&self) -> bool {
        self.waiting.is_empty() && !self.dropping
    }

    /// Whether every queued value has been dropped and no work is left.
    pub(super) fn is_quiescent(&self) -> bool {
        self.all_dropped() && self.quiescence.is_quiescent()
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Changes the state, and wakes every thread to check it.
    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let result = change(&mut state);
        let driver = state.driver.take();
        drop(state);
        self.changed.notify_all();
        if let Some(driver) = driver {
            driver.wake();
        }
        result
    }

    /// Waits for a change, at most for this long.
    pub(super) fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        limit: Duration,
    ) -> MutexGuard<'a, State> {
        match self.changed.wait_timeout(state, limit) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }

    /// The blocking thread exits. If no work is left now, this fires the waiters.
    fn on_thread_exit(&self) {
        // The hook is called in the context of its runtime.
        let tasks = Handle::try_current().map_or(0, |handle| handle.metrics().num_alive_tasks());
        let waiters = self.change(|state| {
            state.quiescence.on_thread_exit();
            if state.all_dropped() && state.quiescence.check_quiescent(tasks) {
                state.quiescence.mark_quiescent();
                mem::take(&mut state.waiters)
            } else {
                Vec::new()
            }
        });
        for latch in waiters {
            latch.fire();
        }
    }

    /// Posts a marker behind everything that is queued, unless the driver is driving.
    pub(super) fn post_marker(self: &Arc<Self>, handle: &Handle) {
        while self.lock().quiescence.try_post_marker() {
            let shared = Arc::clone(self);
            let marker = move || shared.lock().quiescence.on_marker_run();
            if panics::catch(|| drop(handle.spawn_blocking(marker))).is_ok() {
                return;
            }
            // Tokio panics if it can start no thread. The marker is queued all the same, and runs
            // with the next.
            drop(self.wait(self.lock(), RETRY));
        }
    }

    /// Waits for the next value to drop. Also returns what keeps the blocking thread ready, if
    /// anything does. Returns `None` when no more values will come.
    fn next(&self) -> Option<(Box<dyn Send>, Option<Hold>)> {
        let mut state = self.lock();
        loop {
            if let Some(value) = state.waiting.pop_front() {
                state.dropping = true;
                let hold = state.hold.take();
                drop(state);
                self.changed.notify_all();
                return Some((value, hold));
            }
            if state.ended {
                return None;
            }
            state = match self.value_queued.wait(state) {
                Ok(state) => state,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
    }
}

impl Reaper {
    /// Starts all threads now, so that [`take`](Self::take) needs to start none.
    ///
    /// # Errors
    ///
    /// The OS refused a thread or a file descriptor. Nothing is left running.
    pub(crate) fn start() -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let runtime = runtime(&shared)?;
        let handle = runtime.handle().clone();
        let runtime = Driven(Some(runtime));
        let process = ProcessGuard::this_process();
        let threads = Mutex::default();
        let owner = Owner { shared: Arc::clone(&shared), handle: handle.clone(), process, threads };
        let hold = Hold::on(&handle)?;
        let dropping = thread::Builder::new().name("sundown-drop".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                drop_values(&shared, &handle);
                drop(handle);
                shared.dropped.fire();
            }
        })?;
        // If this one cannot be started, the owner is dropped, and the other thread exits.
        let driving = thread::Builder::new().name("sundown-drive".to_owned()).spawn(move || {
            runtime.drive(&shared);
            shared.driven.fire();
        })?;
        lock(&owner.threads).extend([dropping, driving]);
        // Only now: if a thread was refused, the hold is dropped, and releases the blocking thread.
        owner.shared.lock().hold = Some(hold);
        Ok(Self { owner: Arc::new(owner) })
    }

    /// Queues a value to be dropped. This takes microseconds: it starts no thread and waits for nothing.
    /// It also works on a thread whose thread-locals are being destroyed.
    pub(crate) fn take(&self, value: Box<dyn Send>) {
        let Owner { shared, .. } = &*self.owner;
        let mut state = shared.lock();
        state.waiting.push_back(value);
        state.quiescence.mark_busy();
        drop(state);
        // Wakes one thread, which wakes the others: the caller pays for one wake-up only.
        shared.value_queued.notify_one();
    }

    /// Waits until every value that was queued before this call has been dropped, and all work that
    /// destructors started has ended.
    pub(crate) fn wait_quiescent(&self) -> impl Future<Output = ()> + Send + use<> {
        let latch = Arc::new(Latch::new());
        let mut state = self.owner.shared.lock();
        if state.is_quiescent() {
            latch.fire();
        } else {
            state.waiters.push(Arc::clone(&latch));
        }
        drop(state);
        async move { latch.wait().await }
    }

    /// Takes no more values, and waits until the threads have ended. Call this after
    /// [`wait_quiescent`](Self::wait_quiescent): until then they do not end.
    pub(crate) fn release(&self) -> impl Future<Output = ()> + Send + use<> {
        let owner = Arc::clone(&self.owner);
        owner.end();
        async move {
            owner.shared.dropped.wait().await;
            owner.shared.driven.wait().await;
            for thread in lock(&owner.threads).drain(..) {
                // Microseconds: it has fired its latch, and does nothing more.
                let _ = thread.join();
            }
        }
    }

    /// Waits until everything has ended, the threads included.
    pub(super) async fn end(&self) {
        self.wait_quiescent().await;
        self.release().await;
    }

    /// Whether this thread runs a destructor, or work that one has started. If it waited for
    /// [`wait_quiescent`](Self::wait_quiescent), it would wait for itself.
    pub(crate) fn includes_this_thread(&self) -> bool {
        Handle::try_current().is_ok_and(|here| here.id() == self.owner.handle.id())
    }

    /// The process that has the threads, if this is its forked child. Do not call any other method
    /// there.
    pub(crate) fn forked_from(&self) -> Option<u32> {
        self.owner.process.forked_from()
    }

    /// What has not ended.
    pub(crate) fn unfinished(&self) -> Unfinished {
        let tasks = self.owner.handle.metrics().num_alive_tasks();
        let state = self.owner.shared.lock();
        Unfinished {
            waiting: state.waiting.len(),
            destructor_running: state.dropping,
            tasks,
            blocking_work: !state.is_quiescent() && state.quiescence.has_blocking_work(),
        }
    }

    /// The messages of destructors that panicked.
    pub(crate) fn panics(&self) -> Vec<String> {
        self.owner.shared.lock().panics.clone()
    }

    /// How long destructors ran, in total.
    pub(crate) fn destructors(&self) -> Duration {
        self.owner.shared.lock().destructors
    }
}

/// Moves a runtime to the thread that drives it. If that thread cannot be started, the runtime is shut
/// down without waiting: the caller may be in async code, where waiting panics.
struct Driven(Option<Runtime>);

impl Driven {
    fn drive(mut self, shared: &Arc<Shared>) {
        if let Some(runtime) = self.0.take() {
            drive::drive(&runtime, shared);
            // Waits for the blocking thread.
            drop(runtime);
        }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Builds the runtime that destructors find: one driving thread, at most one blocking thread.
fn runtime(shared: &Arc<Shared>) -> io::Result<Runtime> {
    let [started, stopped, parked] = [(); 3].map(|()| Arc::clone(shared));
    Builder::new_current_thread()
        .enable_all()
        .thread_name("sundown-close")
        .max_blocking_threads(1)
        // A blocking thread with an empty queue exits at once. The exit shows that the queue is
        // empty: stable Tokio does not expose the queue length.
        .thread_keep_alive(Duration::ZERO)
        .on_thread_start(move || started.lock().quiescence.on_thread_start())
        .on_thread_stop(move || stopped.on_thread_exit())
        .on_thread_park(move || parked.on_park())
        .build()
}

/// Drops queued values one after another, in the context of the runtime.
fn drop_values(shared: &Arc<Shared>, handle: &Handle) {
    let _context = handle.enter();
    while let Some((value, hold)) = shared.next() {
        let hold = hold.unwrap_or_else(|| keep_asking(shared, handle));
        hold.begin();
        let began = Instant::now();
        let panic = panics::catch(|| drop(value)).err();
        let elapsed = began.elapsed();
        let was_last = shared.change(|state| {
            state.dropping = false;
            state.destructors += elapsed;
            state.panics.extend(panic);
            state.waiting.is_empty()
        });
        // While the blocking thread is held, so that none has to be started for the marker.
        if was_last {
            shared.post_marker(handle);
        }
        drop(hold);
    }
    // Release the blocking thread, if it was kept ready for a value that never came.
    drop(shared.lock().hold.take());
}

/// Asks for a blocking thread until there is one: without it, a destructor that queues a closure panics.
fn keep_asking(shared: &Shared, handle: &Handle) -> Hold {
    loop {
        match Hold::on(handle) {
            Ok(hold) => return hold,
            Err(_refused) => drop(shared.wait(shared.lock(), RETRY)),
        }
    }
}

/// Keeps the blocking thread alive, with nothing to do, until it is needed.
struct Hold(Arc<Held>);

#[derive(Default)]
struct Held {
    begun: Latch,
    returned: Latch,
}

impl Hold {
    /// Starts the blocking thread unless it exists, and makes it wait.
    fn on(handle: &Handle) -> io::Result<Self> {
        let hold = Self(Arc::new(Held::default()));
        let held = Arc::clone(&hold.0);
        let wait = move || {
            // Woken or timed out: it must not wait longer either way.
            let _ = held.begun.wait_blocking(Duration::MAX);
            let _ = held.returned.wait_blocking(HOLD);
        };
        // If Tokio can start no thread, it panics and keeps the closure for the next thread. The
        // closure does not wait then, because this hold is dropped.
        panics::catch(|| drop(handle.spawn_blocking(wait)))
            .map_err(|message| io::Error::new(io::ErrorKind::WouldBlock, message))?;
        Ok(hold)
    }

    /// Call this when the destructor begins.
    fn begin(&self) {
        self.0.begun.fire();
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.begun.fire();
        self.0.returned.fire();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::limit::PLENTY;

    use super::*;

    #[test]
    fn the_threads_of_a_reaper_end_with_it_whether_it_had_a_value_or_not() {
        for values in 0..3 {
            let reaper = Reaper::start().unwrap();
            (0..values).for_each(|_| reaper.take(Box::new(())));
            // Every thread has a reference, and so has the runtime.
            let shared = Arc::downgrade(&reaper.owner.shared);
            let clone = reaper.clone();
            drop(reaper);
            assert!(shared.strong_count() > 1);
            drop(clone);
            let began = Instant::now();
            while shared.strong_count() > 0 {
                assert!(began.elapsed() < PLENTY, "a thread is left");
                thread::yield_now();
            }
        }
    }

    #[test]
    fn a_runtime_that_no_thread_drives_goes_down_in_async_code_without_a_panic() {
        let shared = Arc::<Shared>::default();
        let driven = Driven(Some(runtime(&shared).unwrap()));
        runtime(&shared).unwrap().block_on(async { drop(driven) });
    }
}
