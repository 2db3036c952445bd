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
    ledger::{Entry, Ledger, LedgerError, Outcome, Reason},
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
        let resources = plan.take();
        let mut departure = Departure::new(options, code, began, &resources);
        departure.deal_with(resources);
        departure.account(plan.take_late());
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

/// A plan that is carried out.
struct Departure<'a> {
    options: &'a Options,
    began: Instant,
    /// At every moment what the ledger is if the process ends at this moment.
    ledger: Ledger,
}

impl<'a> Departure<'a> {
    fn new(options: &'a Options, code: i32, began: Instant, resources: &[Resource]) -> Self {
        let limit = (options.limit != Duration::MAX).then_some(options.limit);
        // Who needs another was registered after it, and is dealt with before it.
        let entries =
            resources.iter().rev().map(|resource| Entry::of(resource, Reason::NotReached));
        let (exit, elapsed, entries) = (options.exit, Duration::ZERO, entries.collect());
        Self { options, began, ledger: Ledger { code, exit, limit, elapsed, entries } }
    }

    fn deal_with(&mut self, resources: Vec<Resource>) {
        for (at, resource) in resources.into_iter().rev().enumerate() {
            let entry = match self.limit_of(at, &resource) {
                Err(reason) => {
                    let entry = Entry::of(&resource, reason);
                    resource.forget();
                    entry
                }
                Ok(limit) => {
                    self.put(at, Entry::of(&resource, Reason::Unfinished));
                    // A teardown may be the end: two panics in one drop are.
                    let _ = self.write();
                    try_out(resource, limit)
                }
            };
            self.put(at, entry);
        }
    }

    /// How long a resource may be tried, or why it is not.
    fn limit_of(&self, at: usize, resource: &Resource) -> Result<Duration, Reason> {
        let still_there = |entry: &&Entry| {
            entry.outcome != Outcome::TornDown && entry.needs.contains(&resource.name)
        };
        let within = match &resource.policy {
            Policy::Leak { why } => return Err(Reason::Policy { why: (*why).to_owned() }),
            Policy::TearDown { within } => *within,
            Policy::TearDownOrLeak { within } => {
                if let Some(entry) = self.ledger.entries.iter().take(at).find(still_there) {
                    return Err(Reason::StillNeeded { by: entry.name.clone() });
                }
                *within
            }
        };
        let limit = within.min(self.left());
        if limit.is_zero() { Err(Reason::NoTimeLeft) } else { Ok(limit) }
    }

    /// How much of the plan's limit is left for resources.
    fn left(&self) -> Duration {
        let limit = self.options.limit;
        let end = self.began.checked_add(limit.saturating_sub(kept(limit)));
        end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()))
    }

    fn put(&mut self, at: usize, entry: Entry) {
        if let Some(place) = self.ledger.entries.get_mut(at) {
            *place = entry;
        }
    }

    fn write(&mut self) -> Result<(), LedgerError> {
        self.ledger.elapsed = self.began.elapsed();
        self.options.ledger.as_ref().map_or(Ok(()), |path| self.ledger.write(path))
    }

    /// Writes the ledger as it is in the end; first to its file, because the log is the more likely
    /// to hang.
    fn account(mut self, late: Vec<Entry>) {
        self.ledger.entries.extend(late);
        let written = self.write();
        if let Err(error) = &written {
            let _ = writeln!(io::stderr(), "error: {error}");
        }
        self.ledger.log();
        if let Err(error) = written {
            tracing::error!("{error}");
        }
    }
}

/// Tries a resource for so long.
fn try_out(resource: Resource, limit: Duration) -> Entry {
    let mut entry = Entry::of(&resource, Reason::TimedOut);
    let leaks = Arc::default();
    let token = ExitToken::new(limit - kept(limit), Arc::clone(&leaks));
    let began = Instant::now();
    match tear_down(&resource.name, resource.teardown, token, limit) {
        Ok(()) => {
            entry.outcome = Outcome::TornDown;
            entry.reason = None;
        }
        Err(reason) => entry.reason = Some(reason),
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
    match answer.wait_blocking(limit) {
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

impl Entry {
    /// A resource that has not been torn down, for this reason.
    pub(crate) fn of(resource: &Resource, reason: Reason) -> Self {
        let must = matches!(resource.policy, Policy::TearDown { .. });
        // Nobody was to tear down what came too late.
        let failed = must && reason != Reason::TooLate;
        Self {
            name: resource.name.clone(),
            needs: resource.needs.clone(),
            created_at: resource.created_at.to_string(),
            policy: resource.policy.kind(),
            outcome: if failed { Outcome::Failed } else { Outcome::Leaked },
            reason: Some(reason),
            tried: Duration::ZERO,
            leaks: Vec::new(),
        }
    }
}
