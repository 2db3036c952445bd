//! # 30 · leak at exit
//!
//! `mem::forget` works, says the demo *rust-logout-issue* of it, but is overly aggressive (claim A6);
//! at the end of the process leaking is acceptable, says the write-up of Robrix's logout (claim B5).
//! What would make it unacceptable is a row that was promised to somebody and is not there when the
//! program starts again. `kill -9` stands beside it: nothing can be more abrupt.
//!
//! A process has a client on a real store and two tasks that write: the sync service, without a
//! pause, and a worker that carries out requests. Each row is acknowledged to the parent, through a
//! pipe, *when its commit has returned*. At a moment that is drawn at random the process leaves, in
//! the middle of all that. The parent keeps what was acknowledged; it waits for the end, opens the
//! store again, has SQLite check its integrity, and compares. A trial *fails* where an acknowledged
//! row is missing.
//!
//! - `forget/…`: runtime, client, sync service and request sender are forgotten, and `main` returns;
//! - `kill-9/committed`: the parent kills the process;
//! - `kill-9/uncommitted`, the hazard: the same, of a process that acknowledges *before* it commits.
//!   It must be caught, or the comparison is worth nothing;
//! - `plan/leak`: an exit plan that leaks all four;
//! - `plan/tear-down`: an exit plan that tears down what it can.
//!
//! What "overly aggressive" may mean is recorded: `requests_dropped`, which the application had
//! accepted from its user and not carried out, and `wal_bytes_left` for the next one to read.
//!
//! What is shown is the end of a *process*. What the system has not written to the disk yet survives
//! that, and a power failure it does not; the store does not ask for more (`synchronous = NORMAL`).
//!
//! The hazard is a race between a signal and a commit, which the signal mostly wins. With 40 trials,
//! a run that misses it is a one-in-a-million event even if only three trials in ten lose a row.

use std::{
    collections::BTreeSet,
    error::Error,
    io::{BufRead as _, BufReader, Write as _},
    mem,
    process::{ExitCode, Stdio},
    sync::mpsc::{self, Sender},
    time::{Duration, Instant},
};

use experiments::{CONNECTIONS, control, cure, hazard, runtime};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    Trial, TrialResult, every, seen,
};
use leak_strategy::{
    app,
    plan::ExitPlan,
    resource::{Policy, Resource},
};
use mock_sdk::store::{Generation, Room, Store, residue, rusqlite};
use sundown::{stop::Stop, task::BackgroundTask};
use tokio::sync::mpsc::unbounded_channel;

/// How many requests the user has made by the time the process leaves.
const REQUESTS: u32 = 60;

/// The most rows that are acknowledged before it does.
const MOST: u32 = 60;

/// Long enough for every request to be carried out on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(8);

const ROOM: &str = "!room";

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("What is lost when a process leaks everything and ends?")
        .hypothesis(
            "No row whose commit had returned, as with kill -9; requests that were accepted and \
             not carried out are lost, and the write-ahead log stays. A plan that tears down \
             loses neither and leaves no log.",
        )
        .variants([
            control("forget/under-load", |trial| {
                let found = left_by_itself(trial, "forget")?;
                trial.check("the log is left", found.wal_bytes > 0);
                Ok(())
            })
            .about("all four forgotten in the middle of it, and main returns"),
            control("kill-9/committed", |trial| killed(trial, "committed"))
                .about("killed in the middle of it"),
            hazard("kill-9/uncommitted", seen(Failed).allowing([Clean]), |trial| {
                killed(trial, "uncommitted")
            })
            .about("the same, but rows are acknowledged before their commit")
            .trials(40),
            cure("plan/leak", |trial| {
                left_by_itself(trial, "leak")?;
                Ok(())
            })
            .about("an exit plan that leaks all four"),
            cure("plan/tear-down", |trial| {
                let found = left_by_itself(trial, "tear-down")?;
                trial.check("every request was carried out", found.requests == REQUESTS);
                trial.check("no log is left", found.wal_bytes == 0);
                Ok(())
            })
            .about("an exit plan that tears down all but the runtime"),
        ])
        .part("writer", write)
        .claim("A6", "`mem::forget` works, and is overly aggressive.")
        .supported_if(
            every("forget/under-load").is(Clean)
                & every("forget/under-load").observed("requests_dropped").once_at_least(1)
                & every("plan/tear-down").observed("requests_dropped").always_at_most(0),
        )
        .refuted_if(
            !every("forget/under-load").is(Clean)
                | every("forget/under-load").observed("requests_dropped").always_at_most(0),
        )
        .claim("B5", "Leaking at exit is acceptable.")
        .supported_if(
            every("forget/under-load").observed("rows_lost").always_at_most(0)
                & every("forget/under-load").is(Clean),
        )
        .refuted_if(every("forget/under-load").observed("rows_lost").once_at_least(1))
        .run()
}

