//! Programs that leave in every way a plan must survive: `departures SCENARIO DIRECTORY`.
//!
//! The tests in `tests/departures.rs` run them, and look at the exit code, at what was printed, and
//! at the ledger, which each writes to `exit.json` in the directory.

#![allow(clippy::panic, clippy::unwrap_used, reason = "an example of programs that go wrong")]

use std::{
    cell::RefCell,
    env,
    future::pending,
    io::{self, Write as _},
    path::PathBuf,
    process,
    sync::mpsc,
    thread,
    time::Duration,
};

use leak_strategy::{
    app,
    plan::{Exit, ExitPlan},
    resource::{Policy, Resource, TeardownResult},
    token::ExitToken,
};
use sundown::{runtime::RuntimeOwner, session::Session, task::BackgroundTask};
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

/// Long enough for anything that does not hang.
const PLENTY: Duration = Duration::from_secs(30);

/// For plans of which something hangs.
const SHORT: Duration = Duration::from_secs(1);

/// The code of all who are asked for one.
const CODE: i32 = 7;

/// The code of a program that should have ended long ago.
const STUCK: i32 = 99;

fn main() {
    let mut arguments = env::args().skip(1);
    let (Some(scenario), Some(directory)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: departures SCENARIO DIRECTORY");
        process::exit(2);
    };
    let ledger = PathBuf::from(directory).join("exit.json");
    // Whatever a plan does, this program is not there for ever.
    let (started, has_started) = mpsc::channel();
    thread::spawn(move || {
        started.send(()).unwrap();
        thread::sleep(Duration::from_secs(60));
        process::exit(STUCK);
    });
    has_started.recv().unwrap();
    let patient = || ExitPlan::builder(PLENTY).ledger(&ledger);
    let short = || ExitPlan::builder(SHORT).ledger(&ledger);
    match &*scenario {
        "nothing" => patient().build().leave(CODE),
        "nothing-normal" => patient().by(Exit::Normal).build().leave(CODE),
        "order" => order(&patient().build()),
        "faults" => faults(&patient().build()),
        "everything-hangs" => everything_hangs(&short().build()),
        "aborts" => aborts(&patient().build()),
        "zero-limit" => zero_limit(&ExitPlan::builder(Duration::ZERO).ledger(&ledger).build()),
        "still-needed" => still_needed(&patient().build()),
        "leaks-by-token" => leaks_by_token(&patient().build()),
        "registers-another" => registers_another(&patient().build()),
        "leaves-in-a-teardown" => leaves_in_a_teardown(&patient().build()),
        "unwritable-ledger" => patient().ledger("/nowhere/exit.json").build().leave(CODE),
        "two-threads" => two_threads(&patient().build()),
        "worker" => worker(&patient().build()),
        "panic-on-main" => panic_on_main(&patient().build()),
        "returns" => returns(&patient().build()),
        "unfinished-line" => unfinished_line(&patient().build()),
        "hooks-immediate" => hooks(&patient().build()),
        "hooks-normal" => hooks(&patient().by(Exit::Normal).build()),
        "hooks-std" => hooks_std(),
        "hanging-hook" => hanging_hook(&short().by(Exit::Normal).build()),
        "thread-local-main" => thread_local_main(patient().build()),
        "thread-local-main-normal" => thread_local_main(short().by(Exit::Normal).build()),
        "thread-local-spawned" => thread_local_spawned(patient().build()),
        "hanging-log" => logged(&short().build(), HangingLog),
        "panicking-log" => logged(&patient().build(), PanickingLog),
        "leaving-log" => {
            let plan = patient().build();
            logged(&plan.clone(), LeavingLog(plan));
        }
        "app" => app_of_four(&patient().build()),
        "session" => session(&patient().build()),
        #[cfg(target_os = "linux")]
        "no-threads" => no_threads(&patient().build()),
        #[cfg(unix)]
        "signal" => signals::wait(&patient().build()),
        #[cfg(unix)]
        "second-signal" => signals::wait(&hanging(patient().build())),
        #[cfg(unix)]
        "guard-dropped" => signals::dropped(&patient().build()),
        #[cfg(unix)]
        "guard-again" => signals::again(&patient().build()),
        unknown => {
            eprintln!("there is no scenario '{unknown}'");
            process::exit(2);
        }
    }
}

