//! Where values are dropped whose destructors need a runtime, and where one learns that everything
//! those destructors started has ended.
//!
//! A destructor finds its runtime through the context that the dropping thread has entered, and any
//! runtime will do (experiment 01). So a reaper has a small one of its own, on three threads, each
//! for a reason:
//!
//! - one *drives* the runtime: it polls the tasks that destructors spawn, and the timers and
//!   sockets of these ([`drive`]);
//! - one *drops* the values: it has entered the runtime's context but is not inside a `block_on`, so
//!   that a destructor may itself wait for what it started, block on a handle, or `block_in_place`;
//! - one *closes*: the runtime has a single blocking thread, because SQLite connections that are
//!   closed side by side can leave the write-ahead log behind (experiment 12). It is kept ready for
//!   the first value; after that it exists only while there is something to close.

use std::{
    collections::VecDeque,
    future::Future,
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    task::Waker,
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::{
    crew::panic_message,
    latch::Latch,
    sync::{Arc, Condvar, Mutex, MutexGuard, lock},
};

mod drive;
mod quiet;

use quiet::Quiet;

/// For how long the closing thread is kept from its work while a destructor runs, so that it exists
/// when the destructor posts the first closer. It is released when the destructor has returned.
const HOLD: Duration = Duration::from_millis(1);

/// How soon to ask again for a thread that the system refused.
const RETRY: Duration = Duration::from_millis(100);

/// A runtime for destructors. Clones are the same reaper; when the last one goes, it finishes what
/// it has, however long that takes, and ends its threads. Nobody waits for that.
#[derive(Clone)]
pub(crate) struct Reaper {
    owner: Arc<Owner>,
}

/// Tells the threads that nothing will be handed over any more.
struct Owner {
    shared: Arc<Shared>,
    handle: Handle,
    process: u32,
}

impl Owner {
    /// The process that has the threads, if it is not this one. A forked child has none of them, and
    /// a lock that one of them held at that moment is held for ever: nothing may be touched there.
    fn forked_from(&self) -> Option<u32> {
        (process::id() != self.process).then_some(self.process)
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.forked_from().is_none() {
            self.shared.change(|state| state.ended = true);
            self.shared.handed_over.notify_one();
        }
    }
}

/// What a reaper has not come to the end of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// Values whose destructors have not begun.
    pub(crate) waiting: usize,
    /// Whether a destructor is running.
    pub(crate) dropping: bool,
    /// Tasks that destructors spawned and that are alive.
    pub(crate) tasks: usize,
    /// Whether the closing thread is at work. How much waits for it, Tokio does not tell.
    pub(crate) closing: bool,
}

/// What the threads of a reaper and its owners share.
struct Shared {
    state: Mutex<State>,
    /// There is a value to drop, or none will come any more.
    handed_over: Condvar,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Box<dyn Send>>,
    /// The closing thread, kept ready for the first value.
    hold: Option<Hold>,
    /// No more will be handed over.
    ended: bool,
    /// Whether a destructor is running.
    dropping: bool,
    /// How long destructors ran, all together.
    destructors: Duration,
    panics: Vec<String>,
    quiet: Quiet,
    /// Who waits until nothing is left.
    waiters: Vec<Arc<Latch>>,
    /// The driving thread's future, while it drives and waits for a change of this.
    driver: Option<Waker>,
    /// The same, while it waits for the last task to end.
    driver_idle: Option<Waker>,
}

impl State {
    /// Whether every value that was handed over has been dropped.
    fn all_dropped(&self) -> bool {
        self.waiting.is_empty() && !self.dropping
    }

    /// Whether nothing of what was handed over is left.
    fn is_settled(&self) -> bool {
        self.all_dropped() && self.quiet.is_settled()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
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

    /// Waits for a change, for at most so long.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        match self.changed.wait_timeout(state, limit) {
            Ok((state, _)) => state,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }

    /// The closing thread has retired. If that was the last that was to be waited for, those who
    /// wait are told at once, from here.
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

    /// Posts a fence behind everything that is queued, unless the driver is driving and will do so
    /// itself.
    fn post_fence(self: &Arc<Self>, handle: &Handle) {
        while self.lock().quiet.fence() {
            let shared = Arc::clone(self);
            let fence = move || shared.lock().quiet.pass();
            let post = || drop(handle.spawn_blocking(fence));
            if catch_unwind(AssertUnwindSafe(post)).is_ok() {
                return;
            }
            // Tokio could start no thread for it, which it reports by panicking. The fence is queued
            // even so, and is passed together with the next.
            drop(self.wait(self.lock(), RETRY));
        }
    }
}

