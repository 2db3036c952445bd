//! The departure: what happens once, when a plan is carried out.
//!
//! Three kinds of threads take part. The one that leaves goes through the resources and waits, never
//! longer than a limit allows, and runs none of their code. Each teardown has a thread of its own,
//! which is left behind where it does not end. And one thread, the watch, sleeps until the limit has
//! passed and ends the process, whatever hangs by then: a log, a file system, a handler of `atexit`.

use std::{
    any::Any,
    cell::Cell,
    io::{self, Write as _},
    mem,
    panic::{self, AssertUnwindSafe},
    process,
    sync::{Arc, OnceLock, PoisonError},
    thread::{self, Builder},
    time::{Duration, Instant},
};

use sundown::oneshot::{self, WaitError};

use crate::{
    ledger::{Entry, Ledger, Outcome, Reason},
    plan::{Exit, ExitPlan, Options},
    resource::{Place, Policy, Resource},
    token::ExitToken,
};

/// How much later than its limit a plan is cut off: a limit of zero leaves a ledger, too.
const GRACE: Duration = Duration::from_millis(50);

/// The most of a limit that is kept for what comes after it.
const MOST_KEPT: Duration = Duration::from_millis(100);

/// The code that the process is being left with. Set once, by the call that decides.
static CODE: OnceLock<i32> = OnceLock::new();

thread_local! {
    /// Whether this thread carries the plan out. Constant and without a destructor: it is there even
    /// while the thread's other locals are being destroyed.
    static LEAVES: Cell<bool> = const { Cell::new(false) };
}

/// Carries a plan out.
pub(crate) fn leave(plan: &ExitPlan, options: &Options, code: i32) -> ! {
    let began = Instant::now();
    if CODE.set(code).is_err() {
        wait_for_the_end(code);
    }
    LEAVES.set(true);
    let is_watched = watch(began, options.limit, code);
    // What panics in here is a subscriber of the log. The exit comes all the same.
    let _ = panic::catch_unwind(AssertUnwindSafe(|| {
        let deadline = began.checked_add(options.limit.saturating_sub(kept(options.limit)));
        let mut entries = deal_with(plan.take(), deadline);
        entries.extend(plan.take_late());
        let ledger = Ledger {
            code,
            exit: options.exit,
            limit: (options.limit != Duration::MAX).then_some(options.limit),
            elapsed: began.elapsed(),
            entries,
        };
        write_down(&ledger, options);
    }));
    match options.exit {
        // What nobody watches could not be kept from hanging.
        Exit::Normal if is_watched => normally(code),
        Exit::Normal | Exit::Immediate => immediately(code),
    }
}

/// What a second call does.
fn wait_for_the_end(code: i32) -> ! {
    if LEAVES.get() {
        // From inside the first call: a subscriber of the log, as a rule.
        immediately(CODE.get().copied().unwrap_or(code));
    }
    let _ = panic::catch_unwind(|| {
        let first = CODE.get();
        tracing::warn!(code, ?first, "the process is being left already; the first code stands");
    });
    forever()
}

fn forever() -> ! {
    loop {
        thread::sleep(Duration::MAX);
    }
}

/// Starts the thread that ends the process when the limit has passed. Returns whether there is one;
/// an endless limit needs none.
fn watch(began: Instant, limit: Duration, code: i32) -> bool {
    let Some(end) = limit.checked_add(GRACE).and_then(|limit| began.checked_add(limit)) else {
        return true;
    };
    let watch = Builder::new().name("exit limit".to_owned()).spawn(move || {
        thread::sleep(end.saturating_duration_since(Instant::now()));
        // Nothing that could wait for somebody: no log, no flush.
        signal_hook::low_level::exit(code)
    });
    watch.is_ok()
}

/// By `exit`, on a thread that has no locals which could panic. If the system gives none, at once.
fn normally(code: i32) -> ! {
    match Builder::new().name("exit".to_owned()).spawn(move || process::exit(code)) {
        Ok(_) => forever(),
        Err(_) => immediately(code),
    }
}

/// By `_exit`, after standard output has been flushed.
fn immediately(code: i32) -> ! {
    let _ = io::stdout().flush();
    signal_hook::low_level::exit(code)
}

/// How much of a limit is kept for what comes after it: the answer of a teardown that noticed its
/// own limit, and of the plan's limit, the ledger.
fn kept(limit: Duration) -> Duration {
    if limit == Duration::MAX { Duration::ZERO } else { (limit / 10).min(MOST_KEPT) }
}