/// What was found when the store was opened again.
struct Found {
    requests: u32,
    wal_bytes: u64,
}

fn left_by_itself(trial: &Trial<'_>, way: &str) -> Result<Found, Box<dyn Error>> {
    let leave_after = trial.random().u32(1..=MOST);
    let mut part = trial.part("writer")?;
    let part = part.args([way, &leave_after.to_string()]).stdout(Stdio::piped());
    let mut writer = part.stderr(Stdio::piped()).spawn()?;
    let pipe = writer.stdout.take().ok_or("no pipe")?;
    let acknowledged: Vec<_> = BufReader::new(pipe).lines().collect::<Result<_, _>>()?;
    let ended = writer.wait_with_output()?;
    trial.check("it ended as it was asked to", ended.status.success());
    trial.check("nothing panicked", ended.stderr.is_empty());
    compare(trial, acknowledged)
}

fn killed(trial: &Trial<'_>, way: &str) -> TrialResult {
    let mut random = trial.random();
    let kill_after = random.usize(1..=MOST as usize);
    let moment = Duration::from_micros(random.u64(0..500));
    let mut part = trial.part("writer")?;
    let mut writer = part.args([way, "0"]).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(writer.stdout.take().ok_or("no pipe")?).lines();
    let mut acknowledged = lines.by_ref().take(kill_after).collect::<Result<Vec<_>, _>>()?;
    // Some moment after a row was acknowledged; a sleep would end at a turn of the clock.
    let since = Instant::now();
    while since.elapsed() < moment {}
    writer.kill()?;
    let ended = writer.wait()?;
    trial.check("it was killed", ended.code().is_none());
    // What was acknowledged until then counts too, but for a line that was cut off.
    acknowledged.extend(lines.map_while(Result::ok));
    compare(trial, acknowledged)?;
    Ok(())
}

/// Compares what was acknowledged with what is there.
fn compare(trial: &Trial<'_>, acknowledged: Vec<String>) -> Result<Found, Box<dyn Error>> {
    let wal_bytes = residue(&trial.directory().join("store.sqlite3"))?.wal_bytes.unwrap_or(0);
    let runtime = runtime()?;
    let (rows, integrity) = runtime.block_on(async {
        let store = Store::open(trial.directory(), Generation::Current, 1).await?;
        let rows = store.interact("read the events from", rows).await?;
        let integrity = store
            .interact("check the integrity of", |connection| {
                connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
            })
            .await?;
        Ok::<_, Box<dyn Error>>((rows, integrity))
    })?;
    let requests = rows.iter().filter(|row| row.starts_with(REQUEST)).count().try_into()?;
    let lost = acknowledged.iter().filter(|row| !rows.contains(*row)).count();
    trial.record("rows_acknowledged", acknowledged.len());
    trial.record("rows_lost", lost);
    trial.record("requests_dropped", REQUESTS.saturating_sub(requests));
    trial.record("wal_bytes_left", wal_bytes);
    trial.check("something was acknowledged", !acknowledged.is_empty());
    trial.check("every acknowledged row is there", lost == 0);
    trial.check("the integrity check passes", integrity == "ok");
    Ok(Found { requests, wal_bytes })
}

