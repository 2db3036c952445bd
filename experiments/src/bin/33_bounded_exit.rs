//! 33 bounded exit: how long does a process take to leave in which everything hangs? For ever without a
//! limit, the sum of the limits with one for each resource, and the plan's own limit with an exit plan,
//! which also keeps the exit code and a complete ledger. Page: `docs/src/33-bounded-exit.md`.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    process::{self, Stdio},
    sync::mpsc::{self, Receiver},
    time::{SystemTime, UNIX_EPOCH},
};

use experiments::prelude::*;
use leak_strategy::{
    app,
    ledger::{Ledger, Outcome},
    plan::{Exit, ExitPlan},
    resource::{Policy, Resource},
    signals::SignalGuard,
};
use mock_sdk::store::rusqlite::Connection;
use rustix::process::{Pid, Signal, kill_process};
use sundown::{BackgroundTask, Stop, teardown_blocking};
use tokio::{
    runtime::Builder,
    sync::mpsc::{UnboundedSender, unbounded_channel},
};

/// The limit of a plan, and the part of it that each resource gets.
const LIMIT: Duration = Duration::from_millis(200);
const EACH: Duration = Duration::from_millis(75);

/// What each resource gets by hand. The four together get more than a plan's exit may take.
const BY_HAND: Duration = Duration::from_secs(1);

/// What a plan promises, and what is allowed on a machine that is too busy to run a process.
const PROMISED: Duration = LIMIT.saturating_add(Duration::from_millis(100));
const IN_TIME: Duration = Duration::from_secs(3);

/// When a process counts as stuck.
const STUCK: Duration = Duration::from_millis(800);

const CODE: i32 = 7;
const CODE_OF_A_PANIC: i32 = 101;
const CODE_OF_SIGTERM: i32 = 143;

const LEDGER: &str = "exit.json";

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("How long does the exit of a process take in which everything hangs?")
        .hypothesis(
            "For ever, or the sum of all limits, unless there is one limit for everything that \
             nothing can hold up. An exit plan keeps its limit, with its exit code and a complete \
             ledger.",
        )
        .first_expected(
            "For ever, or the sum of all limits. An exit plan keeps its own limit to 100 ms, with its \
             exit code and a complete ledger.",
        )
        .variants([
            control("by-hand/nothing-hangs", by_hand).about("torn down in order, without a limit"),
            hazard("by-hand/no-limit", Hung, by_hand)
                .about("the same, and everything hangs")
                .deadline(STUCK)
                .trials(5),
            control("by-hand/sleep-only", by_hand)
                .about("a process that sleeps for the plan's limit, and exits")
                .waits(),
            hazard("by-hand/a-limit-each", Failed, by_hand)
                .about("each with a limit of a second")
                .trials(5)
                .waits(),
            cure("plan/nothing-hangs", by_plan).about("an exit plan"),
            cure("plan/main", by_plan)
                .about("an exit plan, executed from the main thread; everything hangs from here on")
                .waits(),
            cure("plan/normal-exit", by_plan).about("the same by a normal exit").waits(),
            cure("plan/worker", by_plan).about("the same from a worker of the runtime").waits(),
            cure("plan/signal", by_plan).about("the same at SIGTERM").waits(),
            cure("plan/panic", by_plan).about("the same after a panic of the main thread").waits(),
        ])
        .part("by-hand", leave_by_hand)
        .part("plan", leave_by_plan)
        .run()
}

/// Whether nothing hangs in the process of this variant.
fn is_healthy(variant: &str) -> bool {
    variant.ends_with("/nothing-hangs")
}

fn by_hand(scene: &Scene<'_>) -> TrialResult {
    leaves(scene, "by-hand", CODE)
}

fn by_plan(scene: &Scene<'_>) -> TrialResult {
    let code = match scene.case() {
        "signal" => CODE_OF_SIGTERM,
        "panic" => CODE_OF_A_PANIC,
        _ => CODE,
    };
    leaves(scene, "plan", code)?;
    let ledger: Ledger = serde_json::from_slice(&fs::read(scene.directory().join(LEDGER))?)?;
    scene.check("the ledger has the exit code", ledger.code == code);
    let names: Vec<_> = ledger.entries.iter().map(|entry| &*entry.name).collect();
    let all = [app::REQUEST_SENDER, app::SYNC_SERVICE, app::CLIENT, app::RUNTIME];
    scene.check("the ledger is complete and in order", names == all);
    let mut torn_down = ledger.entries.iter().map(|entry| entry.outcome == Outcome::TornDown);
    if is_healthy(scene.variant()) {
        scene.check("everything was torn down", torn_down.all(|it| it));
        return Ok(());
    }
    scene.check("none could be torn down", !torn_down.any(|it| it));
    scene.check("the ledger says why", ledger.entries.iter().all(|entry| entry.reason.is_some()));
    scene.record("tried", ledger.entries.iter().map(|entry| entry.tried).sum::<Duration>());
    Ok(())
}

/// Runs a process until it is gone, and measures that from the moment at which it set out to leave.
fn leaves(scene: &Scene<'_>, part: &str, code: i32) -> TrialResult {
    let mut part = scene.part(part)?;
    let part = part.arg(scene.variant()).stdout(Stdio::piped());
    // A panic of it is no news.
    let mut child = part.stderr(Stdio::null()).spawn()?;
    let mut said = BufReader::new(child.stdout.take().ok_or("no pipe")?);
    let mut line = String::new();
    said.read_line(&mut line)?;
    let mut set_out: u64 = line.trim().parse()?;
    if scene.case() == "signal" {
        set_out = now();
        kill_process(Pid::from_child(&child), Signal::TERM)?;
    }
    let ended = child.wait()?;
    let gone_after = Duration::from_nanos(now().saturating_sub(set_out));
    said.read_to_string(&mut line)?;
    scene.record("gone_after", gone_after);
    scene.check("the exit code is the one that was asked for", ended.code() == Some(code));
    if !is_healthy(scene.variant()) {
        scene.record("within_100_ms_of_its_limit", gone_after <= PROMISED);
        scene.check("it is gone in time", gone_after <= IN_TIME);
    }
    Ok(())
}

