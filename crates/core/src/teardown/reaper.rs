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
//! - one *closes*: the runtime has a single blocking thread, because SQLite connections that are
//!   closed side by side can leave the write-ahead log behind (experiment 12). It is kept ready for
//!   the first value. After that it exists only while there is something to close.

use std::{
    collections::VecDeque,
    future::Future,
    io, mem,
    task::Waker,
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Handle, Runtime};

use super::{Unfinished, drive, quiet::Quiet};
use crate::{
    latch::Latch,
    panics,
    process::ProcessGuard,
    sync::{Arc, Condvar, Mutex, MutexGuard, lock},
};

/// How long the closing thread waits while a destructor runs, so that it exists when the destructor
/// posts the first closer. It is released when the destructor has returned.
const HOLD: Duration = Duration::from_millis(1);

/// When to ask again for a thread that the system refused.
const RETRY: Duration = Duration::from_millis(100);

/// A runtime for destructors. Clones are the same reaper. When the last one is dropped, it finishes
/// what it has, however long that takes, and ends its threads. Nobody waits for that.
#[derive(Clone)]
pub(crate) struct Reaper {
    owner: Arc<Owner>,
}

/// Tells the threads, when it is dropped, that nothing more will be handed over.
struct Owner {
    shared: Arc<Shared>,
    handle: Handle,
    /// A forked child has none of the threads, and a lock that one of them held at that moment is
    /// held for ever: nothing may be touched there.
    process: ProcessGuard,
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.process.forked_from().is_none() {
            self.shared.change(|state| state.ended = true);
            self.shared.handed_over.notify_one();
        }
    }
}

/// What the threads of a reaper and its owners share.
#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// There is a value to drop, or none will come any more.
    handed_over: Condvar,
    pub(super) changed: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    waiting: VecDeque<Box<dyn Send>>,
    /// The closing thread, kept ready for the first value.
    hold: Option<Hold>,
    /// No more will be handed over.
    pub(super) ended: bool,
    /// Whether a destructor is running.
    dropping: bool,
    /// How long destructors ran, in total.
    destructors: Duration,
    panics: Vec<String>,
    pub(super) quiet: Quiet,
    /// Those who wait until nothing is left.
    waiters: Vec<Arc<Latch>>,
    /// The driving thread's future, while it drives and waits for a change of this state.
    pub(super) driver: Option<Waker>,
    /// The same, while it waits for the last task to end.
    pub(super) driver_idle: Option<Waker>,
}

impl State {
    /// Whether every value that was handed over has been dropped.
    pub(super) fn all_dropped(&self) -> bool {
        self.waiting.is_empty() && !self.dropping
    }

    /// Whether nothing is left of what was handed over.
    pub(super) fn is_settled(&self) -> bool {
        self.all_dropped() && self.quiet.is_settled()
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Changes the state, and has every thread look at it.
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

    /// Waits for a change, at most for so long.
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

    /// The closing thread has retired. If nothing is left now, those who wait are released from here.
    fn retired(&self) {
        // The hook is called in the context of its runtime.
        let tasks = Handle::try_current().map_or(0, |handle| handle.metrics().num_alive_tasks());
        let settled = self.change(|state| {
            state.quiet.retired();
            let nothing_left = state.all_dropped() && state.quiet.nothing_left(tasks);
            if nothing_left {
                state.quiet.settle();
                mem::take(&mut state.waiters)
            } else {
                Vec::new()
            }
        });
        for latch in settled {
            latch.fire();
        }
    }

    /// Posts a fence behind everything that is queued, unless the driver is driving.
    pub(super) fn post_fence(self: &Arc<Self>, handle: &Handle) {
        while self.lock().quiet.fence() {
            let shared = Arc::clone(self);
            let fence = move || shared.lock().quiet.pass();
            if panics::catch(|| drop(handle.spawn_blocking(fence))).is_ok() {
                return;
            }
            // Tokio panics if it can start no thread. The fence is queued even so, and is passed
            // together with the next.
            drop(self.wait(self.lock(), RETRY));
        }
    }

    /// The next value to drop, and the closing thread if it is kept ready; `None` at the end.
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
            state = match self.handed_over.wait(state) {
                Ok(state) => state,
                Err(poisoned) => poisoned.into_inner(),
            };
        }
    }
}

