//! 30 leak at exit: what is lost when a process leaks everything and ends? No row whose commit had
//! returned, as with `kill -9`; requests that were not carried out are lost, and the log stays. Rows
//! that are acknowledged before their commit are seen to be lost. Page: `docs/src/30-leak-at-exit.md`.

use std::{
    io::{BufRead as _, BufReader},
    mem,
    process::Stdio,
    sync::mpsc::{self, Sender},
};

use experiments::{
    killed::{Writer, compare, stored, write},
    prelude::*,
};
use leak_strategy::{
    app,
    plan::ExitPlan,
    resource::{Policy, Resource},
};
use mock_sdk::store::{Room, rusqlite::Connection};
use sundown::{BackgroundTask, Stop};
use tokio::sync::mpsc::unbounded_channel;

/// How many requests the user has made by the time the process leaves.
const REQUESTS: u32 = 60;

/// The most rows that are acknowledged before it does.
const MOST: usize = 60;

const ROOM: &str = "!room";

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("What is lost when a process leaks everything and ends?")
        .hypothesis(
            "No row whose commit had returned, as with kill -9. Requests that were accepted and \
             not carried out are lost, and the write-ahead log stays. A plan that tears down loses \
             neither and leaves no log.",
        )
        .holds_only_if(every("forget/under-load").observed("requests_dropped").once_at_least(1))
        .variants([
            control("forget/under-load", |scene| {
                let found = leaves(scene)?;
                scene.check("the log is left", found.wal_bytes > 0);
                Ok(())
            })
            .about("all four forgotten in the middle of it, and main returns"),
            control("kill-9/committed", killed).about("killed in the middle of it"),
            hazard("kill-9/uncommitted", seen(Failed).allowing([Clean]), killed)
                .about("the same, but rows are acknowledged before their commit")
                .trials(40),
            cure("plan/leak", |scene| leaves(scene).map(drop))
                .about("an exit plan that leaks all four"),
            cure("plan/tear-down", |scene| {
                let found = leaves(scene)?;
                scene.check("every request was carried out", found.requests == REQUESTS);
                scene.check("no log is left", found.wal_bytes == 0);
                Ok(())
            })
            .about("an exit plan that tears down all but the runtime"),
        ])
        .part("writer", leave)
        .claim("A6b", "To forget everything at the end is overly aggressive.")
        .supported_if(
            every("forget/under-load").observed("requests_dropped").once_at_least(1)
                & every("plan/tear-down").observed("requests_dropped").always_at_most(0),
        )
        .refuted_if(every("forget/under-load").observed("requests_dropped").always_at_most(0))
        .claim("B5", "Leaking at exit is acceptable.")
        .supported_if(
            every("forget/under-load").observed("rows_lost").always_at_most(0)
                & every("forget/under-load").is(Clean)
                // The same look finds rows that are lost.
                & every("kill-9/uncommitted").observed("rows_lost").once_at_least(1),
        )
        .refuted_if(every("forget/under-load").observed("rows_lost").once_at_least(1))
        .run()
}

/// What is found when the store is opened again.
struct Found {
    requests: u32,
    wal_bytes: u64,
}

/// The process leaves by itself after a random number of rows.
fn leaves(scene: &Scene<'_>) -> TrialResult<Found> {
    let leave_after = scene.random().usize(1..=MOST);
    let mut part = scene.part("writer")?;
    let part = part.args([scene.variant(), &leave_after.to_string()]).stdout(Stdio::piped());
    let mut writer = part.stderr(Stdio::piped()).spawn()?;
    let pipe = writer.stdout.take().ok_or("no pipe")?;
    let acknowledged: Vec<_> = BufReader::new(pipe).lines().collect::<Result<_, _>>()?;
    let ended = writer.wait_with_output()?;
    scene.check("it ended as it was asked to", ended.status.success());
    scene.check("nothing panicked", ended.stderr.is_empty());
    look(scene, &acknowledged)
}

