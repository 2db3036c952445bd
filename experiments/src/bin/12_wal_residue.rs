//! # 12 · wal residue
//!
//! SQLite's write-ahead log is meant to be gone when a database is closed: the *last* connection to
//! close writes it back into the database and removes it. Which one is the last, SQLite finds out by
//! taking a lock that none of the others may hold. A pool that is dropped in context posts one
//! closing per connection to the blocking threads, and as many threads close them side by side.
//! Each finds another that is not quite gone, none of them is the last, and the log stays: with its
//! `-wal` and `-shm` beside a database that nobody has open.
//!
//! No committed row is lost; the next program to open the database reads the log. But "closed" is
//! then not what one takes it for, by a program that copies the database file, say, or by one that
//! deletes it and leaves a log behind that belongs to nothing.
//!
//! Sixteen connections hold rows that are only in the log. They are dropped
//!
//! - **`side-by-side`**: in the context of a runtime with as many blocking threads as it wants;
//! - **`one-after-another`**: in the context of a runtime with a single blocking thread;
//! - **`inline`**: in the context of a runtime that is shut down, where the dropping thread itself
//!   closes each.
//!
//! Every variant waits until all is closed, and only then looks.

use std::process::ExitCode;

use experiments::{each_generation, runtime, warm_store_of};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    Trial, TrialResult, always, control, hazard, seen,
};
use mock_sdk::store::{Generation, Room, Store, StoreError, residue};
use sundown::evidence::open_files;
use tokio::runtime::{Builder, Runtime};

const CONNECTIONS: usize = 16;
const EVENTS: u64 = 100;

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("Is the write-ahead log gone when every connection of a pool is closed?")
        .hypothesis(
            "Not where connections are closed side by side. Closed one after another, always. No \
             row is lost either way.",
        )
        .variants(
            each_generation(
                hazard,
                "side-by-side",
                seen(Failed).allowing([Clean]),
                |trial, generation| close_in(trial, generation, runtime()?),
            )
            .about("16 connections, closed on as many blocking threads as there are free"),
        )
        .variants(
            each_generation(control, "one-after-another", always(Clean), |trial, generation| {
                let one = Builder::new_current_thread().max_blocking_threads(1).build()?;
                close_in(trial, generation, one)
            })
            .about("16 connections, closed on a single blocking thread"),
        )
        .variants(
            each_generation(control, "inline", always(Clean), inline)
                .about("16 connections, closed by the thread that drops them"),
        )
        .run()
}

/// Drops a store in the context of a runtime, and waits with that runtime until all is closed.
fn close_in(trial: &Trial<'_>, generation: Generation, closing: Runtime) -> TrialResult {
    let (_own, store) = store_with_rows(trial, generation)?;
    let context = closing.enter();
    drop(store);
    drop(context);
    drop(closing);
    look_after(trial, generation)
}

fn inline(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    let (own, store) = store_with_rows(trial, generation)?;
    let handle = own.handle().clone();
    own.shutdown_background();
    let context = handle.enter();
    drop(store);
    drop(context);
    look_after(trial, generation)
}

fn store_with_rows(
    trial: &Trial<'_>,
    generation: Generation,
) -> Result<(Runtime, Store), Box<dyn std::error::Error>> {
    let (runtime, store) = warm_store_of(trial, generation, CONNECTIONS)?;
    runtime.block_on(async {
        store.save_room(Room { id: "!room".to_owned(), name: "A room".to_owned() }).await?;
        for event in 0..EVENTS {
            store.append_event("!room", event.to_string()).await?;
        }
        Ok::<_, StoreError>(())
    })?;
    Ok((runtime, store))
}

fn look_after(trial: &Trial<'_>, generation: Generation) -> TrialResult {
    let files_open = open_files(trial.directory())?.len();
    trial.record("files_open", files_open);
    if files_open > 0 {
        return Err("a connection is still open, so that nothing can be said of the log".into());
    }
    let left = residue(&trial.directory().join("store.sqlite3"))?;
    trial.record("wal_left", left.wal_bytes.is_some());
    trial.check("no log is left behind", left.is_none());

    let reading = runtime()?;
    let events = reading.block_on(async {
        Store::open(trial.directory(), generation, 1).await?.event_count().await
    })?;
    trial.record("rows_lost", EVENTS.saturating_sub(events));
    Ok(())
}
