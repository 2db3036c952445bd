//! # 33 · bounded exit
//!
//! A user who closes a window waits for it. Something in the application does not end: a query that
//! holds a connection, a task that does not yield. Everything that is to be torn down waits for it,
//! directly or for the next in the order, and so does the user.
//!
//! Each variant is a process with a runtime, a client on a real store, a sync service and a worker
//! for requests. In all but `…/nothing-hangs` each of the four hangs for good: a query on the store
//! never ends, the client's destructor waits for it, dropping the runtime waits for it too, and the
//! two tasks block their worker threads. The trial looks from outside: from the moment at which the
//! process set out to leave, how long is it until it is gone, with which exit code, and what does
//! its ledger say?
//!
//! - `by-hand/no-limit` tears everything down in order and waits;
//! - `by-hand/a-limit-each` gives each of the four a second: the usual cure, and the sum of the limits
//!   is what the user waits;
//! - `by-hand/sleep-only` has nothing to leave and sleeps for the limit of the plan: what is between
//!   that and being gone is the machine's own doing;
//! - `plan/…` leaves by an exit plan with a limit for all together, from the main thread, from a
//!   worker of the runtime that hangs, at a signal, after a panic, and by a normal exit. Two of its
//!   resources are told their limit and heed it, the kit's own; two are deaf to it.
//!
//! Whether the process was gone within 100 ms of the plan's limit is recorded. A trial fails where
//! it was not gone after three seconds, which leaves room for a machine that is busy with other
//! things, or where its exit code is another, or its ledger not complete.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{self, Child, ExitCode, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use experiments::CONNECTIONS;
use lab::{
    Experiment,
    Outcome::{Clean, Failed, Hung},
    Trial, TrialResult, always, control, cure, hazard,
};
use leak_strategy::{
    app,
    ledger::{Ledger, Outcome},
    plan::{Exit, ExitPlan},
    resource::{Policy, Resource},
    signals::SignalGuard,
};
use mock_sdk::store::{Generation, Store, rusqlite::Connection};
use rustix::process::{Pid, Signal, kill_process};
use sundown::{stop::Stop, task::BackgroundTask, teardown::teardown_blocking};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc::{UnboundedSender, unbounded_channel},
};

/// How long the process may take to leave, in all, and each resource by itself.
const LIMIT: Duration = Duration::from_millis(200);
const EACH: Duration = Duration::from_millis(75);

/// Where nothing hangs, what is looked at is that everything is torn down, and not how fast a busy
/// machine does it.
const PATIENT: Duration = Duration::from_secs(8);

/// What each resource gets by hand: together it is more than any of the plan's exits may take.
const BY_HAND: Duration = Duration::from_secs(1);

/// What is promised; and what is allowed to a machine so busy that it does not get to run a process.
const PROMISED: Duration = LIMIT.saturating_add(Duration::from_millis(100));
const IN_TIME: Duration = Duration::from_secs(3);

/// When a process counts as stuck.
const STUCK: Duration = Duration::from_millis(800);

const CODE: i32 = 7;
const CODE_OF_A_PANIC: i32 = 101;
const CODE_OF_SIGTERM: i32 = 143;

/// Whether everything hangs in a process, as it is told.
const HANGS: &str = "hangs";
const ENDS: &str = "ends";
const SLEEPS: &str = "sleeps";

