//! The end: what happens before the interpreter is finalized.

use std::{
    future::Future,
    mem, process,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use pyo3::{prelude::*, types::PyCFunction};
use sundown::{
    gate::{Closed, Entry},
    limit::{within, within_blocking},
};

use crate::{
    compat,
    delivery::{self, UNDER_WAY},
    end,
    entry::GATE,
    fork::{self, Process},
    quiet, runtime, worker,
};

/// The limit of the exit, in milliseconds.
static LIMIT: AtomicU64 = AtomicU64::new(5_000);

/// Whether the handler has begun. Relaxed: it stands for itself.
static HAS_BEGUN: AtomicBool = AtomicBool::new(false);

/// Whether the interpreter is about to exit.
pub(crate) fn has_begun() -> bool {
    HAS_BEGUN.load(Ordering::Relaxed)
}

/// The thread that is about to finalize the interpreter.
static FINALIZES: OnceLock<ThreadId> = OnceLock::new();

/// Enters the gate in a callback of an event loop, whose thread may be a daemon: up to 3.13.0, Python ends it in whatever
/// it calls while the interpreter is finalized, and a Rust frame must not be below. The thread that finalizes need not enter:
/// a handler that runs later than ours may run an event loop.
///
/// # Errors
///
/// [`Closed`]: nothing may be called any more.
pub(crate) fn in_callback() -> Result<Option<Entry<'static>>, Closed> {
    match GATE.enter() {
        Ok(inside) => Ok(Some(inside)),
        Err(Closed) if FINALIZES.get() == Some(&thread::current().id()) => Ok(None),
        Err(Closed) => Err(Closed),
    }
}

/// Enters the gate with a value that is dropped inside it, or kept for ever: a destructor may call Python code, in which
/// Python could end the thread.
///
/// # Errors
///
/// `RuntimeError`, if the interpreter is about to exit.
pub(crate) fn enter_with<T>(value: T) -> PyResult<(Entry<'static>, T)> {
    match GATE.enter() {
        Ok(inside) => Ok((inside, value)),
        Err(Closed) => {
            drop(Owned::new(value));
            Err(delivery::ended())
        }
    }
}

/// What an object of Python owns, which any thread may destroy. It is dropped inside the gate, or kept for ever.
pub(crate) struct Owned<T>(Option<T>);

impl<T> Owned<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Some(value))
    }

    pub(crate) fn take(&mut self) -> Option<T> {
        self.0.take()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        let value = self.0.take();
        match in_callback() {
            Ok(_inside) => drop(value),
            Err(Closed) => mem::forget(value),
        }
    }
}

/// How often a wait looks whether a signal handler of Python has raised.
const SLICE: Duration = Duration::from_millis(50);

