//! Executes a plan, once per process.
//!
//! Three kinds of threads take part:
//!
//! - The leaving thread goes through the resources in teardown order. It waits for each no longer than
//!   its limit, and runs none of their code.
//! - Each teardown has a thread of its own, and another one joins it. If the teardown hangs, both are left
//!   behind.
//! - The limit's thread sleeps until the limit has passed and then ends the process, whatever hangs by
//!   then: a log, a file system, an `atexit` handler.

use std::{
    cell::Cell,
    io::{self, Write as _},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, Builder, JoinHandle},
    time::{Duration, Instant},
};

use sundown::{
    oneshot::{self, WaitError},
    panics,
};

use super::{ExitPlan, Options, look};
use crate::{
    exit_token::ExitToken,
    ledger::{Entry, Exit, Ledger, LedgerError, LeftBehind, Outcome, Reason},
    resource::{Policy, Resource, Subject, TeardownSlot},
};

/// How long after its limit a plan is cut off, so that a plan with a limit of zero leaves a ledger.
const GRACE: Duration = Duration::from_millis(50);

/// The most that is reserved of a limit; see [`reserved`].
const MOST_RESERVED: Duration = Duration::from_millis(100);

/// The exit code. The first call of [`leave`] sets it.
/// Beside it is the process that it is for, because a forked child has a copy. Zero: nobody leaves.
static CODE: AtomicU64 = AtomicU64::new(0);

/// Sets the code.
///
/// # Errors
///
/// The code that another call of this process has set.
fn set_code(code: i32) -> Result<(), i32> {
    let process = u64::from(process::id()) << 32;
    let code = process | u64::from(code.cast_unsigned());
    let is_free = |set: u64| (set >> 32 != process >> 32).then_some(code);
    // Relaxed: it publishes nothing else.
    let set = CODE.try_update(Ordering::Relaxed, Ordering::Relaxed, is_free);
    set.map(drop).map_err(|first| first as u32 as i32)
}

thread_local! {
    /// Whether this is the leaving thread. It is `const` and has no destructor, so it can be read even
    /// while the thread's other locals are being destroyed.
    static LEAVES: Cell<bool> = const { Cell::new(false) };
}

/// Executes a plan and ends the process.
pub(super) fn leave(plan: &ExitPlan, code: i32) -> ! {
    let began = Instant::now();
    if plan.0.process != process::id() {
        // What it has is the parent's, and so are the threads that would end it. Nothing is flushed: a lock may
        // be held for ever.
        signal_hook::low_level::exit(code);
    }
    if let Err(first) = set_code(code) {
        leave_again(code, first);
    }
    LEAVES.set(true);
    let options = &plan.0.options;
    let limit_holds = start_limit(began, options.limit, code);
    // A log subscriber may panic in here. The process leaves all the same.
    let _ = panics::catch(|| {
        let resources = plan.take_in_teardown_order();
        let mut execution = Execution::new(options, code, began, &resources);
        execution.handle(resources);
        execution.report(plan.take_late());
    });
    match options.exit {
        Exit::Normal if limit_holds => exit_normally(code),
        // Without a limit's thread, a normal exit could hang for ever.
        Exit::Normal | Exit::Immediate => exit_immediately(code),
    }
}

/// A second call of [`leave`]: it waits until the first one has ended the process.
fn leave_again(code: i32, first: i32) -> ! {
    if LEAVES.get() {
        // The first call led to this one, most likely through a log subscriber.
        exit_immediately(first);
    }
    let _ = panics::catch(|| {
        tracing::warn!(code, first, "the process is leaving already; the first code stands");
    });
    sleep_forever()
}

fn sleep_forever() -> ! {
    loop {
        thread::sleep(Duration::MAX);
    }
}

/// Starts the thread that ends the process when the limit has passed. Returns whether the limit will
/// be kept; a plan without a limit needs no thread.
fn start_limit(began: Instant, limit: Duration, code: i32) -> bool {
    let Some(end) = limit.checked_add(GRACE).and_then(|limit| began.checked_add(limit)) else {
        return true;
    };
    let started = Builder::new().name("exit limit".to_owned()).spawn(move || {
        thread::sleep(end.saturating_duration_since(Instant::now()));
        // No log and no flush: both could block.
        signal_hook::low_level::exit(code)
    });
    started.is_ok()
}

