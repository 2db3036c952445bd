//! One piece of work: a method of a Python object, called once or repeatedly on a blocking thread of
//! the runtime.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use pyo3::prelude::*;
use sundown::{latch::Latch, stop::Stop};
use sundown_pyo3::{GATE, Then, call_method};
use tokio::{runtime::Handle, sync::Notify, time::sleep};

use crate::ledger::Ledger;

/// What the threads of one runtime share with its owner.
#[derive(Default)]
pub struct Shared {
    /// The work that has not ended.
    pub ledger: Ledger,
    dropped: Mutex<Dropped>,
    /// Notified when no task has to be notified any more.
    quiet: Notify,
    /// Held while the notifier is joined, so that nobody who waits at the same time returns before.
    joining: Mutex<()>,
}

/// Tasks whose work was dropped, and which have to be notified.
#[derive(Default)]
struct Dropped {
    tasks: Vec<Py<PyAny>>,
    /// Whether a thread is notifying them. It decides to end under the lock, when there are no more.
    notifying: bool,
    /// The last such thread, until it has been joined.
    notifier: Option<JoinHandle<()>>,
}

/// The name of the thread that notifies tasks.
pub const NOTIFIER: &str = "sundown-notifier";

/// When to do the work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// As soon as there is a thread.
    Now,
    /// After this time.
    After(Duration),
    /// After this time, and again this time after each call.
    Every(Duration),
}

/// The handle of a piece of work.
#[pyclass(frozen, module = "sundown._native")]
pub struct Job {
    cancelled: Arc<Latch>,
}

impl Job {
    pub const fn new(cancelled: Arc<Latch>) -> Self {
        Self { cancelled }
    }
}

#[pymethods]
impl Job {
    /// Drops the work unless it is being called. Does not wait for that.
    fn cancel(&self) {
        self.cancelled.fire();
    }
}

/// A piece of work on the runtime. If it is dropped before the call, its task is notified.
pub struct Work {
    shared: Arc<Shared>,
    number: u64,
    task: Option<Py<PyAny>>,
}

impl Work {
    pub fn new(shared: Arc<Shared>, task: Py<PyAny>, name: String, spawned_at: String) -> Self {
        let number = shared.ledger.add(name, spawned_at);
        Self { shared, number, task: Some(task) }
    }

    /// Does the work on the runtime that polls this.
    pub async fn perform(mut self, when: When, stop: Stop, cancelled: Arc<Latch>) {
        let (delay, then) = match when {
            When::Now => {
                self.call_on_a_thread(Then::Release).await;
                return;
            }
            When::After(delay) => (delay, Then::Release),
            When::Every(interval) => (interval, Then::Keep),
        };
        let mut stop = stop;
        loop {
            tokio::select! {
                () = sleep(delay) => {}
                () = &mut stop => return,
                () = cancelled.wait() => return,
            }
            self = match self.call_on_a_thread(then).await {
                Some(work) if then == Then::Keep => work,
                _ => return,
            };
        }
    }

    /// Calls it once on a blocking thread. Returns `None` if the call was dropped before it began.
    async fn call_on_a_thread(mut self, then: Then) -> Option<Self> {
        let call = move || {
            self.call(then);
            self
        };
        Handle::current().spawn_blocking(call).await.ok()
    }

    fn call(&mut self, then: Then) {
        let Some(task) = self.task.take() else { return };
        self.shared.ledger.set_inside(self.number, true);
        // Closed, the interpreter is about to be finalized, with its objects.
        self.task = call_method(task, c"_run", then).unwrap_or_default();
        self.shared.ledger.set_inside(self.number, false);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.shared.ledger.remove(self.number);
        if let Some(task) = self.task.take() {
            Shared::notify(&self.shared, task);
        }
    }
}

impl Shared {
    /// Notifies a task that its work was dropped.
    ///
    /// This takes a thread of its own, because the calling one must not wait for the interpreter's
    /// lock: it may be a worker, or the thread that drops the runtime.
    fn notify(shared: &Arc<Self>, task: Py<PyAny>) {
        if GATE.is_closed() {
            // Without the interpreter's lock, PyO3 would put it on a list that nobody reads any more. The exit
            // notifies it, on the thread that has the lock.
            mem::forget(task);
            return;
        }
        let mut dropped = shared.dropped();
        dropped.tasks.push(task);
        if dropped.notifying {
            return;
        }
        let thread = thread::Builder::new().name(NOTIFIER.to_owned());
        let notifying = Arc::clone(shared);
        // If the thread cannot be started, the next dropped work tries again.
        dropped.notifier = thread.spawn(move || notifying.notify_all()).ok();
        dropped.notifying = dropped.notifier.is_some();
    }

    fn notify_all(&self) {
        loop {
            let mut dropped = self.dropped();
            if dropped.tasks.is_empty() {
                dropped.notifying = false;
                drop(dropped);
                self.quiet.notify_waiters();
                return;
            }
            let tasks = mem::take(&mut dropped.tasks);
            drop(dropped);
            for task in tasks {
                // Closed, the interpreter is about to be finalized.
                let _ = call_method(task, c"_dropped", Then::Release);
            }
        }
    }

    /// Whether no thread notifies a task.
    pub fn is_quiet(&self) -> bool {
        !self.dropped().notifying
    }

    /// Waits until no thread notifies a task, and the one that did has ended.
    pub async fn until_quiet(&self) {
        loop {
            // Before the look, so that no notification in between is missed.
            let notified = self.quiet.notified();
            if self.join_if_quiet() {
                return;
            }
            notified.await;
        }
    }

    fn join_if_quiet(&self) -> bool {
        let _joining = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped = self.dropped();
        if dropped.notifying {
            return false;
        }
        let notifier = dropped.notifier.take();
        // Not under that lock, which threads take that have the interpreter's: a destructor of a thread-local of somebody
        // else may need that one.
        drop(dropped);
        if let Some(notifier) = notifier {
            // The hook has reported a panic, which nothing here makes.
            let _ = notifier.join();
        }
        true
    }

    /// Whether this is the thread that notifies tasks.
    pub fn is_notifier(&self) -> bool {
        let dropped = self.dropped();
        let notifier = dropped.notifier.as_ref().filter(|_| dropped.notifying);
        notifier.is_some_and(|notifier| notifier.thread().id() == thread::current().id())
    }

    fn dropped(&self) -> MutexGuard<'_, Dropped> {
        // Nothing panics under this lock.
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
