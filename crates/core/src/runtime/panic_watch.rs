//! Panics on the threads of a runtime, other than those of the kit's own tasks.
//!
//! Tokio catches the panic of a task and gives it to whoever awaits the task. Of a foreign task that is
//! mostly nobody. So the only way to see it is the panic hook, of which a process has one. A runtime gets
//! it only if its builder asks for that.

use std::{
    cell::RefCell,
    panic::{self, PanicHookInfo},
    sync::{
        Arc, Mutex, TryLockError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use crate::{newer_std::payload_as_str, shutdown::ForeignPanic, sync::lock, task_set};

/// The most panics that are kept of one generation.
const MOST: usize = 100;

/// The number of the hook that is installed; 0 if there is none, or it has been replaced since.
static INSTALLED: AtomicUsize = AtomicUsize::new(0);

/// The panics of one generation.
pub(super) struct PanicLog {
    /// The number of the hook when the generation started.
    hook: usize,
    seen: Mutex<Vec<ForeignPanic>>,
    /// There was a panic that could not be kept.
    has_missed: AtomicBool,
}

thread_local! {
    /// Where panics of this thread are logged, and the name of the thread. A panic hook must not ask for the
    /// name: a panic in there would abort the process.
    static LOG: RefCell<Option<(Arc<PanicLog>, String)>> = const { RefCell::new(None) };
}

impl PanicLog {
    /// Installs the hook, unless it is installed, and begins a log.
    pub(super) fn begin() -> Self {
        Self { hook: install(), seen: Mutex::default(), has_missed: AtomicBool::new(false) }
    }

    /// Logs the panics of this thread from here on.
    pub(super) fn watch_this_thread(self: &Arc<Self>) {
        let name = thread::current().name().unwrap_or("unnamed").to_owned();
        LOG.set(Some((Arc::clone(self), name)));
    }

    /// The panics that were seen.
    pub(super) fn seen(&self) -> Vec<ForeignPanic> {
        lock(&self.seen).clone()
    }

    /// Whether these are all. They are not, as far as that can be known, if the application has replaced the
    /// hook.
    pub(super) fn is_complete(&self) -> bool {
        // Relaxed: whoever asks has seen the threads end that wrote it, and the hook is not replaced by any
        // of them.
        let is_same_hook = self.hook != 0 && self.hook == INSTALLED.load(Ordering::Relaxed);
        is_same_hook && !self.has_missed.load(Ordering::Relaxed)
    }

    /// Called by the panic hook: blocks nowhere.
    fn log(&self, thread: &str, panic: &PanicHookInfo<'_>) {
        let mut seen = match self.seen.try_lock() {
            Ok(seen) => seen,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return self.miss(),
        };
        if seen.len() == MOST {
            return self.miss();
        }
        seen.push(ForeignPanic {
            message: payload_as_str(panic).unwrap_or("(the panic carried no text)").to_owned(),
            site: panic
                .location()
                .map_or_else(|| "an unknown place".to_owned(), ToString::to_string),
            thread: thread.to_owned(),
        });
    }

    fn miss(&self) {
        // Relaxed: see `is_complete`.
        self.has_missed.store(true, Ordering::Relaxed);
    }
}

/// Part of the installed hook. It is dropped with the hook when another replaces it.
struct Hook(usize);

impl Drop for Hook {
    fn drop(&mut self) {
        // Relaxed: a number, and nothing else. A hook that was installed later stays.
        let _ = INSTALLED.compare_exchange(self.0, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Installs the hook, unless it is installed. Returns its number; 0 if another thread is just installing it,
/// or this thread is panicking, when the standard library refuses a hook.
fn install() -> usize {
    static LAST: Mutex<usize> = Mutex::new(0);
    // Relaxed: a number, and nothing else.
    let installed = || INSTALLED.load(Ordering::Relaxed);
    if installed() != 0 {
        return installed();
    }
    // Another thread may be installing it. In a forked child that thread may not exist.
    let Ok(mut last) = LAST.try_lock() else { return 0 };
    if installed() != 0 || thread::panicking() {
        return installed();
    }
    *last += 1;
    let (number, before) = (*last, panic::take_hook());
    INSTALLED.store(number, Ordering::Relaxed);
    let hook = Hook(number);
    panic::set_hook(Box::new(move |panic| {
        let _part_of_this = &hook;
        record(panic);
        before(panic);
    }));
    number
}

/// Logs a panic, if this thread is watched, and the panic is not that of a task of the kit, which has its
/// own report.
fn record(panic: &PanicHookInfo<'_>) {
    if task_set::is_polling_here() {
        return;
    }
    // A thread whose thread-locals have been destroyed is watched no more.
    let _ = LOG.try_with(|log| {
        if let Ok(log) = log.try_borrow() {
            if let Some((log, thread)) = &*log {
                log.log(thread, panic);
            }
        }
    });
}
