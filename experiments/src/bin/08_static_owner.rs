//! 08 static owner: is it safe to do nothing at the end of the process? A static is never dropped:
//! nothing aborts, and the write-ahead log stays. A thread-local of the main thread is dropped after
//! `main`, and aborts. What a process leaves behind can be seen only when it has ended: some variants
//! run a second one. Page: `docs/src/08-static-owner.md`.

use std::{cell::RefCell, fs, path::Path, sync::OnceLock};

use experiments::{generation_named, prelude::*, scene::commit};
use mock_sdk::store::StoreError;
use sundown::session::Session;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Experiment 13 collects its cures.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("Is it safe to do nothing at the end of the process?")
        .hypothesis(
            "A client in a static is never dropped and harms nothing. It leaves the write-ahead log \
             behind, and whoever reads that loses no committed row. A client in a thread-local of the \
             main thread aborts.",
        )
        .first_expected(
            "The same, and no committed row is lost, whoever reads the database. A copy of the database \
             file without its log has lost them.",
        )
        .variants([
            control("*/static", in_a_static)
                .about("the owner is a static; if it were dropped, it would abort"),
            control("*/static-from-outside", static_from_outside)
                .about("the owner is a static of another process, looked at when it has ended"),
            hazard("*/copied-without-log", Failed, |scene| copied_without_log(scene, "static"))
                .about("the same, but only a copy of the database file is looked at"),
            hazard("*/thread-local", Aborted, in_a_thread_local)
                .about("the owner is a thread-local of the main thread")
                .cured(),
            cure("*/kit/thread-local-from-outside", thread_local_from_outside)
                .about("a session's handle in a thread-local of another process"),
            cure("*/kit/teardown-from-outside", |scene| without_log(scene, "torn-down"))
                .about("a thread-local whose destructor is a teardown, of another process"),
            cure("*/kit/closed-from-outside", |scene| without_log(scene, "closed"))
                .about("another process, which closes its session before main returns"),
            cure("*/kit/copied-without-log", |scene| copied_without_log(scene, "closed"))
                .about("the same, but only a copy of the database file is looked at"),
        ])
        .part("owner", own)
        .claim("B4a", "Doing nothing at process exit is safe for a client in a static.")
        .supported_if(every("*/static*").is(Clean))
        .refuted_if(!every("*/static*").is(Clean))
        .finding(
            "B4c",
            "Doing nothing at process exit is not safe if a thread-local of the main thread still holds \
             the client.",
        )
        .supported_if(every("*/thread-local").is(Aborted))
        .refuted_if(every("*/thread-local").is(Clean))
        .kit_claim(
            "A session's handle in a thread-local harms nothing. The log is gone where the \
             session was closed before the end, or where the thread-local tears its store down.",
        )
}

/// The client of an application that does nothing at the end, with its runtime.
static CLIENT: OnceLock<(Runtime, Protected<Store>)> = OnceLock::new();

fn in_a_static(scene: &Scene<'_>) -> TrialResult {
    CLIENT.set(scene.warm_store()?).map_err(|_| "the static was taken")?;
    Ok(())
}

thread_local!(static LOCAL: RefCell<Option<Protected<Store>>> = const { RefCell::new(None) });

fn in_a_thread_local(scene: &Scene<'_>) -> TrialResult {
    let (_runtime, store) = scene.warm_store()?;
    LOCAL.set(Some(store));
    scene.leaves_it_to_exit();
    Ok(())
}

fn static_from_outside(scene: &Scene<'_>) -> TrialResult {
    leave_in_another_process(scene, "static")?;
    let left = scene.residue()?;
    scene.check("the log is left behind", left.wal_bytes.is_some_and(|bytes| bytes > 0));
    scene.check("and so is its index", left.shm_bytes.is_some());
    scene.record("wal_bytes_left", left.wal_bytes.unwrap_or(0));
    every_row_is_there(scene, scene.directory())
}

/// The end of the process overtakes the threads of the session at any point, so a log may be left.
fn thread_local_from_outside(scene: &Scene<'_>) -> TrialResult {
    leave_in_another_process(scene, "guarded")?;
    let left = scene.residue()?;
    scene.record("wal_left", left.wal_bytes.is_some());
    every_row_is_there(scene, scene.directory())
}

fn without_log(scene: &Scene<'_>, place: &str) -> TrialResult {
    leave_in_another_process(scene, place)?;
    scene.no_log_is_left()?;
    every_row_is_there(scene, scene.directory())
}

/// A backup by a program that does not know of the log.
fn copied_without_log(scene: &Scene<'_>, place: &str) -> TrialResult {
    leave_in_another_process(scene, place)?;
    let copy = scene.directory().join("copy");
    fs::create_dir(&copy)?;
    fs::copy(scene.database(), copy.join("store.sqlite3"))?;
    every_row_is_there(scene, &copy)
}

fn leave_in_another_process(scene: &Scene<'_>, place: &str) -> TrialResult {
    let ended = scene.part("owner")?.args([scene.generation.word(), place]).status()?;
    scene.check("the second process ended normally", ended.success());
    Ok(())
}

fn every_row_is_there(scene: &Scene<'_>, directory: &Path) -> TrialResult {
    let events = runtime()?.block_on(async {
        Store::open(directory, scene.generation, CONNECTIONS).await?.event_count().await
    })?;
    scene.check("every committed row is there", events == EVENTS);
    scene.record("rows_lost", EVENTS.saturating_sub(events));
    Ok(())
}

/// How many rows the second process commits.
const EVENTS: u64 = 50;

/// The second process: opens a store, writes, leaves it somewhere, and returns from `main`.
pub fn own(arguments: &[String]) -> TrialResult {
    let [generation, place] = arguments else { return Err("which generation, and where?".into()) };
    let generation = generation_named(generation)?;
    let runtime = runtime()?;
    let store = runtime.block_on(async {
        let store = Store::open(".", generation, CONNECTIONS).await?;
        commit(&store, EVENTS).await?;
        Ok::<_, StoreError>(store)
    })?;
    match place.as_str() {
        "static" => {
            let client = (runtime, Protected::Bare(store));
            CLIENT.set(client).map_err(|_| "the static was taken")?;
        }
        "torn-down" => LOCAL.set(Some(Protected::torn_down(store))),
        // The session is not closed. It warns of that, and nothing more can be done.
        "guarded" => LOCAL.set(Some(Protected::Guarded(Session::new("client")?.guard(store)?))),
        "closed" => {
            let session = Session::new("client")?;
            drop(session.guard(store)?);
            let _ = session.close_blocking(PLENTY)?;
        }
        _ => return Err("where?".into()),
    }
    Ok(())
}