const TEAR_DOWN: Policy = Policy::TearDown { within: PLENTY };
const OR_LEAK: Policy = Policy::TearDownOrLeak { within: PLENTY };
const LEAK: Policy = Policy::Leak { why: "it is harmless" };

/// Says on standard output when it is dropped.
struct Noisy(&'static str);

impl Drop for Noisy {
    fn drop(&mut self) {
        println!("dropped {}", self.0);
    }
}

/// A resource that says when it is torn down.
fn noisy(name: &'static str, policy: Policy) -> Resource {
    let held = Noisy(name);
    Resource::new(name, policy, move |_exit| {
        drop(held);
        Ok(())
    })
}

fn hang(_exit: &ExitToken) -> TeardownResult {
    println!("hanging");
    loop {
        thread::park();
    }
}

fn hanging(plan: ExitPlan) -> ExitPlan {
    plan.add(Resource::new("hanging", TEAR_DOWN, hang)).unwrap();
    plan
}

fn order(plan: &ExitPlan) {
    plan.add(noisy("runtime", TEAR_DOWN)).unwrap();
    plan.add(noisy("client", OR_LEAK).needs("runtime")).unwrap();
    plan.add(noisy("rooms", LEAK)).unwrap();
    plan.add(noisy("sync service", OR_LEAK).needs("client").needs("runtime")).unwrap();
    plan.leave(CODE)
}

fn faults(plan: &ExitPlan) {
    let short = Duration::from_millis(100);
    plan.add(noisy("first\0", TEAR_DOWN)).unwrap();
    let refusing = |_: &ExitToken| -> TeardownResult { Err("it is busy".into()) };
    plan.add(Resource::new("refusing", TEAR_DOWN, refusing)).unwrap();
    plan.add(Resource::new("hanging", Policy::TearDownOrLeak { within: short }, hang)).unwrap();
    let panicking = |_: &ExitToken| -> TeardownResult { panic!("it is broken") };
    plan.add(Resource::new("panicking", OR_LEAK, panicking)).unwrap();
    plan.add(Resource::new("impatient", Policy::TearDown { within: Duration::ZERO }, hang))
        .unwrap();
    plan.leave(CODE)
}

fn everything_hangs(plan: &ExitPlan) {
    for (name, policy) in [("one", TEAR_DOWN), ("two", OR_LEAK), ("three", TEAR_DOWN)] {
        plan.add(Resource::new(name, policy, hang)).unwrap();
    }
    plan.leave(CODE)
}

/// Panics in a destructor while it unwinds.
fn aborts(plan: &ExitPlan) {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("one too many");
        }
    }
    let held = Panics;
    plan.add(noisy("first", TEAR_DOWN)).unwrap();
    let doomed = move |_: &ExitToken| -> TeardownResult {
        let _held = held;
        panic!("the first of two")
    };
    plan.add(Resource::new("doomed", TEAR_DOWN, doomed)).unwrap();
    plan.add(noisy("last", TEAR_DOWN)).unwrap();
    plan.leave(CODE)
}

fn zero_limit(plan: &ExitPlan) {
    plan.add(noisy("must", TEAR_DOWN)).unwrap();
    plan.add(noisy("may", OR_LEAK)).unwrap();
    plan.add(noisy("leaked", LEAK)).unwrap();
    plan.leave(CODE)
}

fn still_needed(plan: &ExitPlan) {
    plan.add(noisy("database", TEAR_DOWN)).unwrap();
    plan.add(noisy("runtime", OR_LEAK)).unwrap();
    plan.add(noisy("client", OR_LEAK).needs("runtime").needs("database")).unwrap();
    plan.add(noisy("room", LEAK).needs("client")).unwrap();
    plan.leave(CODE)
}