fn rows(connection: &mut rusqlite::Connection) -> rusqlite::Result<BTreeSet<String>> {
    connection.prepare("SELECT body FROM events")?.query_map([], |row| row.get(0))?.collect()
}

/// How the rows of requests begin.
const REQUEST: &str = "request ";

/// Writes rows, each of which it acknowledges.
#[derive(Clone)]
struct Writer {
    store: Store,
    acknowledges_first: bool,
    acknowledged: Sender<()>,
}

impl Writer {
    async fn write(&self, row: String) {
        if self.acknowledges_first {
            self.acknowledge(&row);
        }
        if self.store.append_event(ROOM, row.clone()).await.is_ok() && !self.acknowledges_first {
            self.acknowledge(&row);
        }
    }

    /// The parent is told before this process is: what it does next, the parent knows already.
    fn acknowledge(&self, row: &str) {
        // One write, so that lines do not mix. Where nobody reads, nobody is promised anything.
        let _ = std::io::stdout().lock().write_all(format!("{row}\n").as_bytes());
        let _ = self.acknowledged.send(());
    }
}

/// The process that leaves, or is killed.
fn write(arguments: &[String]) -> TrialResult {
    let [way, leave_after] = arguments else { return Err("how, and after how many rows?".into()) };
    let leave_after: usize = leave_after.parse()?;
    let runtime = runtime()?;
    let store = runtime.block_on(async {
        let store = Store::open(".", Generation::Current, CONNECTIONS).await?;
        store.save_room(Room { id: ROOM.to_owned(), name: "A room".to_owned() }).await?;
        Ok::<_, Box<dyn Error>>(store)
    })?;
    let (acknowledged, acknowledgements) = mpsc::channel();
    let acknowledges_first = way == "uncommitted";
    let writer = Writer { store: store.clone(), acknowledges_first, acknowledged };

    let context = runtime.enter();
    let sync_service = BackgroundTask::spawn("sync service", {
        let writer = writer.clone();
        move |stop: Stop| async move {
            for event in 0_u64.. {
                if stop.is_raised() {
                    break;
                }
                writer.write(format!("event {event}")).await;
            }
        }
    })?;
    let (sender, mut requests) = unbounded_channel();
    let worker = BackgroundTask::spawn("requests", move |_closing_is_its_signal| async move {
        while let Some(request) = requests.recv().await {
            writer.write(request).await;
        }
    })?;
    drop(context);
    (0..REQUESTS).try_for_each(|request| sender.send(format!("{REQUEST}{request}")))?;

    if matches!(&**way, "committed" | "uncommitted") {
        // It does not leave by itself; what it would be told is nobody's business.
        acknowledgements.iter().for_each(drop);
        return Err("nobody killed it".into());
    }
    acknowledgements.iter().take(leave_after).for_each(drop);
    if way == "forget" {
        mem::forget((runtime, store, sync_service, sender, worker));
        return Ok(());
    }
    let plan = ExitPlan::builder(LIMIT).build();
    if way == "leak" {
        let all = (runtime, store, sync_service, sender, worker);
        plan.add(Resource::new("all four", Policy::Leak { why: "it is the end" }, move |_exit| {
            drop(all);
            Ok(())
        }))?;
        plan.leave(0)
    }
    let tear_down = || Policy::TearDownOrLeak { within: LIMIT };
    plan.add(app::leaked_runtime(runtime))?;
    plan.add(app::client(tear_down(), store))?;
    plan.add(app::sync_service(tear_down(), sync_service))?;
    plan.add(app::request_sender(tear_down(), sender, worker))?;
    plan.leave(0)
}
