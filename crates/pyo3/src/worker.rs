//! Waiting on a thread that a runtime has its tasks on.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};

use pyo3::{exceptions::PyRuntimeError, prelude::*};
use tokio::{runtime::Handle, task};

use crate::{compat, runtime};

thread_local! {
    /// Whether a task of a `LocalSet` is polled, which must stay on its thread.
    static IS_LOCAL: Cell<bool> = const { Cell::new(false) };
}

/// Runs what waits for the library's runtime, and says whether a runtime may block on it: not on a thread that one has
/// tasks on. In one of its tasks, such as a callback is called by, the thread is a
/// worker: it hands its other tasks and the runtime's timers over, or nobody might look after them. That is
/// `block_in_place`; Tokio documents that it runs the closure as it is on a thread that is no worker.
///
/// # Errors
///
/// `RuntimeError` on the only thread of the runtime, or in a `LocalSet` that this crate does not know of. Tokio panics
/// there, which the panic hook prints. And `RuntimeError` if the runtime has no thread to hand them to.
pub(crate) fn wait_in_place<R>(py: Python<'_>, wait: impl FnOnce(bool) -> R) -> PyResult<R> {
    // In a child that a task has forked, the thread is still in the context of its parent's runtime, which must not go on
    // here. And while a runtime of somebody else waits, the library's goes on.
    let current = Handle::try_current();
    let is_in_task = task::try_id().is_some() && current.as_ref().is_ok_and(is_ours);
    // A thread of a `LocalSet` is no worker.
    if !is_in_task || IS_LOCAL.get() {
        return Ok(wait(current.is_err_and(|error| error.is_missing_context())));
    }
    let one_at_a_time = compat::detach(py, || {
        let one_at_a_time = HandsOver::begin();
        let can = !Waits::are_too_many() && current.is_ok_and(|it| has_free_threads(&it));
        if !can {
            Waits::set_too_many();
        }
        can.then(|| (one_at_a_time, Waits::begin()))
    });
    let Some((one_at_a_time, _waits)) = one_at_a_time else {
        return Err(PyRuntimeError::new_err(
            "this blocks, and was called in a task whose runtime has no two threads for blocking work left, which would \
             go on with its other tasks and with results: call it on another thread, or let fewer callbacks block at a time",
        ));
    };
    let mut has_begun = false;
    let waited = catch_unwind(AssertUnwindSafe(|| {
        task::block_in_place(|| {
            has_begun = true;
            drop(one_at_a_time);
            wait(true)
        })
    }));
    waited.or_else(|panic| match has_begun {
        true => resume_unwind(panic),
        false => Err(PyRuntimeError::new_err(
            "this blocks, and was called in a task that has the only thread of its runtime: call it on another thread",
        )),
    })
}

/// How long a thread for blocking work may take to begin. They may all be busy, some of them with waits like this one,
/// which would wait for each other for ever.
const LONGEST_START: Duration = Duration::from_secs(1);

/// Whether two threads for blocking work are free: one for the worker's tasks, and one for results.
fn has_free_threads(runtime: &Handle) -> bool {
    let (begins, begun) = mpsc::channel();
    let (ends, end) = mpsc::channel::<()>();
    let end = Arc::new(Mutex::new(end));
    let limit = Instant::now() + LONGEST_START;
    let both_begin = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..2 {
            let (begins, end) = (begins.clone(), Arc::clone(&end));
            drop(runtime.spawn_blocking(move || {
                let _ = begins.send(());
                // Until both have begun, or nobody waits for it any more.
                let _ = end.lock().unwrap_or_else(PoisonError::into_inner).recv();
            }));
        }
        (0..2).all(|_| begun.recv_timeout(limit.saturating_duration_since(Instant::now())).is_ok())
    }));
    drop(ends);
    both_begin.unwrap_or(false)
}

/// A worker that has handed its tasks over. When one could not, the next ones cannot either before a wait has ended: each
/// would look for a second, and nobody would look after the timers that the waits wait for.
struct Waits;

/// How many there are; and whether there are too many. Relaxed: both are used by one worker at a time, or stand for
/// themselves.
static WAITS: AtomicUsize = AtomicUsize::new(0);
static TOO_MANY: AtomicBool = AtomicBool::new(false);

impl Waits {
    fn begin() -> Self {
        WAITS.fetch_add(1, Ordering::Relaxed);
        Self
    }

    fn are_too_many() -> bool {
        TOO_MANY.load(Ordering::Relaxed) && WAITS.load(Ordering::Relaxed) > 0
    }

    fn set_too_many() {
        TOO_MANY.store(true, Ordering::Relaxed);
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        TOO_MANY.store(false, Ordering::Relaxed);
        // In a forked child, the count begins anew, and this may be a wait that its parent began.
        let less = |waits: usize| Some(waits.saturating_sub(1));
        let _ = WAITS.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

/// In a forked child, no worker of the parent's hands over or waits.
#[cfg(unix)]
pub(crate) fn forget_workers() {
    HANDS_OVER.store(false, Ordering::Relaxed);
    TOO_MANY.store(false, Ordering::Relaxed);
    WAITS.store(0, Ordering::Relaxed);
}

/// One worker at a time looks for free threads, and takes one.
struct HandsOver;

static HANDS_OVER: AtomicBool = AtomicBool::new(false);

impl HandsOver {
    fn begin() -> Self {
        // Acquire and Release: as a lock has them.
        while HANDS_OVER.swap(true, Ordering::Acquire) {
            thread::sleep(Duration::from_millis(1));
        }
        Self
    }
}

impl Drop for HandsOver {
    fn drop(&mut self) {
        HANDS_OVER.store(false, Ordering::Release);
    }
}

/// Whether it is that of the library in this process.
fn is_ours(handle: &Handle) -> bool {
    runtime::find().is_some_and(|made| made.runtime.handle().id() == handle.id())
}

/// A future of a `LocalSet`.
pub(crate) struct Local<F>(Pin<Box<F>>);

impl<F> Local<F> {
    pub(crate) fn new(future: F) -> Self {
        Self(Box::pin(future))
    }
}

impl<F: Future> Future for Local<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _reset = Reset(IS_LOCAL.replace(true));
        self.0.as_mut().poll(context)
    }
}

/// Sets the flag back, also after a panic.
struct Reset(bool);

impl Drop for Reset {
    fn drop(&mut self) {
        // The thread may be at its end.
        let _ = IS_LOCAL.try_with(|is_local| is_local.set(self.0));
    }
}