const LEDGER: &str = "exit.json";

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("How long does a process take to leave in which everything hangs?")
        .hypothesis(
            "For ever, or the sum of all limits, unless there is a limit for all together that \
             nothing can hold up. An exit plan keeps its limit, with its exit code and a complete \
             ledger.",
        )
        .variant(
            control("by-hand/nothing-hangs", always(Clean), |trial| {
                by_hand(trial, "no-limit", ENDS)
            })
            .about("torn down in order, without a limit"),
        )
        .variant(
            hazard("by-hand/no-limit", always(Hung), |trial| by_hand(trial, "no-limit", HANGS))
                .about("the same, and everything hangs")
                .deadline(STUCK)
                .trials(5),
        )
        .variant(
            control("by-hand/sleep-only", always(Clean), |trial| {
                by_hand(trial, "sleep-only", SLEEPS)
            })
            .about("a process that sleeps for the plan's limit, and leaves")
            .waits(),
        )
        .variant(
            hazard("by-hand/a-limit-each", always(Failed), |trial| {
                by_hand(trial, "a-limit-each", HANGS)
            })
            .about("each with a limit of a second")
            .trials(5)
            .waits(),
        )
        .variant(
            cure("plan/nothing-hangs", always(Clean), |trial| {
                let ledger = by_plan(trial, "main", ENDS, CODE)?;
                let all = ledger.entries.iter().all(|entry| entry.outcome == Outcome::TornDown);
                trial.check("everything was torn down", all);
                Ok(())
            })
            .about("an exit plan"),
        )
        .variant(
            cure("plan/main", always(Clean), |trial| all_hang(trial, "main", CODE))
                .about("an exit plan, left from the main thread; everything hangs from here on")
                .waits(),
        )
        .variant(
            cure("plan/normal-exit", always(Clean), |trial| all_hang(trial, "normal", CODE))
                .about("the same by a normal exit")
                .waits(),
        )
        .variant(
            cure("plan/worker", always(Clean), |trial| all_hang(trial, "worker", CODE))
                .about("left from a worker of the runtime")
                .waits(),
        )
        .variant(
            cure("plan/signal", always(Clean), |trial| all_hang(trial, "signal", CODE_OF_SIGTERM))
                .about("left at SIGTERM")
                .waits(),
        )
        .variant(
            cure("plan/panic", always(Clean), |trial| all_hang(trial, "panic", CODE_OF_A_PANIC))
                .about("left after a panic of the main thread")
                .waits(),
        )
        .part("by-hand", leave_by_hand)
        .part("plan", leave_by_plan)
        .run()
}

/// What is looked at from outside.
struct Left {
    code: Option<i32>,
    after: Duration,
}

/// Waits for a process to say that it sets out to leave, asks it to if it has to be asked, and waits
/// until it is gone.
fn watch(mut child: Child, ask: bool) -> Result<Left, Box<dyn std::error::Error>> {
    let mut said = BufReader::new(child.stdout.take().ok_or("no pipe")?);
    let mut line = String::new();
    said.read_line(&mut line)?;
    let mut set_out: u64 = line.trim().parse()?;
    if ask {
        set_out = now();
        kill_process(Pid::from_child(&child), Signal::TERM)?;
    }
    let status = child.wait()?;
    let after = Duration::from_nanos(now().saturating_sub(set_out));
    said.read_to_string(&mut line)?;
    Ok(Left { code: status.code(), after })
}

/// In nanoseconds: a clock that parent and child share.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn look(trial: &Trial<'_>, left: &Left, code: i32, ends: &str) {
    trial.record("gone_after", left.after);
    trial.check("the exit code is the one that was asked for", left.code == Some(code));
    if ends != ENDS {
        trial.record("within_100_ms_of_its_limit", left.after <= PROMISED);
        trial.check("it is gone in time", left.after <= IN_TIME);
    }
}

fn by_hand(trial: &Trial<'_>, way: &str, ends: &str) -> TrialResult {
    let child = trial.part("by-hand")?.args([way, ends]).stdout(Stdio::piped()).spawn()?;
    look(trial, &watch(child, false)?, CODE, ends);
    Ok(())
}