fn leaks_by_token(plan: &ExitPlan) {
    let held = Noisy("held");
    plan.add(Resource::new("client", OR_LEAK, move |exit| {
        let leaked = exit.leak(held, "it would not close");
        println!("still of use: {}", leaked.0);
        Ok(())
    }))
    .unwrap();
    plan.leave(CODE)
}

fn registers_another(plan: &ExitPlan) {
    let inner = plan.clone();
    plan.add(Resource::new("outer", TEAR_DOWN, move |_exit| {
        Ok(inner.add(noisy("inner", TEAR_DOWN))?)
    }))
    .unwrap();
    plan.leave(CODE)
}

fn leaves_in_a_teardown(plan: &ExitPlan) {
    let inner = plan.clone();
    let policy = Policy::TearDownOrLeak { within: Duration::from_millis(100) };
    plan.add(Resource::new("impatient", policy, move |_exit| inner.leave(CODE + 1))).unwrap();
    plan.leave(CODE)
}

fn two_threads(plan: &ExitPlan) {
    let (second, begun) = (plan.clone(), mpsc::channel());
    plan.add(Resource::new("once", TEAR_DOWN, move |_exit| {
        println!("torn down");
        // The first call has decided: here is the second, of another thread.
        thread::spawn(move || {
            begun.0.send(()).unwrap();
            second.leave(CODE + 1)
        });
        Ok(begun.1.recv()?)
    }))
    .unwrap();
    plan.leave(CODE)
}

fn worker(plan: &ExitPlan) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    plan.add(noisy("client", TEAR_DOWN)).unwrap();
    let plan = plan.clone();
    runtime.spawn(async move { plan.leave(CODE) });
    runtime.block_on(pending())
}

fn panic_on_main(plan: &ExitPlan) {
    plan.add(noisy("client", TEAR_DOWN)).unwrap();
    plan.run(|| panic!("the program is broken"))
}

fn returns(plan: &ExitPlan) {
    plan.add(noisy("client", TEAR_DOWN)).unwrap();
    plan.run(|| {
        println!("the program");
        CODE
    })
}

fn unfinished_line(plan: &ExitPlan) {
    print!("a line without an end");
    plan.leave(CODE)
}

thread_local! {
    static LOCAL: RefCell<Option<Noisy>> = const { RefCell::new(None) };
}

/// What runs at a normal exit: a hook, and the destructor of a thread-local.
fn set_hooks() {
    LOCAL.set(Some(Noisy("local")));
    #[cfg(unix)]
    shutdown_hooks::add_shutdown_hook(hook);
}

extern "C" fn hook() {
    println!("hook");
}

fn hooks(plan: &ExitPlan) {
    set_hooks();
    plan.leave(CODE)
}

fn hooks_std() {
    set_hooks();
    process::exit(CODE)
}

fn hanging_hook(plan: &ExitPlan) {
    extern "C" fn hangs() {
        println!("hanging");
        loop {
            thread::park();
        }
    }
    #[cfg(unix)]
    shutdown_hooks::add_shutdown_hook(hangs);
    plan.leave(CODE)
}

/// Leaves in its destructor.
struct Leaves(ExitPlan);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.leave(CODE)
    }
}

thread_local! {
    static LEAVES: RefCell<Option<Leaves>> = const { RefCell::new(None) };
}

fn thread_local_main(plan: ExitPlan) {
    plan.add(noisy("client", TEAR_DOWN)).unwrap();
    LEAVES.set(Some(Leaves(plan)));
}

fn thread_local_spawned(plan: ExitPlan) {
    plan.add(noisy("client", TEAR_DOWN)).unwrap();
    thread::spawn(|| LEAVES.set(Some(Leaves(plan)))).join().unwrap();
}

fn logged(plan: &ExitPlan, log: impl Subscriber + Send + Sync) {
    tracing::subscriber::set_global_default(log).unwrap();
    plan.leave(CODE)
}