/// The process is killed at a random moment after a random number of rows.
fn killed(scene: &Scene<'_>) -> TrialResult {
    let mut random = scene.random();
    let kill_after = random.usize(1..=MOST);
    let moment = Duration::from_micros(random.u64(0..500));
    let mut writer = Writer::start(scene.part("writer")?.args([scene.variant(), "0"]))?;
    let mut acknowledged = writer.lines.by_ref().take(kill_after).collect::<Result<Vec<_>, _>>()?;
    acknowledged.extend(writer.kill_after(moment, scene)?);
    look(scene, &acknowledged).map(drop)
}

/// Opens the store again.
fn look(scene: &Scene<'_>, acknowledged: &[String]) -> TrialResult<Found> {
    let wal_bytes = scene.residue()?.wal_bytes.unwrap_or(0);
    let rows = stored(&scene.database(), "events")?;
    let again = Connection::open(scene.database())?;
    let integrity: String = again.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    let requests = rows.iter().filter(|row| row.starts_with(REQUEST)).count().try_into()?;
    compare(scene, acknowledged, &rows);
    scene.record("requests_dropped", REQUESTS.saturating_sub(requests));
    scene.record("wal_bytes_left", wal_bytes);
    scene.check("the integrity check passes", integrity == "ok");
    Ok(Found { requests, wal_bytes })
}

/// How the rows of requests begin.
const REQUEST: &str = "request ";

/// Writes rows, and acknowledges each.
#[derive(Clone)]
struct Rows {
    store: Store,
    acknowledges_first: bool,
    acknowledged: Sender<()>,
}

impl Rows {
    /// Tells the parent first: by the time this process acts on a row, the parent knows it.
    async fn write(&self, row: String) {
        let commit = async { self.store.append_event(ROOM, row.clone()).await.is_ok() };
        if write(&row, self.acknowledges_first, commit).await {
            let _ = self.acknowledged.send(());
        }
    }
}

/// The process that leaves, or is killed.
fn leave(arguments: &[String]) -> TrialResult {
    let [way, leave_after] = arguments else { return Err("how, and after how many rows?".into()) };
    let leave_after: usize = leave_after.parse()?;
    let runtime = runtime()?;
    let store = runtime.block_on(async {
        let store = Store::open(".", Generation::Current, CONNECTIONS).await?;
        store.save_room(Room { id: ROOM.to_owned(), name: "A room".to_owned() }).await?;
        Ok::<_, Box<dyn Error>>(store)
    })?;
    let (acknowledged, acknowledgements) = mpsc::channel();
    let acknowledges_first = way == "kill-9/uncommitted";
    let rows = Rows { store: store.clone(), acknowledges_first, acknowledged };

    let handle = runtime.handle();
    let sync_service = BackgroundTask::spawn_on(handle, "sync service", {
        let rows = rows.clone();
        move |stop: Stop| async move {
            for event in 0_u64.. {
                if stop.is_raised() {
                    break;
                }
                rows.write(format!("event {event}")).await;
            }
        }
    });
    let (sender, mut requests) = unbounded_channel();
    let worker =
        BackgroundTask::spawn_on(handle, "requests", move |_closing_is_its_signal| async move {
            while let Some(request) = requests.recv().await {
                rows.write(request).await;
            }
        });
    (0..REQUESTS).try_for_each(|request| sender.send(format!("{REQUEST}{request}")))?;

    if way.starts_with("kill-9/") {
        // It does not leave by itself.
        acknowledgements.iter().for_each(drop);
        return Err("nobody killed it".into());
    }
    acknowledgements.iter().take(leave_after).for_each(drop);
    if way == "forget/under-load" {
        mem::forget((runtime, store, sync_service, sender, worker));
        return Ok(());
    }
    let plan = ExitPlan::builder(PLENTY).build();
    if way == "plan/leak" {
        let all = (runtime, store, sync_service, sender, worker);
        plan.add(Resource::new("all four", Policy::Leak { why: "it is the end" }, move |_exit| {
            drop(all);
            Ok(())
        }))?;
        plan.leave(0)
    }
    let tear_down = || Policy::TearDownOrLeak { within: PLENTY };
    plan.add(app::leaked_runtime(runtime))?;
    plan.add(app::client(tear_down(), store))?;
    plan.add(app::sync_service(tear_down(), sync_service))?;
    plan.add(app::request_sender(tear_down(), sender, worker))?;
    plan.leave(0)
}