impl Reaper {
    /// Starts all threads now, so that whoever hands a value over later needs to start none.
    ///
    /// # Errors
    ///
    /// If the system gives no thread or no descriptor. Nothing is left running.
    pub(crate) fn start() -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let runtime = runtime(&shared)?;
        let handle = runtime.handle().clone();
        let runtime = Driven(Some(runtime));
        let process = ProcessGuard::this_process();
        let owner = Owner { shared: Arc::clone(&shared), handle: handle.clone(), process };
        let hold = Hold::on(&handle)?;
        thread::Builder::new().name("sundown-drop".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || drop_values(&shared, &handle)
        })?;
        // If this one cannot be started, the other sees the owner go, and ends.
        thread::Builder::new()
            .name("sundown-drive".to_owned())
            .spawn(move || runtime.drive(&shared))?;
        // Only now: if a thread was refused, the hold is dropped, and releases the closing thread.
        owner.shared.lock().hold = Some(hold);
        Ok(Self { owner: Arc::new(owner) })
    }

    /// Takes a value over, to drop it. This takes microseconds: no thread is started, nothing is waited
    /// for. It works on a thread whose thread-locals are being destroyed, too.
    pub(crate) fn take(&self, value: Box<dyn Send>) {
        let Owner { shared, .. } = &*self.owner;
        let mut state = shared.lock();
        state.waiting.push_back(value);
        state.quiet.disturb();
        drop(state);
        // One thread, which wakes the others: the caller should not pay for more.
        shared.handed_over.notify_one();
    }

    /// Ready when everything that has been handed over has been dropped, and everything that the
    /// destructors started has ended.
    pub(crate) fn settled(&self) -> impl Future<Output = ()> + Send + use<> {
        let latch = Arc::new(Latch::new());
        let mut state = self.owner.shared.lock();
        if state.is_settled() {
            latch.fire();
        } else {
            state.waiters.push(Arc::clone(&latch));
        }
        drop(state);
        async move { latch.wait().await }
    }

    /// Whether this thread runs something for the reaper: a destructor, or what one has started. If it
    /// waited until the reaper has settled, it would wait for itself.
    pub(crate) fn includes_this_thread(&self) -> bool {
        Handle::try_current().is_ok_and(|here| here.id() == self.owner.handle.id())
    }

    /// The process that has the threads, if this is its forked child. Nothing may be asked of the
    /// reaper there, or handed over.
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
            closing: !state.is_settled() && state.quiet.is_closing(),
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

/// A runtime on its way to the thread that drives it. If that thread cannot be started, the runtime
/// goes down without waiting: the caller may be in async code, where waiting panics.
struct Driven(Option<Runtime>);

impl Driven {
    fn drive(mut self, shared: &Arc<Shared>) {
        if let Some(runtime) = self.0.take() {
            drive::drive(&runtime, shared);
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

/// The runtime that destructors find: one driving thread, at most one that closes.
fn runtime(shared: &Arc<Shared>) -> io::Result<Runtime> {
    let [started, stopped, parking] = [(); 3].map(|()| Arc::clone(shared));
    Builder::new_current_thread()
        .enable_all()
        .thread_name("sundown-close")
        .max_blocking_threads(1)
        // A closing thread that has nothing to do ends at once. That is how one knows that it has
        // nothing to do: stable Tokio does not expose the length of its queue.
        .thread_keep_alive(Duration::ZERO)
        .on_thread_start(move || started.lock().quiet.started())
        .on_thread_stop(move || stopped.retired())
        .on_thread_park(move || parking.parking())
        .build()
}

/// Drops what is handed over, one after another, in the context of the runtime.
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
        // While the closing thread is held, so that none has to be started for the fence.
        if was_last {
            shared.post_fence(handle);
        }
        drop(hold);
    }
    // The closing thread that was kept ready for a value that never came.
    drop(shared.lock().hold.take());
}

/// Asks for a closing thread until there is one: without it, a destructor that posts a closer panics.
fn keep_asking(shared: &Shared, handle: &Handle) -> Hold {
    loop {
        match Hold::on(handle) {
            Ok(hold) => return hold,
            Err(_refused) => drop(shared.wait(shared.lock(), RETRY)),
        }
    }
}

/// Keeps the closing thread there, with nothing to do, until it is needed.
struct Hold(Arc<Held>);

#[derive(Default)]
struct Held {
    begun: Latch,
    returned: Latch,
}

impl Hold {
    /// Starts the closing thread, unless it is there, and makes it wait.
    fn on(handle: &Handle) -> io::Result<Self> {
        let hold = Self(Arc::new(Held::default()));
        let closing = Arc::clone(&hold.0);
        let wait = move || {
            // Woken or not makes no difference: it must not wait longer.
            let _ = closing.begun.wait_blocking(Duration::MAX);
            let _ = closing.returned.wait_blocking(HOLD);
        };
        // If Tokio can start no thread, it panics and keeps the closure for the next thread. The
        // closure does not wait then, because this hold is dropped.
        panics::catch(|| drop(handle.spawn_blocking(wait)))
            .map_err(|message| io::Error::new(io::ErrorKind::WouldBlock, message))?;
        Ok(hold)
    }

    /// The destructor begins.
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
