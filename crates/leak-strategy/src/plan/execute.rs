//! Executes a plan, once per process.
//!
//! Three kinds of threads take part:
//!
//! - The leaving thread goes through the resources in teardown order. It waits for each no longer than
//!   its limit, and runs none of their code. Only if one is about to take the time of all others, those that
//!   it does not need come first.
//! - Each teardown has a thread of its own, and another one joins it. If the teardown hangs, both are left
//!   behind.
//! - The limit's thread sleeps until the limit has passed and then ends the process, whatever hangs by
//!   then: a log, a file system, an `atexit` handler.

use std::{
    cell::Cell,
    collections::{HashSet, VecDeque},
    io::{self, Write as _},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    process,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread::{self, Builder, JoinHandle},
    time::{Duration, Instant},
};

use sundown_core::panics;
use tracing::Level;

#[cfg(unix)]
use super::exits_by_itself;
use super::{ExitPlan, Options, look, say::say};
use crate::{
    exit_token::ExitToken,
    ledger::{Entry, Exit, Leak, Ledger, LedgerError, LeftBehind, Outcome, Reason},
    resource::{Policy, Resource, TeardownSlot},
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
    let code = process | u64::from(code as u32);
    let is_free = |set: u64| (set >> 32 != process >> 32).then_some(code);
    // Relaxed: it publishes nothing else.
    let set = CODE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_free);
    set.map(drop).map_err(|first| first as u32 as i32)
}

thread_local! {
    /// Whether this is the leaving thread. It is `const` and has no destructor, so it can be read even
    /// while the thread's other locals are being destroyed.
    static LEAVES: Cell<bool> = const { Cell::new(false) };
}

/// The exit code, if a plan is being executed in this process and this thread is not the one that ends it.
#[cfg(unix)]
pub(super) fn code_of_another_exit() -> Option<i32> {
    // Relaxed: see `set_code`.
    let set = CODE.load(Ordering::Relaxed);
    let leaves = set >> 32 == u64::from(process::id()) && !LEAVES.get();
    leaves.then_some(set as u32 as i32)
}

/// A process that is to leave.
#[derive(Clone)]
#[must_use = "the process ends when it leaves"]
pub(crate) struct Leaving {
    plan: ExitPlan,
    code: i32,
    began: Instant,
    /// The code of the first call, if this is another.
    first: Result<(), i32>,
}

/// Decides that the process leaves by this plan. From now on, a return from `main` waits for it.
pub(crate) fn begin(plan: &ExitPlan, code: i32) -> Leaving {
    let began = Instant::now();
    if plan.0.process != process::id() {
        // What it has is the parent's, and so are the threads that would end it. Nothing is flushed: a lock may
        // be held for ever.
        signal_hook::low_level::exit(code);
    }
    let first = set_code(code);
    #[cfg(unix)]
    if first.is_ok() {
        exits_by_itself::register();
    }
    Leaving { plan: plan.clone(), code, began, first }
}

impl Leaving {
    /// Executes the plan and ends the process.
    pub(crate) fn leave(self) -> ! {
        let Self { plan, code, began, first } = self;
        if let Err(first) = first {
            leave_again(code, first);
        }
        LEAVES.set(true);
        let options = &plan.0.options;
        let limit_holds = start_limit(began, options.limit, code);
        // A log subscriber may panic in here. The process leaves all the same.
        let _ = panics::catch(|| {
            let resources = plan.take_in_teardown_order();
            let mut execution = Execution::new(&plan, code, began, &resources);
            execution.handle(resources);
            execution.report(plan.take_late());
        });
        match options.exit {
            Exit::Normal if limit_holds => exit_normally(code),
            // Without a limit's thread, a normal exit could hang for ever.
            Exit::Normal | Exit::Immediate => exit_immediately(code),
        }
    }
}

