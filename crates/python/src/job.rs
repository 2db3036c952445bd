//! One piece of work: a method of a Python object, called once or again and again on a thread of the
//! runtime that may block.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use pyo3::prelude::*;
use sundown::{gate::EntryGate, latch::Latch, stop::Stop};
use tokio::{runtime::Handle, time::sleep};

use crate::{
    interpreter::{self, Then},
    ledger::Ledger,
};

/// What the threads of one runtime share with who owns it.
#[derive(Default)]
pub struct Shared {
    /// Who calls into Python is inside.
    pub gate: EntryGate,
    /// Which work has not ended.
    pub ledger: Ledger,
    dropped: Mutex<Dropped>,
}

/// Tasks whose work was dropped before it was done, and who are to be told.
#[derive(Default)]
struct Dropped {
    tasks: Vec<Py<PyAny>>,
    /// Whether there is a thread that does it. It ends itself, under the lock, when there are none.
    telling: bool,
}

/// When the work is to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// As soon as there is a thread.
    Now,
    /// So much later.
    After(Duration),
    /// So much later, and again so much after each end of it.
    Every(Duration),
}

/// The work as who spawned it has it: it can be cancelled.
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
    /// Drops the work unless it is being done; does not wait for that.
    fn cancel(&self) {
        self.cancelled.fire();
    }
}

/// The work as the runtime has it. Where it is dropped with the task still in it, that is told.
pub struct Work {
    shared: Arc<Shared>,
    line: u64,
    task: Option<Py<PyAny>>,
}

impl Work {
    pub fn new(shared: Arc<Shared>, task: Py<PyAny>, name: String, spawned_at: String) -> Self {
        let line = shared.ledger.open(name, spawned_at);
        Self { shared, line, task: Some(task) }
    }

    /// Does the work, on the runtime that this is polled on.
    pub async fn done(mut self, when: When, stop: Stop, cancelled: Arc<Latch>) {
        let (delay, then) = match when {
            When::Now => {
                self.called(Then::LetGo).await;
                return;
            }
            When::After(delay) => (delay, Then::LetGo),
            When::Every(interval) => (interval, Then::Keep),
        };
        let mut stop = stop;
        loop {
            tokio::select! {
                () = sleep(delay) => {}
                () = &mut stop => return,
                () = cancelled.wait() => return,
            }
            self = match self.called(then).await {
                Some(work) if then == Then::Keep => work,
                _ => return,
            };
        }
    }

    /// Calls it once, on a thread that may block. `None` where that was dropped before it began.
    async fn called(mut self, then: Then) -> Option<Self> {
        let call = move || {
            self.call(then);
            self
        };
        Handle::current().spawn_blocking(call).await.ok()
    }

    fn call(&mut self, then: Then) {
        let Some(task) = self.task.take() else { return };
        let Ok(entry) = self.shared.gate.enter() else {
            // The interpreter is about to go, and takes its objects with it: dropping it here would
            // put it into a list of PyO3's, for nobody.
            mem::forget(task);
            return;
        };
        self.shared.ledger.note(self.line, true);
        self.task = interpreter::call(&entry, task, c"_run", then);
        self.shared.ledger.note(self.line, false);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.shared.ledger.close(self.line);
        if let Some(task) = self.task.take() {
            Shared::tell(&self.shared, task);
        }
    }
}

impl Shared {
    /// Tells a task that its work was dropped.
    ///
    /// On a thread made for the purpose: this one may be a worker, or the one that drops the runtime,
    /// and must not wait for the interpreter's lock.
    fn tell(shared: &Arc<Self>, task: Py<PyAny>) {
        if shared.gate.is_closed() {
            mem::forget(task);
            return;
        }
        let mut dropped = shared.dropped();
        dropped.tasks.push(task);
        if dropped.telling {
            return;
        }
        let teller = thread::Builder::new().name("sundown-teller".to_owned());
        let telling = Arc::clone(shared);
        // Without a thread they wait for the next that is dropped.
        dropped.telling = teller.spawn(move || telling.tell_all()).is_ok();
    }

    fn tell_all(&self) {
        loop {
            let mut dropped = self.dropped();
            if dropped.tasks.is_empty() {
                dropped.telling = false;
                return;
            }
            let tasks = mem::take(&mut dropped.tasks);
            drop(dropped);
            for task in tasks {
                match self.gate.enter() {
                    Ok(entry) => drop(interpreter::call(&entry, task, c"_dropped", Then::LetGo)),
                    Err(_) => mem::forget(task),
                }
            }
        }
    }

    /// Whether nobody is inside, and nobody is about to tell a task anything.
    pub fn is_quiet(&self) -> bool {
        self.gate.inside() == 0 && !self.dropped().telling
    }

    fn dropped(&self) -> MutexGuard<'_, Dropped> {
        // Nothing panics under this lock.
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