/// A log without anything but events.
macro_rules! log {
    ($name:ty, |$log:ident| $event:expr) => {
        impl Subscriber for $name {
            fn enabled(&self, _: &Metadata<'_>) -> bool {
                true
            }
            fn new_span(&self, _: &Attributes<'_>) -> Id {
                Id::from_u64(1)
            }
            fn record(&self, _: &Id, _: &Record<'_>) {}
            fn record_follows_from(&self, _: &Id, _: &Id) {}
            fn event(&self, _: &Event<'_>) {
                let $log = self;
                $event
            }
            fn enter(&self, _: &Id) {}
            fn exit(&self, _: &Id) {}
        }
    };
}

struct HangingLog;
log!(HangingLog, |_log| loop {
    thread::park();
});

struct PanickingLog;
log!(PanickingLog, |_log| panic!("the log is broken"));

struct LeavingLog(ExitPlan);
log!(LeavingLog, |log| log.0.leave(CODE + 1));

/// Needs a runtime in its destructor, as the connections of a pool do.
struct Client;

impl Drop for Client {
    fn drop(&mut self) {
        tokio::task::spawn_blocking(|| println!("client closed"));
    }
}

fn app_of_four(plan: &ExitPlan) {
    let runtime = RuntimeOwner::builder("matrix").workers(1).start().unwrap();
    let handle = runtime.handle().unwrap();
    let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let worker = BackgroundTask::spawn_on(&handle, "requests", |_stop| async move {
        while let Some(request) = requests.recv().await {
            println!("request {request}");
        }
    });
    let sync = BackgroundTask::spawn_on(&handle, "sync", |stop| async move {
        stop.await;
        println!("sync service stopped");
    });
    (1..=3).for_each(|request| sender.send(request).unwrap());
    plan.add(app::runtime(OR_LEAK, runtime)).unwrap();
    plan.add(app::client(OR_LEAK, Client)).unwrap();
    plan.add(app::sync_service(OR_LEAK, sync)).unwrap();
    plan.add(app::request_sender(OR_LEAK, sender, worker)).unwrap();
    plan.leave(CODE)
}

fn session(plan: &ExitPlan) {
    let free = Session::new("free").unwrap();
    drop(free.guard(Client).unwrap());
    let held = Session::new("held").unwrap();
    // To the end.
    let _holder = held.guard(Client).unwrap();
    plan.add(app::leaked_runtime(())).unwrap();
    plan.add(Resource::new("held", OR_LEAK, move |_exit| {
        // A limit of its own, far from that of the plan: a busy machine must not lose the answer.
        let _ = held.close_blocking(Duration::from_millis(100))?;
        Ok(())
    }))
    .unwrap();
    plan.add(app::session(OR_LEAK, free)).unwrap();
    plan.leave(CODE)
}

/// The process may take a little more memory, and not as much as the stack of another thread.
#[cfg(target_os = "linux")]
fn no_threads(plan: &ExitPlan) {
    use rustix::process::{Resource as Limited, Rlimit, setrlimit};

    plan.add(noisy("client", OR_LEAK)).unwrap();
    plan.add(noisy("drafts", TEAR_DOWN)).unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let kib: u64 = size.split_whitespace().next().unwrap().parse().unwrap();
    let most = Some((kib + 1024) * 1024);
    setrlimit(Limited::As, Rlimit { current: most, maximum: most }).unwrap();
    plan.leave(CODE)
}

#[cfg(unix)]
mod signals {
    use leak_strategy::signals::{SignalError, SignalGuard};

    use super::*;

    fn wait_for_a_signal() {
        println!("ready");
        io::stdout().flush().unwrap();
        loop {
            thread::park();
        }
    }

    pub(super) fn wait(plan: &ExitPlan) {
        plan.add(noisy("client", TEAR_DOWN)).unwrap();
        let _guard = SignalGuard::of(plan).unwrap();
        let second = SignalGuard::of(plan);
        assert!(matches!(second, Err(SignalError::AlreadyGuarded)));
        wait_for_a_signal();
    }

    pub(super) fn dropped(plan: &ExitPlan) {
        drop(SignalGuard::of(plan).unwrap());
        wait_for_a_signal();
    }

    pub(super) fn again(plan: &ExitPlan) {
        drop(SignalGuard::of(plan).unwrap());
        wait(plan);
    }
}