impl Reaper {
    /// Starts the threads, so that nothing that is handed over later needs one to be started by
    /// whoever hands it over.
    ///
    /// # Errors
    ///
    /// When the system gives no thread or no descriptor. Nothing is left running.
    pub(crate) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            handed_over: Condvar::new(),
            changed: Condvar::new(),
        });
        let runtime = runtime(&shared)?;
        let handle = runtime.handle().clone();
        let runtime = Driven(Some(runtime));
        let process = process::id();
        let owner = Owner { shared: Arc::clone(&shared), handle: handle.clone(), process };
        let hold = Hold::on(&handle)?;
        thread::Builder::new().name("sundown-drop".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || drop_values(&shared, &handle)
        })?;
        // Where this one cannot be started, the other sees the owner go and ends.
        thread::Builder::new()
            .name("sundown-drive".to_owned())
            .spawn(move || runtime.drive(&shared))?;
        // Only now: where a thread was refused the hold is dropped, and with it the closing thread.
        owner.shared.lock().hold = Some(hold);
        Ok(Self { owner: Arc::new(owner) })
    }

    /// Takes a value over, to drop it. Microseconds: no thread is started, nothing is waited for. Of
    /// use on a thread whose locals are being destroyed, too.
    pub(crate) fn take(&self, value: Box<dyn Send>) {
        let Owner { shared, .. } = &*self.owner;
        let mut state = shared.lock();
        state.waiting.push_back(value);
        state.quiet.disturb();
        drop(state);
        // One thread, and not all: who drops a handle is in a hurry. That one wakes the others.
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

    /// Whether this thread runs something for the reaper: a destructor, or what one has started. To
    /// wait here until the reaper has settled is to wait for oneself.
    pub(crate) fn is_here(&self) -> bool {
        Handle::try_current().is_ok_and(|here| here.id() == self.owner.handle.id())
    }

    /// The process that has the threads, if it is not this one but its forked child: where nothing
    /// may be asked of the reaper, or handed over.
    pub(crate) fn forked_from(&self) -> Option<u32> {
        self.owner.forked_from()
    }

    /// What has not ended.
    pub(crate) fn left(&self) -> Left {
        let tasks = self.owner.handle.metrics().num_alive_tasks();
        let state = self.owner.shared.lock();
        Left {
            waiting: state.waiting.len(),
            dropping: state.dropping,
            tasks,
            closing: !state.is_settled() && state.quiet.is_closing(),
        }
    }

    /// What the destructors that panicked had to say.
    pub(crate) fn panics(&self) -> Vec<String> {
        self.owner.shared.lock().panics.clone()
    }

    /// How long destructors ran, all together.
    pub(crate) fn destructors(&self) -> Duration {
        self.owner.shared.lock().destructors
    }
}

/// A runtime on its way to the thread that drives it. Where that cannot be started it goes down
/// without waiting for anything: whoever asked for it may be in async code, where waiting panics.
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
        // A thread that has nothing to do ends at once: this is how one knows that it has nothing
        // to do. The sum of what is queued is not for stable Tokio to tell.
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
        let result = catch_unwind(AssertUnwindSafe(|| drop(value)));
        let elapsed = began.elapsed();
        let panic = result.err().map(|payload| {
            let message = panic_message(&*payload);
            // A payload whose own destructor panics must not take this thread with it.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
            message
        });
        let last = shared.change(|state| {
            state.dropping = false;
            state.destructors += elapsed;
            state.panics.extend(panic);
            state.waiting.is_empty()
        });
        // While the closing thread is held, so that none has to be started for it.
        if last {
            shared.post_fence(handle);
        }
        drop(hold);
    }
    // The thread that was kept ready for a value that never came.
    drop(shared.lock().hold.take());
}

impl Shared {
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

/// A destructor is not begun without a thread for its closers: it would panic.
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
        // Tokio panics where it can start no thread, and keeps the closure for the next thread: it
        // must not wait then, and as this hold is dropped it does not.
        catch_unwind(AssertUnwindSafe(|| {
            drop(handle.spawn_blocking(move || {
                // Whether it was told or not is all the same: it is not to wait for longer.
                let _ = closing.begun.wait_blocking(Duration::MAX);
                let _ = closing.returned.wait_blocking(HOLD);
            }));
        }))
        .map_err(|payload| io::Error::new(io::ErrorKind::WouldBlock, panic_message(&*payload)))?;
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
