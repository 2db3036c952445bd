//! An exit of the process that is not the plan's own: a return from `main`, or a call of `exit`.
//!
//! `exit` runs the handlers that were registered by `atexit`, whichever thread calls it. `_exit`, which a plan
//! leaves by, and a signal do not. While a plan is executed, the handler keeps such an exit until the plan has
//! ended the process. Inside [`ExitPlan::run`], before the plan, it says what is not torn down.

use std::{
    cell::Cell,
    process,
    sync::{Condvar, Mutex, OnceLock, PoisonError, mpsc::Sender},
};

use sundown_core::panics;

use super::{ExitPlan, execute, say::say};
use crate::ledger::Reason;

/// The plan whose program runs, in this process.
static RUNS: OnceLock<(u32, ExitPlan)> = OnceLock::new();

/// The process whose plan has been executed, if that ends by a normal exit.
static EXECUTED: (Mutex<Option<u32>>, Condvar) = (Mutex::new(None), Condvar::new());

/// How a teardown has ended.
pub(super) type Ended = Result<(), Reason>;

thread_local! {
    /// On the thread of a teardown: who waits for it. It has no destructor, so it is there in an `atexit` handler.
    static TEARS_DOWN: Cell<Option<&'static Sender<Ended>>> = const { Cell::new(None) };
}

/// From now on an exit of the process that is not the plan's own is reported. A second plan is not watched.
pub(super) fn watch(plan: &ExitPlan) {
    if RUNS.set((process::id(), plan.clone())).is_ok() {
        register();
    }
}

/// From now on such an exit waits for a plan that is being executed. The handler that was registered last runs
/// first: the teardowns may still need what the program's other handlers end.
pub(super) fn register() {
    // If the system refuses it, such an exit goes unnoticed.
    let _ = shutdown_hooks::add_shutdown_hook(at_exit);
}

/// From now on an exit that a teardown makes on this thread is what it answers. Leaks a few bytes.
pub(super) fn this_thread_tears_down(answer: Sender<Ended>) {
    TEARS_DOWN.set(Some(Box::leak(Box::new(answer))));
}

/// The plan has been executed, and the process ends by a normal exit, unless that waits for one that is kept here.
pub(super) fn executed() {
    let (executed, changed) = &EXECUTED;
    *executed.lock().unwrap_or_else(PoisonError::into_inner) = Some(process::id());
    changed.notify_all();
}

extern "C" fn at_exit() {
    // A panic may not leave a function that C calls.
    let _ = panics::catch(|| match execute::code_of_another_exit() {
        Some(code) => keep(code),
        None => say_what_is_not_torn_down(),
    });
}

/// Waits for the end of the process. The plan ends it with this code, and at its limit at the latest.
fn keep(code: i32) {
    if let Some(waits) = TEARS_DOWN.take() {
        let _ = waits.send(Err(Reason::Exited));
    }
    let (executed, changed) = &EXECUTED;
    let mut by = executed.lock().unwrap_or_else(PoisonError::into_inner);
    while *by != Some(process::id()) {
        by = changed.wait(by).unwrap_or_else(PoisonError::into_inner);
    }
    // The standard library and C let no second thread exit. So the plan's own exit may wait for this one.
    signal_hook::low_level::exit(code)
}

fn say_what_is_not_torn_down() {
    let Some((process, plan)) = RUNS.get() else { return };
    // A forked child inherits the handler, and not the plan.
    if *process != process::id() {
        return;
    }
    // Another thread may hold the lock: it is for a moment, and not worth a wait in an exit.
    let Ok(registered) = plan.0.registered.try_lock() else { return };
    let names: Vec<_> = registered.resources.iter().map(|it| format!("`{}`", it.name)).collect();
    drop(registered);
    // A plan that is being executed has none any more.
    if !names.is_empty() {
        say(format!(
            "error: the program exits the process inside `ExitPlan::run`, so its exit plan is not executed. \
             Not torn down: {}. Call `leave` before, in the last event of an event loop that exits by itself.\n",
            names.join(", ")
        ));
    }
}