/// Calls `exit` on a new thread, which has no thread-locals whose destructors could panic. If the
/// thread cannot be started, exits immediately.
fn exit_normally(code: i32) -> ! {
    match Builder::new().name("exit".to_owned()).spawn(move || process::exit(code)) {
        Ok(_) => sleep_forever(),
        Err(_) => exit_immediately(code),
    }
}

/// Flushes standard output and calls `_exit`.
fn exit_immediately(code: i32) -> ! {
    let _ = io::stdout().flush();
    signal_hook::low_level::exit(code)
}

/// The part of a limit that is kept back: a teardown that keeps its own limit needs it to report, and
/// a plan to write its ledger.
fn reserved(limit: Duration) -> Duration {
    if limit == Duration::MAX { Duration::ZERO } else { (limit / 10).min(MOST_RESERVED) }
}

/// A plan that is being executed.
struct Execution<'a> {
    options: &'a Options,
    began: Instant,
    /// At every moment, the ledger that is right if the process ends at that moment.
    ledger: Ledger,
    /// What the resources are about.
    subjects: Vec<Subject>,
    /// How many entries the log has got. It gets them once: before what it is written through is torn down,
    /// or at the end.
    logged: Option<usize>,
    has_looked: bool,
}

impl<'a> Execution<'a> {
    /// The resources, and so the ledger's entries, are in teardown order.
    fn new(options: &'a Options, code: i32, began: Instant, resources: &[Resource]) -> Self {
        let entries = resources.iter().map(|resource| resource.entry(Reason::NotReached));
        let Options { limit, exit, .. } = *options;
        let (elapsed, entries, left_behind) = (Duration::ZERO, entries.collect(), Vec::new());
        let ledger = Ledger { code, exit, limit, elapsed, entries, left_behind };
        let subjects = resources.iter().flat_map(|it| it.subjects.iter().cloned()).collect();
        Self { options, began, ledger, subjects, logged: None, has_looked: false }
    }

    fn handle(&mut self, resources: Vec<Resource>) {
        let others_end = resources.iter().rposition(|it| !it.writes_the_log).map_or(0, |at| at + 1);
        for (at, resource) in resources.into_iter().enumerate() {
            if resource.writes_the_log && self.logged.is_none() {
                // What is torn down later may be what kills a child, such as a runtime.
                if at >= others_end {
                    self.look();
                }
                self.log(at);
            }
            let entry = match self.limit_of(at, &resource) {
                Err(reason) => {
                    let entry = resource.entry(reason);
                    resource.leak();
                    entry
                }
                Ok(limit) => {
                    self.put(at, resource.entry(Reason::Unfinished));
                    // A teardown can abort the process: a destructor that panics during a panic does.
                    let _ = self.write();
                    try_to_tear_down(resource, limit)
                }
            };
            self.put(at, entry);
        }
    }

    /// How long to try a resource, or why not to try it.
    fn limit_of(&self, at: usize, resource: &Resource) -> Result<Duration, Reason> {
        let within = match &resource.policy {
            Policy::Leak { why } => return Err(Reason::Policy { why: (*why).to_owned() }),
            Policy::TearDown { within } => *within,
            Policy::TearDownOrLeak { within } => {
                let needs_it = |entry: &&Entry| {
                    entry.outcome != Outcome::TornDown && entry.needs.contains(&resource.name)
                };
                if let Some(entry) = self.ledger.entries.iter().take(at).find(needs_it) {
                    return Err(Reason::StillNeeded { by: entry.name.clone() });
                }
                *within
            }
        };
        let limit = within.min(self.time_left());
        if limit.is_zero() { Err(Reason::NoTimeLeft) } else { Ok(limit) }
    }

