//! # 08 · static owner
//!
//! Doing nothing at the end of a process is safe, says the write-up of Robrix's logout, because the
//! system takes everything back (claim B4). Whether that is so depends on what "nothing" means to
//! the place that owns the client:
//!
//! - a **static** is never dropped. No destructor runs, so none can fail. What the client would have
//!   done in its destructor is not done either: the connections are not closed, and the write-ahead
//!   log and its index stay on the disk until somebody opens the database again. Nothing that was
//!   committed is lost by that.
//! - a **thread-local of the main thread** *is* dropped, after `main`, off context, and aborts.
//!
//! What a static leaves behind can only be seen once its process is gone. So that variant runs a
//! second process, whose whole life is to open a store in a static, write rows, and return from
//! `main`; the trial then looks at what it left.

use std::{cell::RefCell, error::Error, process::ExitCode, sync::OnceLock};

use experiments::{CONNECTIONS, each_generation, generation_named, runtime, warm_store};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean},
    Trial, TrialResult, always, control, every, hazard,
};
use mock_sdk::store::{Generation, Room, Store, residue};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("Is it safe to do nothing at the end of the process?")
        .hypothesis(
            "A client in a static is never dropped and harms nothing; it leaves the write-ahead \
             log behind, and no committed row is lost. One in a thread-local of the main thread \
             aborts.",
        )
        .variants(
            each_generation(control, "static", always(Clean), in_a_static)
                .about("the owner is a static; were it dropped, it would abort"),
        )
        .variants(
            each_generation(control, "static-from-outside", always(Clean), static_from_outside)
                .about("the owner is a static of another process, looked at when it has ended"),
        )
        .variants(
            each_generation(hazard, "thread-local", always(Aborted), in_a_thread_local)
                .about("the owner is a thread-local of the main thread"),
        )
        .part("owner", own_in_a_static)
        .claim("B4", "Doing nothing at process exit is safe.")
        .supported_if(
            every("*/static*").is(always(Clean)) & every("*/thread-local").is(always(Clean)),
        )
        .refuted_if(
            !every("*/static*").is(always(Clean)) | every("*/thread-local").is(always(Aborted)),
        )
        .run()
}

/// The client of an application that does nothing at the end, with its runtime.
static CLIENT: OnceLock<(Runtime, Store)> = OnceLock::new();

fn in_a_static(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    let client = warm_store(trial, generation)?;
    CLIENT.set(client).map_err(|_| "the static was taken")?;
    Ok(())
}

fn in_a_thread_local(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    thread_local!(static CLIENT: RefCell<Option<Store>> = const { RefCell::new(None) });

    let (_runtime, store) = warm_store(trial, generation)?;
    CLIENT.set(Some(store));
    Ok(())
}

fn static_from_outside(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    let ended = trial.part("owner")?.arg(generation.word()).status()?;
    trial.check("the second process ended as if nothing was amiss", ended.success());

    let runtime = runtime()?;
    let left = residue(&trial.directory().join("store.sqlite3"))?;
    trial.check("the log is left behind", left.wal_bytes.is_some_and(|bytes| bytes > 0));
    trial.check("and so is its index", left.shm_bytes.is_some());
    trial.record("wal_bytes_left", left.wal_bytes.unwrap_or(0));

    let events = runtime.block_on(async {
        Store::open(trial.directory(), generation, CONNECTIONS).await?.event_count().await
    })?;
    trial.check("every committed row is there", events == EVENTS);
    trial.record("rows_lost", EVENTS.saturating_sub(events));
    Ok(())
}

/// How many rows the second process commits.
const EVENTS: u64 = 50;

/// The second process: opens a store in a static, writes, and returns from `main`.
fn own_in_a_static(arguments: &[String]) -> TrialResult {
    let generation = generation_named(arguments.first().ok_or("which generation?")?)?;
    let runtime = runtime()?;
    let store = runtime.block_on(async {
        let store = Store::open(".", generation, CONNECTIONS).await?;
        store.save_room(Room { id: "!room".to_owned(), name: "A room".to_owned() }).await?;
        for event in 0..EVENTS {
            store.append_event("!room", event.to_string()).await?;
        }
        Ok::<_, Box<dyn Error>>(store)
    })?;
    CLIENT.set((runtime, store)).map_err(|_| "the static was taken")?;
    Ok(())
}