/// Sets how long an exit may take, 5 s if you do not.
pub fn set_exit_limit(limit: Duration) {
    // Relaxed: it stands for itself.
    LIMIT.store(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Registers the handlers, unless that has been done. The first call into this crate does it; call it when
/// your module is imported, so that handlers which are registered later can still use the runtime.
///
/// # Errors
///
/// `ImportError` in a sub-interpreter: our threads attach to the main interpreter only. `RuntimeError`, if the interpreter
/// is about to exit. And those of `atexit`.
pub fn install(py: Python<'_>) -> PyResult<()> {
    fork::install_for_forks(py)?;
    static INSTALLED: OnceLock<()> = OnceLock::new();
    compat::once(&INSTALLED, || {
        if are_handlers_called(py)? {
            return Err(delivery::ended());
        }
        let at_exit =
            PyCFunction::new_closure(py, Some(c"sundown_at_exit"), None, |arguments, _| {
                at_exit(arguments.py())
            })?;
        py.import("atexit")?.call_method1("register", (at_exit,)).map(drop)
    })
}

/// Whether Python calls the handlers of `atexit`. It calls none that is registered meanwhile.
///
/// It calls them when the main thread has ended, and after `threading._shutdown`, in which that waits for the other threads.
fn are_handlers_called(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?;
    if main.call_method0("is_alive")?.extract()? {
        return Ok(false);
    }
    let frames = py.import("sys")?.call_method0("_current_frames")?;
    let mut frame = frames.call_method1("get", (main.getattr("ident")?,))?;
    // `threading` takes the thread that has imported it first for the main one: that may have ended long ago.
    let has_frames = !frame.is_none();
    while !frame.is_none() {
        let name = frame.getattr("f_code")?.getattr("co_name")?;
        let module = frame.getattr("f_globals")?.call_method1("get", ("__name__",))?;
        if name.eq("_shutdown")? && module.eq("threading")? {
            return Ok(false);
        }
        frame = frame.getattr("f_back")?;
    }
    // Without a frame, it may be in a handler in C. The kernel names a process by its first thread.
    let is_first = || main.getattr("native_id")?.eq(process::id());
    Ok(has_frames || is_first()?)
}

/// How long threads that are on their way out of Python get after a signal has ended the wait.
const AFTER_A_SIGNAL: Duration = Duration::from_millis(100);

/// How long results on their way get from the threads for blocking work.
const WITH_THREADS: Duration = Duration::from_millis(200);

/// Drops what is in flight, closes the gate, and waits until every thread has left Python. Says on standard
/// error what has not ended within the limit. A signal handler that raises, as that of Ctrl-C does, ends the wait.
fn at_exit(py: Python<'_>) -> PyResult<()> {
    let began = Instant::now();
    HAS_BEGUN.store(true, Ordering::Relaxed);
    FINALIZES.get_or_init(|| thread::current().id());
    if let Err(error) = quiet::install(py) {
        error.write_unraisable(py, None);
    }
    // Relaxed: it stands for itself.
    let limit = Duration::from_millis(LIMIT.load(Ordering::Relaxed));
    let made = runtime::find();
    // While the gate is open: their destructors may need Python.
    let dropped = made.map_or(Ok(()), |made| {
        made.tasks.stop();
        made.tasks.abort();
        wait(py, made.tasks.drain(limit)).map(drop)
    });
    let rest = |ended: &PyResult<()>| match ended {
        Ok(()) => limit.saturating_sub(began.elapsed()),
        Err(_) => AFTER_A_SIGNAL,
    };
    UNDER_WAY.close();
    let soon = WITH_THREADS.min(rest(&dropped));
    let dropped = match wait(py, within(soon, UNDER_WAY.wait_empty())) {
        Ok(Some(())) => dropped,
        Ok(None) => {
            // All threads for blocking work may be busy for longer than the limit.
            delivery::deliver_those_left(py, || rest(&dropped).is_zero());
            dropped
        }
        Err(raised) => dropped.and(Err(raised)),
    };
    let delivered = wait(py, within(rest(&dropped), UNDER_WAY.wait_empty())).map(drop);
    let dropped = dropped.and(delivered);
    GATE.close();
    let left = wait(py, within(rest(&dropped), GATE.wait_empty())).map(drop);
    let given = end::give_all_a_result(py);
    let unfinished = made.map(|made| made.tasks.drain_blocking(Duration::ZERO).still_running);
    let unfinished: Vec<_> =
        unfinished.into_iter().flatten().map(|future| future.to_string()).collect();
    let undelivered = UNDER_WAY.inside();
    if let Some(text) = what_is_left(GATE.inside(), &unfinished, undelivered, began.elapsed()) {
        py.import("sys")?.getattr("stderr")?.call_method1("write", (text,))?;
    }
    dropped.and(left).and(given)
}

/// What an exit says that has left something, if it has.
fn what_is_left(
    inside: usize,
    futures: &[String],
    undelivered: usize,
    elapsed: Duration,
) -> Option<String> {
    let count = |number, one, many| match number {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    };
    let names = match futures {
        [] => String::new(),
        names => format!(": {}", names.join(", ")),
    };
    let rest = match (inside, futures.len()) {
        (0, 0) if undelivered == 0 => return None,
        (0, 0) => format!(
            "{} not been delivered. Nobody gets it, and it is not dropped.",
            count(undelivered, "result of a future has", "results of futures have")
        ),
        // Whoever polled or dropped one would be inside. Nobody does it if no thread runs the runtime.
        (0, number) => format!(
            "{} not been dropped{names}. No thread is in a poll of one. The interpreter is finalized without them.",
            count(number, "future has", "futures have")
        ),
        _ => format!(
            "{} not returned{names}. The interpreter is finalized all the same, which may abort the process.",
            count(
                inside,
                "call or future of Rust that may enter Python has",
                "calls or futures of Rust that may enter Python have"
            )
        ),
    };
    Some(format!("sundown: after {elapsed:.1?}, {rest}\n"))
}

/// Waits without the interpreter's lock until the future is ready or a signal handler raises, as that of Ctrl-C
/// does. The future is polled on this thread, in no runtime's context and past the gate, so it enters Python by
/// [`attach`](crate::attach) only. [`tokio::block_on`](crate::tokio::block_on) polls it in the context of the library's
/// runtime, and inside the gate.
///
/// # Errors
///
/// What the signal handler raised. The future is dropped then. `RuntimeError` in a callback that a task of the library's
/// runtime calls, if that runtime has one thread; and in a child that was forked during the
/// wait, by a signal handler or by the future: the runtime's threads do not exist there. The future is not dropped then.
pub fn wait<F: Future + Send>(py: Python<'_>, future: F) -> PyResult<F::Output>
where
    F::Output: Send,
{
    wait_for(py, |_| future)
}

/// Waits as [`wait`] does, for the future that a function makes: it gets whether a runtime may block on this thread.
pub(crate) fn wait_for<F: Future + Send>(
    py: Python<'_>,
    future: impl FnOnce(bool) -> F,
) -> PyResult<F::Output>
where
    F::Output: Send,
{
    worker::wait_in_place(py, |is_free| wait_here(py, future(is_free)))?
}

fn wait_here<F: Future + Send>(py: Python<'_>, future: F) -> PyResult<F::Output>
where
    F::Output: Send,
{
    // In a box, so that it can be dropped without the lock: its destructor may wait for a thread that needs it.
    let mut future = Box::pin(future);
    let process = Process::this();
    let result = loop {
        match compat::detach(py, || within_blocking(SLICE, future.as_mut())) {
            Some(output) => break Ok(output),
            None => {
                let raised = py.check_signals();
                if Process::this() != process {
                    // What it would wait for may be locked for ever.
                    mem::forget(future);
                    raised?;
                    return Err(delivery::forked());
                }
                if let Err(raised) = raised {
                    break Err(raised);
                }
            }
        }
    };
    compat::detach(py, || drop(future));
    result
}