/// In nanoseconds, by a clock that parent and child share.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// What the process consists of.
struct App {
    runtime: Runtime,
    client: Client,
    sync_service: BackgroundTask<()>,
    sender: UnboundedSender<String>,
    worker: BackgroundTask<()>,
}

/// A client whose destructor waits until no query runs on the store.
struct Client {
    _store: Store,
    at_work: Receiver<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        // An error as soon as the query has ended, which drops the other end.
        let _ = self.at_work.recv();
    }
}

/// Blocks its thread for ever.
fn hang() {
    loop {
        thread::park();
    }
}

fn start(hangs: bool) -> TrialResult<App> {
    // A worker for each task that blocks one, and one to leave from.
    let runtime = Builder::new_multi_thread().worker_threads(3).enable_all().build()?;
    let store = runtime.block_on(Store::open(".", Generation::Current, CONNECTIONS))?;
    let (query, at_work) = mpsc::channel();
    let (started, has_started) = mpsc::channel();
    let begin = move || {
        let _ = started.send(());
        if hangs {
            hang();
        }
    };
    let (sync_begins, worker_begins) = (begin.clone(), begin.clone());
    let (sender, mut requests) = unbounded_channel::<String>();

    let handle = runtime.handle();
    let sync_service =
        BackgroundTask::spawn_on(handle, "sync service", move |stop: Stop| async move {
            sync_begins();
            stop.await;
        });
    let worker = BackgroundTask::spawn_on(handle, "requests", move |_stop| async move {
        worker_begins();
        while requests.recv().await.is_some() {}
    });
    let busy = store.clone();
    runtime.spawn(async move {
        let query = move |_: &mut Connection| {
            let _ended_when_dropped = query;
            begin();
            Ok(())
        };
        busy.interact("query", query).await
    });
    (0..3).try_for_each(|_| has_started.recv())?;
    let client = Client { _store: store, at_work };
    Ok(App { runtime, client, sync_service, sender, worker })
}

/// Tells the parent that the process sets out to leave.
fn set_out() -> io::Result<()> {
    println!("{}", now());
    io::stdout().flush()
}

fn leave_by_hand(arguments: &[String]) -> TrialResult {
    let [variant] = arguments else { return Err("which variant?".into()) };
    if variant == "by-hand/sleep-only" {
        set_out()?;
        thread::sleep(LIMIT);
        process::exit(CODE)
    }
    let App { runtime, client, sync_service, sender, worker } = start(!is_healthy(variant))?;
    let context = runtime.handle().clone();
    let limit = if variant == "by-hand/a-limit-each" { BY_HAND } else { Duration::MAX };
    set_out()?;
    on_a_thread(limit, move || {
        drop(sender);
        let _ = block_on(worker.shutdown());
    });
    on_a_thread(limit, move || drop(block_on(sync_service.shutdown())));
    on_a_thread(limit, move || {
        let _context = context.enter();
        drop(client);
    });
    on_a_thread(limit, move || drop(runtime));
    process::exit(CODE)
}

/// Takes a step on a thread of its own, and waits for it within a limit.
fn on_a_thread(limit: Duration, step: impl FnOnce() + Send + 'static) {
    let (ended, has_ended) = mpsc::channel();
    thread::spawn(move || {
        step();
        let _ = ended.send(());
    });
    let _ = has_ended.recv_timeout(limit);
}

fn leave_by_plan(arguments: &[String]) -> TrialResult {
    let [variant] = arguments else { return Err("which variant?".into()) };
    let hangs = !is_healthy(variant);
    let App { runtime, client, sync_service, sender, worker } = start(hangs)?;
    let handle = runtime.handle().clone();
    let exit = if variant == "plan/normal-exit" { Exit::Normal } else { Exit::Immediate };
    let (limit, within) = if hangs { (LIMIT, EACH) } else { (PLENTY, PLENTY) };
    let plan = ExitPlan::builder(limit).by(exit).ledger(LEDGER).build();
    // These two ignore their limits.
    plan.add(Resource::new(app::RUNTIME, Policy::TearDown { within }, move |_exit| {
        drop(runtime);
        Ok(())
    }))?;
    plan.add(
        Resource::new(app::CLIENT, Policy::TearDown { within }, move |_exit| {
            teardown_blocking(client, Duration::MAX).map_err(|error| error.to_string())?;
            Ok(())
        })
        .needs(app::RUNTIME),
    )?;
    // The kit's own keep them.
    let or_leak = || Policy::TearDownOrLeak { within };
    plan.add(app::sync_service(or_leak(), sync_service))?;
    plan.add(app::request_sender(or_leak(), sender, worker))?;

    let _guard = SignalGuard::install(&plan)?;
    set_out()?;
    match variant.as_str() {
        "plan/worker" => {
            handle.spawn(async move { plan.leave(CODE) });
            hang();
        }
        "plan/signal" => hang(),
        #[allow(clippy::panic, reason = "this way of leaving is about a panic")]
        "plan/panic" => plan.run(|| panic!("the program is broken")),
        _ => plan.leave(CODE),
    }
    Ok(())
}
