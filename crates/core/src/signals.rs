//! SIGINT and SIGTERM call a closure; another signal later ends the process at once, or calls another. Public, but undocumented:
//! [`service`](crate::service) is built on this, and so is the kit's exit plan.

use std::{
    fmt, io, process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::{
    SigId,
    consts::{SIGINT, SIGTERM},
    flag,
    iterator::{Handle, Signals},
    low_level,
};
use thiserror::Error;

use crate::{joinable::Joinable, panics, sync::lock};

/// The signals that ask a process to end.
const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// A shell adds this to the number of the signal that ended a process.
pub const BY_SIGNAL: i32 = 128;

/// What this process has installed.
struct Installed {
    /// The process that has a watch. A forked child has none of its parent's threads, and may have a watch
    /// of its own.
    watched_by: Option<u32>,
    /// Whether the handlers for the time without a watch are installed. They end the process as the
    /// signal does by default. signal-hook never removes its own handler from the system, so without
    /// them a signal would do nothing once the watch is dropped.
    default: bool,
}

static INSTALLED: Mutex<Installed> = Mutex::new(Installed { watched_by: None, default: false });

/// Whether the next signal ends the process. `SeqCst` as in signal-hook; the flag publishes no other data.
static SIGNALLED: AtomicBool = AtomicBool::new(false);

/// Whether signals have their default effect, because there is no watch. Orderings as above.
static RELEASED: AtomicBool = AtomicBool::new(true);

/// Why signals are not watched.
#[derive(Error)]
#[non_exhaustive]
pub enum SignalError {
    /// They are watched already. Signals belong to the whole process.
    #[error(
        "signals are watched already, by an exit plan or a service; keep one of them for the whole process"
    )]
    AlreadyWatched,
    /// The system refused a handler, a descriptor or a thread.
    #[error("cannot watch for signals: {0}")]
    Refused(#[from] io::Error),
}

crate::debug_as_text!(SignalError);

/// What a second signal does, instead of ending the process at once: it is called with 128 plus the number of
/// the signal, and need not return.
#[derive(Clone)]
pub struct OnSecond(Arc<dyn Fn(i32) + Send + Sync>);

impl OnSecond {
    /// From a closure.
    pub fn new(call: impl Fn(i32) + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }

    /// Calls it on a thread of its own: the next signal ends the process, so the watch goes on.
    fn call(self, code: i32) {
        let Self(call) = &self;
        let on_a_thread = Arc::clone(call);
        if Joinable::spawn("second signal", move || on_a_thread(code)).is_err() {
            let _ = panics::catch(|| call(code));
        }
    }
}

impl fmt::Debug for OnSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnSecond")
    }
}

/// While this lives, the first SIGINT (Ctrl-C) or SIGTERM calls a closure with its number, on a thread of
/// the watch. A signal that comes later than a tenth of a second after it ends the process at once, in the
/// signal handler, with the exit code that a shell reports: 128 plus its number. One that comes sooner is taken
/// for the same: `timeout`, shells and wrappers signal the program and then its process group. If there is an
/// [`OnSecond`], the second signal calls that, and it is the third that ends the process.
///
/// After the watch is dropped, signals end the process as they do by default, and the watch's thread has
/// ended. So the drop waits until a tenth of a second after the first signal has passed, if there was one, and
/// until the closure has returned, a second at most. A signal that came before the drop calls the closure, even if the
/// watch's thread has not come to it: then the drop calls it. So no signal is lost. As process 1, whose default effect
/// is none, a signal after the drop ends the process with 128 plus its number.
///
/// The handler of the signals stays: signal-hook never removes its own from the system. So a library that a
/// host unloads must not use this. And a child that is forked while there is a watch, and does not call `exec`,
/// has the handler and nobody who listens to it: there, signals do nothing until it installs a watch of its own, or
/// says that it is a child ([`forked_child`](crate::forked_child)), which gives them their default effect.
#[derive(Debug)]
#[must_use = "when the watch is dropped, signals have their default effect again"]
pub struct SignalWatch {
    handle: Option<Handle>,
    actions: Vec<SigId>,
    thread: Option<Joinable>,
    unheard: Arc<Mutex<Option<Unheard>>>,
}

/// What the watch's thread leaves to the drop, if it has heard no signal.
struct Unheard {
    signals: Signals,
    on_first: Box<dyn FnOnce(i32) + Send>,
}

impl fmt::Debug for Unheard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Unheard")
    }
}

/// How soon after the first signal another is taken for the same.
const SAME: Duration = Duration::from_millis(100);

/// How long a watch that is dropped waits for its thread.
const UNTIL_GONE: Duration = Duration::from_secs(1);