    /// How much of the plan's limit is left for resources.
    fn time_left(&self) -> Duration {
        let limit = self.options.limit;
        let end = self.began.checked_add(limit.saturating_sub(reserved(limit)));
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

    /// Looks once for what is left behind.
    fn look(&mut self) {
        if !mem::replace(&mut self.has_looked, true) {
            let subjects = mem::take(&mut self.subjects);
            self.ledger.left_behind = look::look(subjects, self.time_left());
        }
    }

    /// Writes to the log how the resources up to this one ended. A subscriber may panic.
    fn log(&mut self, handled: usize) {
        self.logged = Some(handled);
        self.ledger.elapsed = self.began.elapsed();
        let _ = panics::catch(|| {
            self.ledger.log(handled);
            self.ledger.left_behind.iter().for_each(LeftBehind::warn);
        });
    }

    /// Writes the final ledger. The file comes first, because the log is more likely to hang.
    fn report(mut self, late: Vec<Entry>) {
        let had_looked = self.has_looked;
        self.look();
        self.ledger.entries.extend(late);
        let written = self.write();
        if let Err(error) = &written {
            let _ = writeln!(io::stderr(), "error: {error}");
        }
        let Some(logged) = self.logged else {
            self.log(self.ledger.entries.len());
            if let Err(error) = written {
                tracing::error!("{error}");
            }
            return;
        };
        // The log has been torn down.
        self.ledger.entries.iter().skip(logged).for_each(Entry::say);
        if !had_looked {
            self.ledger.left_behind.iter().for_each(LeftBehind::say);
        }
    }
}

/// Runs a resource's teardown and waits for it up to the limit.
fn try_to_tear_down(resource: Resource, limit: Duration) -> Entry {
    let mut entry = resource.entry(Reason::TimedOut);
    let leaks = Arc::default();
    let token = ExitToken::new(limit - reserved(limit), Arc::clone(&leaks));
    let began = Instant::now();
    entry.reason = tear_down(&resource.name, resource.teardown, token, limit).err();
    if entry.reason.is_none() {
        entry.outcome = Outcome::TornDown;
    }
    entry.tried = began.elapsed();
    entry.leaks = mem::take(&mut leaks.lock().unwrap_or_else(PoisonError::into_inner));
    entry
}

/// Runs a teardown on a thread of its own. Returns when that thread has ended, or at the limit.
///
/// The teardown may leave a part of the resource in a thread-local, whose destructor runs after the
/// teardown has returned. What the resource needs must outlive that too. So a second thread, which runs
/// nothing of the program's, joins the first: a join has no limit, and the leaving thread must keep its own.
fn tear_down(
    name: &str,
    teardown: TeardownSlot,
    token: ExitToken,
    limit: Duration,
) -> Result<(), Reason> {
    let (sender, mut answer) = oneshot::channel();
    // `Builder::spawn` panics on a name with a zero byte in it.
    let thread = Builder::new().name(format!("exit {}", name.replace('\0', " ")));
    let started = Builder::new().name("exit join".to_owned()).spawn({
        let teardown = Arc::clone(&teardown);
        move || {
            let ended = thread.spawn(move || run(&teardown, &token)).map(JoinHandle::join);
            let _ = sender.send(match ended {
                Ok(Ok(returned)) => returned,
                // Nothing that `run` does not catch can panic.
                Ok(Err(payload)) => Err(Reason::Panicked { message: panics::message(payload) }),
                Err(error) => Err(Reason::NoThread { message: error.to_string() }),
            });
        }
    });
    let answer = match started {
        Ok(_) => answer.wait_blocking(limit),
        Err(error) => Ok(Err(Reason::NoThread { message: error.to_string() })),
    };
    match answer {
        Ok(ended) => {
            if let Err(Reason::NoThread { .. }) = ended {
                // Nobody has taken it, and its destructor must not run here.
                mem::forget(teardown);
            }
            ended
        }
        Err(WaitError::TimedOut { .. }) => Err(Reason::TimedOut),
        // The joining thread ended without an answer. Nothing in it can cause that.
        Err(WaitError::Abandoned(abandoned)) => {
            Err(Reason::Error { message: abandoned.to_string() })
        }
    }
}

/// Runs a teardown on this thread.
fn run(teardown: &TeardownSlot, token: &ExitToken) -> Result<(), Reason> {
    let teardown = teardown.lock().unwrap_or_else(PoisonError::into_inner).take();
    let ended = catch_unwind(AssertUnwindSafe(|| match teardown {
        // The error's destructor is foreign code too, so it runs in here.
        Some(teardown) => teardown(token).map_err(|error| error.to_string()),
        None => Ok(()),
    }));
    ended.map_or_else(
        |payload| {
            let message = panics::text(&*payload);
            // Its destructor could hang, and the process is about to end anyway.
            mem::forget(payload);
            Err(Reason::Panicked { message })
        },
        |returned| returned.map_err(|message| Reason::Error { message }),
    )
}