fn by_plan(
    trial: &Trial<'_>,
    way: &str,
    ends: &str,
    code: i32,
) -> Result<Ledger, Box<dyn std::error::Error>> {
    let mut part = trial.part("plan")?;
    let child = part.args([way, ends]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    look(trial, &watch(child, way == "signal")?, code, ends);
    let ledger: Ledger = serde_json::from_slice(&fs::read(trial.directory().join(LEDGER))?)?;
    trial.check("the ledger has the exit code", ledger.code == code);
    let names: Vec<_> = ledger.entries.iter().map(|entry| &*entry.name).collect();
    let all = [app::REQUEST_SENDER, app::SYNC_SERVICE, app::CLIENT, app::RUNTIME];
    trial.check("the ledger is complete and in order", names == all);
    Ok(ledger)
}

fn all_hang(trial: &Trial<'_>, way: &str, code: i32) -> TrialResult {
    let ledger = by_plan(trial, way, HANGS, code)?;
    for entry in &ledger.entries {
        trial.check("none could be torn down", entry.outcome != Outcome::TornDown);
        trial.check("and it is said why", entry.reason.is_some());
    }
    let tried: Duration = ledger.entries.iter().map(|entry| entry.tried).sum();
    trial.record("tried", tried);
    Ok(())
}

/// What the process consists of.
struct App {
    runtime: Runtime,
    client: Client,
    sync_service: BackgroundTask<()>,
    sender: UnboundedSender<String>,
    worker: BackgroundTask<()>,
}

/// A client whose destructor waits until nobody works on the store.
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

/// Waits for what never comes, and blocks its thread.
fn hang() {
    loop {
        thread::park();
    }
}

fn start(arguments: &[String]) -> Result<App, Box<dyn std::error::Error>> {
    let hangs = arguments.get(1).is_some_and(|ends| ends == HANGS);
    // A worker for each task that blocks one, and one to leave from.
    let runtime = Builder::new_multi_thread().worker_threads(3).enable_all().build()?;
    let store = runtime.block_on(Store::open(".", Generation::Current, CONNECTIONS))?;
    let (query, at_work) = mpsc::channel();
    let (started, has_started) = mpsc::channel();
    let (sender, mut requests) = unbounded_channel::<String>();

    let context = runtime.enter();
    let (of_sync, of_worker) = (started.clone(), started.clone());
    let sync_service = BackgroundTask::spawn("sync service", move |stop: Stop| async move {
        let _ = of_sync.send(());
        if hangs {
            hang();
        }
        stop.await;
    })?;
    let worker = BackgroundTask::spawn("requests", move |_stop| async move {
        let _ = of_worker.send(());
        if hangs {
            hang();
        }
        while requests.recv().await.is_some() {}
    })?;
    let busy = store.clone();
    runtime.spawn(async move {
        let query = move |_: &mut Connection| {
            let _ended_when_dropped = query;
            let _ = started.send(());
            if hangs {
                hang();
            }
            Ok(())
        };
        busy.interact("query", query).await
    });
    drop(context);
    (0..3).try_for_each(|_| has_started.recv())?;
    let client = Client { _store: store, at_work };
    Ok(App { runtime, client, sync_service, sender, worker })
}

fn set_out() -> std::io::Result<()> {
    println!("{}", now());
    std::io::stdout().flush()
}

fn leave_by_hand(arguments: &[String]) -> TrialResult {
    if arguments.first().is_some_and(|way| way == "sleep-only") {
        set_out()?;
        thread::sleep(LIMIT);
        process::exit(CODE)
    }
    let App { runtime, client, sync_service, sender, worker } = start(arguments)?;
    let end = |task: BackgroundTask<()>| -> TrialResult {
        let runtime = Builder::new_current_thread().build()?;
        let _ = runtime.block_on(task.shutdown())?;
        Ok(())
    };
    let context = runtime.handle().clone();
    let steps: [Box<dyn FnOnce() -> TrialResult + Send>; 4] = [
        Box::new(move || {
            drop(sender);
            end(worker)
        }),
        Box::new(move || end(sync_service)),
        Box::new(move || {
            let _context = context.enter();
            drop(client);
            Ok(())
        }),
        Box::new(move || {
            drop(runtime);
            Ok(())
        }),
    ];
    let limit = if arguments.first().is_some_and(|way| way == "no-limit") {
        Duration::MAX
    } else {
        BY_HAND
    };
    set_out()?;
    for step in steps {
        let (ended, has_ended) = mpsc::channel();
        thread::spawn(move || {
            let _ = step();
            let _ = ended.send(());
        });
        let _ = has_ended.recv_timeout(limit);
    }
    process::exit(CODE)
}

fn leave_by_plan(arguments: &[String]) -> TrialResult {
    let way = arguments.first().map(String::as_str).unwrap_or_default();
    let App { runtime, client, sync_service, sender, worker } = start(arguments)?;
    let handle = runtime.handle().clone();
    let exit = if way == "normal" { Exit::Normal } else { Exit::Immediate };
    let hangs = arguments.get(1).is_some_and(|ends| ends == HANGS);
    let (limit, within) = if hangs { (LIMIT, EACH) } else { (PATIENT, PATIENT) };
    let plan = ExitPlan::builder(limit).by(exit).ledger(LEDGER).build();
    let or_leak = || Policy::TearDownOrLeak { within };
    // Deaf to their limits.
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
    // The kit's own, which heed them.
    plan.add(app::sync_service(or_leak(), sync_service))?;
    plan.add(app::request_sender(or_leak(), sender, worker))?;

    let _guard = SignalGuard::install(&plan)?;
    set_out()?;
    match way {
        "worker" => {
            handle.spawn(async move { plan.leave(CODE) });
            hang();
            Ok(())
        }
        "signal" => {
            hang();
            Ok(())
        }
        #[allow(clippy::panic, reason = "it is what this way of leaving is about")]
        "panic" => plan.run(|| panic!("the program is broken")),
        _ => plan.leave(CODE),
    }
}