impl SignalWatch {
    /// Watches from now on. The closure must return: only then does a second signal count.
    ///
    /// # Errors
    ///
    /// [`SignalError`]. Signals then have the same effect as before.
    pub fn install(
        thread: &str,
        on_first: impl FnOnce(i32) + Send + 'static,
        on_second: Option<OnSecond>,
    ) -> Result<Self, SignalError> {
        prepare()?;
        // If a step below fails, dropping the watch undoes the steps before it.
        let unheard = Arc::default();
        let leaves = Arc::clone(&unheard);
        let mut watch = Self { handle: None, actions: Vec::new(), thread: None, unheard };
        let mut signals = Signals::new(SIGNALS)?;
        watch.handle = Some(signals.handle());
        SIGNALLED.store(false, Ordering::SeqCst);
        for signal in SIGNALS {
            let code = BY_SIGNAL + signal;
            watch.actions.push(flag::register_conditional_shutdown(signal, code, &SIGNALLED)?);
        }
        watch.thread = Some(Joinable::spawn(thread, move || {
            // There is none when the watch is dropped.
            let Some(signal) = signals.forever().next() else {
                let on_first = Box::new(on_first);
                *lock(&leaves) = Some(Unheard { signals, on_first });
                return;
            };
            let mut came = Instant::now();
            on_first(signal);
            if let Some(on_second) = on_second {
                let Some(second) = signals.forever().find(|_| came.elapsed() >= SAME) else {
                    return;
                };
                came = Instant::now();
                on_second.call(BY_SIGNAL + second);
            }
            // There is nothing to wait for but the clock: another signal may not come.
            thread::sleep(SAME.saturating_sub(came.elapsed()));
            SIGNALLED.store(true, Ordering::SeqCst);
        })?);
        RELEASED.store(false, Ordering::SeqCst);
        Ok(watch)
    }
}

/// Makes sure that there is one watch only, and that dropping it restores the signals' default effect.
fn prepare() -> Result<(), SignalError> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if installed.watched_by == Some(process::id()) {
        return Err(SignalError::AlreadyWatched);
    }
    if !installed.default {
        for signal in SIGNALS {
            // The kernel spares process 1 of a container the default effect, and signal-hook then aborts it.
            if process::id() == 1 {
                flag::register_conditional_shutdown(signal, BY_SIGNAL + signal, &RELEASED)?;
            } else {
                flag::register_conditional_default(signal, &RELEASED)?;
            }
        }
        installed.default = true;
    }
    installed.watched_by = Some(process::id());
    Ok(())
}

/// Gives signals their default effect in a forked child. The watch is its parent's.
pub(crate) fn release_in_child() {
    RELEASED.store(true, Ordering::SeqCst);
}

impl SignalWatch {
    /// Ends the watch's thread. From now on, only the drop looks whether a first signal has come.
    fn stop_hearing(&mut self) {
        if let Some(handle) = &self.handle {
            handle.close();
        }
        if let Some(thread) = self.thread.take() {
            if let Err(thread) = thread.join_until(Instant::now() + UNTIL_GONE) {
                thread.give_up();
            }
        }
    }
}

/// Waits until every handler that has begun has ended, on whichever thread. It calls the actions one after the other,
/// so the program's own may have come before those of a watch, and have led to the drop of it.
fn until_handlers_have_ended() {
    // signal-hook waits for them when it changes its list, because the handlers read it. A test fails if it does not.
    if let Ok(action) = flag::register(SIGTERM, Arc::default()) {
        low_level::unregister(action);
    }
}

impl Drop for SignalWatch {
    fn drop(&mut self) {
        self.stop_hearing();
        // A signal that came before the drop has no default effect.
        until_handlers_have_ended();
        // After the join, so that a signal which is the same as the first is taken for it. Before the rest, so
        // that from here on a signal ends the process before any other handler runs.
        RELEASED.store(true, Ordering::SeqCst);
        // This waits for the handlers, too.
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
        // What has come since the thread looked last. Nothing more can come.
        let unheard = lock(&self.unheard).take();
        if let Some(Unheard { mut signals, on_first }) = unheard {
            if let Some(signal) = signals.pending().next() {
                let _ = panics::catch(|| on_first(signal));
            }
        }
        INSTALLED.lock().unwrap_or_else(PoisonError::into_inner).watched_by = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_signal_that_comes_while_a_watch_is_dropped_calls_its_closure() {
        let (heard, hears) = mpsc::channel();
        let on_first = move |signal| heard.send(signal).unwrap();
        let mut watch = SignalWatch::install("watch", on_first, None).unwrap();
        watch.stop_hearing();
        low_level::raise(SIGTERM).unwrap();
        drop(watch);
        assert_eq!(hears.try_recv(), Ok(SIGTERM));
    }
}