/// A second call of [`leave`]: it waits until the first one has ended the process.
fn leave_again(code: i32, first: i32) -> ! {
    if LEAVES.get() {
        // The first call led to this one, most likely through a log subscriber.
        exit_immediately(first);
    }
    let _ = panics::catch(|| {
        tracing::warn!(target: "sundown", code, first, "the process is leaving already; the first code stands");
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
    let exit = move || {
        LEAVES.set(true);
        process::exit(code)
    };
    match Builder::new().name("exit".to_owned()).spawn(exit) {
        Ok(_) => {
            // The new thread cannot exit if another one does so already.
            #[cfg(unix)]
            exits_by_itself::executed();
            sleep_forever()
        }
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

/// What a teardown that does not end leaves to those that it does not need: a quarter of the time, at most this.
const MOST_FOR_OTHERS: Duration = Duration::from_millis(250);

/// A resource and the place of its entry in the ledger.
type Numbered = (usize, Resource);

/// A plan that is being executed.
struct Execution<'a> {
    options: &'a Options,
    began: Instant,
    /// At every moment, the ledger that is right if the process ends at that moment.
    ledger: Ledger,
    /// What helps to see what is left behind. That is looked for once.
    known: Option<look::Known>,
    logged: Option<Logged>,
}

/// What the log has got. It gets that once: before what it is written through is torn down, or at the end.
struct Logged {
    /// How many entries.
    entries: usize,
    /// Whether a subscriber has taken them, and what the log is written through has been torn down.
    is_written: bool,
    /// Whether it has what is left behind, too.
    has_looked: bool,
}

impl<'a> Execution<'a> {
    /// The resources, and so the ledger's entries, are in teardown order.
    fn new(plan: &'a ExitPlan, code: i32, began: Instant, resources: &[Resource]) -> Self {
        let options = &plan.0.options;
        let entries = resources.iter().map(|resource| resource.entry(Reason::NotReached));
        let Options { limit, exit, .. } = *options;
        let (elapsed, entries, left_behind) = (Duration::ZERO, entries.collect(), Vec::new());
        let ledger = Ledger { code, exit, limit, elapsed, entries, left_behind };
        let mut execution = Self { options, began, ledger, known: None, logged: None };
        let subjects = |it: &Resource| it.subjects.clone();
        let is_meant = |it: &&Resource| matches!(it.policy, Policy::Leak { .. });
        execution.known = Some(look::Known {
            subjects: resources.iter().flat_map(subjects).collect(),
            meant: resources.iter().filter(is_meant).flat_map(subjects).collect(),
            directory: plan.0.directory.clone(),
            descendants: look::descendants(execution.time_left()),
        });
        execution
    }

    fn handle(&mut self, resources: Vec<Resource>) {
        let others_end = resources.iter().rposition(|it| !it.writes_the_log).map_or(0, |at| at + 1);
        self.handle_in_order(resources.into_iter().enumerate().collect(), others_end);
    }

    fn handle_in_order(&mut self, mut queue: VecDeque<Numbered>, others_end: usize) {
        while let Some((at, resource)) = queue.pop_front() {
            let writes_the_log = resource.writes_the_log;
            if writes_the_log && self.logged.is_none() {
                // What is torn down later may be what kills a child, such as a runtime.
                if at >= others_end {
                    self.look();
                }
                self.log(at);
            }
            match self.limit_of(at, &resource) {
                Err(reason) => {
                    self.put(at, resource.entry(reason));
                    resource.leak();
                }
                Ok(limit) => {
                    self.put(at, resource.entry(Reason::Unfinished));
                    // A teardown can abort the process: a destructor that panics during a panic does.
                    let _ = self.write();
                    queue = self.tear_down(at, resource, limit, queue, others_end);
                }
            }
            let is_torn_down =
                self.ledger.entries.get(at).map(|it| it.outcome) == Some(Outcome::TornDown);
            if let Some(logged) = self.logged.as_mut().filter(|_| writes_the_log) {
                logged.is_written &= is_torn_down;
            }
        }
    }

    /// Tears a resource down. If it is about to take the time of the others in the queue, it goes on while those
    /// are handled that it does not need. Returns the rest of the queue.
    fn tear_down(
        &mut self,
        at: usize,
        resource: Resource,
        limit: Duration,
        queue: VecDeque<Numbered>,
        others_end: usize,
    ) -> VecDeque<Numbered> {
        let needed = needed_by(&resource, &queue);
        let is_other = |(_, other): &Numbered| {
            !other.writes_the_log
                && !needed.contains(&other.name)
                && !matches!(other.policy, Policy::Leak { .. })
        };
        let for_others = match queue.iter().any(is_other) {
            true => (self.time_left() / 4).min(MOST_FOR_OTHERS),
            false => Duration::ZERO,
        };
        let mut teardown = Teardown::start(resource, limit);
        if teardown.wait(limit.min(self.time_left().saturating_sub(for_others))) {
            self.put(at, teardown.entry());
            return queue;
        }
        let (others, mut queue): (VecDeque<_>, VecDeque<_>) = queue.into_iter().partition(is_other);
        if teardown.tried() < limit && !others.is_empty() {
            self.handle_in_order(others, others_end);
            // A little for those that it needs, and for the log.
            let for_rest = if queue.is_empty() { Duration::ZERO } else { self.time_left() / 10 };
            let time_left = self.time_left().saturating_sub(for_rest);
            teardown.wait(limit.saturating_sub(teardown.tried()).min(time_left));
        } else {
            queue.extend(others);
            queue.make_contiguous().sort_by_key(|(at, _)| *at);
        }
        self.put(at, teardown.entry());
        queue
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
        if let Some(known) = self.known.take() {
            self.ledger.left_behind = look::look(known, self.time_left());
        }
    }

    /// Writes to the log how the resources up to this one ended. A subscriber may panic.
    fn log(&mut self, entries: usize) {
        self.ledger.elapsed = self.began.elapsed();
        let is_taken = panics::catch(|| {
            self.ledger.log(entries);
            tracing::event_enabled!(target: "sundown", Level::WARN)
        });
        let is_written = is_taken.unwrap_or(false);
        self.logged = Some(Logged { entries, is_written, has_looked: self.known.is_none() });
    }

    /// Writes the final ledger, its file first. Then come the warnings and errors on standard error, of which no wait
    /// is long. A log may hang, and what it holds may be lost when the process ends.
    fn report(mut self, late: Vec<Entry>) {
        self.look();
        self.ledger.entries.extend(late);
        let written = self.write();
        let (entries, has_looked) = match &self.logged {
            Some(Logged { entries, is_written: true, has_looked }) => (*entries, *has_looked),
            _ => (0, false),
        };
        let mut lines: String =
            self.ledger.entries.iter().skip(entries).map(Entry::lines).collect();
        if !has_looked {
            lines.extend(self.ledger.left_behind.iter().map(LeftBehind::line));
        }
        lines.extend(written.as_ref().err().map(|error| format!("error: {error}\n")));
        say(lines);
        if self.logged.is_none() {
            self.log(self.ledger.entries.len());
            if let Err(error) = written {
                tracing::error!(target: "sundown", "{error}");
            }
        }
    }
}

/// The names of what a resource needs, and of what these need, among those that come later.
fn needed_by(resource: &Resource, later: &VecDeque<Numbered>) -> HashSet<String> {
    let mut needed: HashSet<_> = resource.needs.iter().cloned().collect();
    for (_, other) in later {
        if needed.contains(&other.name) {
            needed.extend(other.needs.iter().cloned());
        }
    }
    needed
}

/// A teardown on a thread of its own.
///
/// The teardown may leave a part of the resource in a thread-local, whose destructor runs after the
/// teardown has returned. What the resource needs must outlive that too. So a second thread, which runs
/// nothing of the program's, joins the first: a join has no limit, and the leaving thread must keep its own.
struct Teardown {
    began: Instant,
    leaks: Arc<Mutex<Vec<Leak>>>,
    answer: Receiver<Result<(), Reason>>,
    /// Its entry so far.
    entry: Entry,
}

impl Teardown {
    fn start(resource: Resource, limit: Duration) -> Self {
        let began = Instant::now();
        let leaks = Arc::default();
        let token = ExitToken::new(limit - reserved(limit), Arc::clone(&leaks));
        let entry = resource.entry(Reason::TimedOut);
        let (sender, answer) = mpsc::channel();
        // `Builder::spawn` panics on a name with a zero byte in it.
        let thread = Builder::new().name(format!("exit {}", resource.name.replace('\0', " ")));
        let started = Builder::new().name("exit join".to_owned()).spawn({
            let (teardown, sender) = (Arc::clone(&resource.teardown), sender.clone());
            move || {
                let tells = sender.clone();
                let run = move || {
                    #[cfg(unix)]
                    exits_by_itself::this_thread_tears_down(tells);
                    #[cfg(not(unix))]
                    drop(tells);
                    run(&teardown, &token)
                };
                let ended = thread.spawn(run).map(JoinHandle::join);
                let _ = sender.send(match ended {
                    Ok(Ok(returned)) => returned,
                    // Nothing that `run` does not catch can panic.
                    Ok(Err(payload)) => Err(Reason::Panicked { message: panics::message(payload) }),
                    Err(error) => Err(Reason::NoThread { message: error.to_string() }),
                });
            }
        });
        if let Err(error) = started {
            let _ = sender.send(Err(Reason::NoThread { message: error.to_string() }));
        }
        // If no thread was started, nobody has taken it, and its destructor must not run here.
        resource.leak();
        Self { began, leaks, answer, entry }
    }

    fn tried(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits for its end, and returns whether it has come.
    fn wait(&mut self, limit: Duration) -> bool {
        self.entry.reason = match self.answer.recv_timeout(limit) {
            Ok(ended) => ended.err(),
            Err(RecvTimeoutError::Timeout) => return false,
            // The joining thread ended without an answer. Nothing in it can cause that.
            Err(RecvTimeoutError::Disconnected) => {
                Some(Reason::Error { message: "its thread did not answer".to_owned() })
            }
        };
        if self.entry.reason.is_none() {
            self.entry.outcome = Outcome::TornDown;
        }
        true
    }

    fn entry(mut self) -> Entry {
        self.entry.tried = self.tried();
        self.entry.leaks =
            mem::take(&mut self.leaks.lock().unwrap_or_else(PoisonError::into_inner));
        self.entry
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