/// Deals with the resources, the last that was registered first: who needs another comes before it.
fn deal_with(resources: Vec<Resource>, deadline: Option<Instant>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::with_capacity(resources.len());
    for resource in resources.into_iter().rev() {
        let still_there = |entry: &&Entry| {
            entry.outcome != Outcome::TornDown && entry.needs.contains(&resource.name)
        };
        let needed_by = entries.iter().find(still_there).map(|entry| entry.name.clone());
        let left =
            deadline.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        entries.push(deal_with_one(resource, needed_by, left));
    }
    entries
}

fn deal_with_one(resource: Resource, needed_by: Option<String>, left: Duration) -> Entry {
    let leak = |resource: Resource, outcome, reason| {
        let entry = Entry::of(&resource, outcome, Some(reason), Duration::ZERO);
        resource.forget();
        entry
    };
    let (within, otherwise) = match (&resource.policy, needed_by) {
        (Policy::Leak { why }, _) => {
            let reason = Reason::Policy { why: (*why).to_owned() };
            return leak(resource, Outcome::Leaked, reason);
        }
        (Policy::TearDownOrLeak { .. }, Some(by)) => {
            return leak(resource, Outcome::Leaked, Reason::StillNeeded { by });
        }
        (Policy::TearDownOrLeak { within }, None) => (*within, Outcome::Leaked),
        (Policy::TearDown { within }, _) => (*within, Outcome::Failed),
    };
    let limit = within.min(left);
    if limit.is_zero() {
        return leak(resource, otherwise, Reason::NoTimeLeft);
    }

    let mut entry = Entry::of(&resource, Outcome::TornDown, None, Duration::ZERO);
    let leaks = Arc::default();
    let token = ExitToken::new(limit - kept(limit), Arc::clone(&leaks));
    let began = Instant::now();
    if let Err(reason) = tear_down(&resource.name, resource.teardown, token, limit) {
        entry.outcome = otherwise;
        entry.reason = Some(reason);
    }
    entry.tried = began.elapsed();
    entry.leaks = mem::take(&mut leaks.lock().unwrap_or_else(PoisonError::into_inner));
    entry
}

/// Runs a teardown on a thread of its own, and waits for it no longer than this.
fn tear_down(name: &str, teardown: Place, token: ExitToken, limit: Duration) -> Result<(), Reason> {
    let (sender, mut answer) = oneshot::channel();
    // A name with a zero in it would be refused by a panic.
    let thread = format!("exit {}", name.replace('\0', " "));
    let started = Builder::new().name(thread).spawn({
        let teardown = Arc::clone(&teardown);
        move || {
            let teardown = teardown.lock().unwrap_or_else(PoisonError::into_inner).take();
            let ended = panic::catch_unwind(AssertUnwindSafe(|| match teardown {
                // The error is dropped in here: its destructor is somebody else's code as well.
                Some(teardown) => teardown(&token).map_err(|error| error.to_string()),
                None => Ok(()),
            }));
            let _ = sender.send(match ended {
                Ok(Ok(())) => Ok(()),
                Ok(Err(message)) => Err(Reason::Error { message }),
                Err(payload) => Err(Reason::Panicked { message: said(payload) }),
            });
        }
    });
    if let Err(error) = started {
        mem::forget(teardown);
        return Err(Reason::NoThread { message: error.to_string() });
    }
    match answer.wait_timeout(limit) {
        Ok(answer) => answer,
        Err(WaitError::TimedOut { .. }) => Err(Reason::TimedOut),
        // Only by a thread that ended without an answer, which nothing in it can cause.
        Err(WaitError::Abandoned(abandoned)) => {
            Err(Reason::Error { message: abandoned.to_string() })
        }
    }
}

/// What a panic said. Its payload is forgotten: the destructor could panic in its turn.
fn said(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    mem::forget(payload);
    text.unwrap_or_else(|| "(not a text)".to_owned())
}

/// Writes the ledger, first to its file: the log is the more likely to hang.
fn write_down(ledger: &Ledger, options: &Options) {
    let written = options.ledger.as_ref().map_or(Ok(()), |path| ledger.write(path));
    if let Err(error) = &written {
        let _ = writeln!(io::stderr(), "error: {error}");
    }
    ledger.log();
    if let Err(error) = written {
        tracing::error!("{error}");
    }
}

impl Entry {
    pub(crate) fn of(
        resource: &Resource,
        outcome: Outcome,
        reason: Option<Reason>,
        tried: Duration,
    ) -> Self {
        Self {
            name: resource.name.clone(),
            needs: resource.needs.clone(),
            created_at: resource.created_at.to_string(),
            policy: resource.policy.kind(),
            outcome,
            reason,
            tried,
            leaks: Vec::new(),
        }
    }
}
