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
//! The store has been busy: each connection has run a query at the same time as all the others, and
//! there are rows that are only in the log. Then it is dropped
//!
//! - **`side-by-side`** in the context of its own runtime, whose blocking threads, one for each of
//!   those queries, take one connection each;
//! - **`one-after-another`** in the context of a runtime with a single blocking thread;
//! - **`inline`** in the context of a runtime that is shut down, where the dropping thread itself
//!   closes each.
//!
//! Every variant waits until all is closed, and only then looks.
//!
//! Why the race has 150 trials: run 400 times on two cores, it left the log 270 times in the old
//! generation and 265 times in the current one while they were otherwise idle (95 % interval
//! 62…72 %), and 234 and 224 times beside two busy loops (51…63 %). The least that was seen is 33 of
//! 200 (12…22 %), beside six busy loops and a compiler; and with its files in memory, beside as much
//! and more, 61 of 200 by itself, and 14 of 100 (9…22 %) among the waiting trials of experiment 13. With
//! 150 trials, a run that misses it is a one-in-a-million event even if the rate is as low as 9 %.

use std::{
    error::Error,
    process::ExitCode,
    sync::{Arc, Barrier},
};

use experiments::{
    Scene, control, cure, hazard,
    scene::{Kept, guarded, torn_down},
};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    TrialResult, seen,
};
use mock_sdk::store::{Store, rusqlite::Connection};
use tokio::runtime::{Builder, Runtime};

/// What the SDK allows on eight physical cores: four connections for each.
const CONNECTIONS: usize = 32;

/// How many rows are only in the log.
const EVENTS: u64 = 100;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Number 13 takes its cures from here.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("Is the write-ahead log gone when every connection of a pool is closed?")
        .hypothesis(
            "Not always where connections are closed side by side; always where they are closed \
             one after another. No row is lost either way.",
        )
        .variants([
            hazard("*/side-by-side", seen(Failed).allowing([Clean]), |scene| {
                side_by_side(scene)?;
                scene.no_log_is_left()
            })
            .about("32 connections, closed on as many blocking threads")
            .trials(150),
            control("*/side-by-side-rows", |scene| {
                side_by_side(scene)?;
                scene.no_row_is_lost()
            })
            .about("the same, but only lost rows count against it"),
            control("*/one-after-another", |scene| {
                one_after_another(scene)?;
                scene.no_log_is_left()?;
                scene.no_row_is_lost()
            })
            .about("32 connections, closed on a single blocking thread"),
            control("*/inline", |scene| {
                inline(scene)?;
                scene.no_log_is_left()?;
                scene.no_row_is_lost()
            })
            .about("32 connections, closed by the thread that drops them"),
            cure("*/kit/side-by-side", guarded(side_by_side))
                .about("32 connections, dropped in the same place: a session's handle"),
            cure("*/kit/side-by-side-teardown", torn_down(side_by_side))
                .about("32 connections, and a teardown in the place of the drop"),
        ])
        .kit_claim("The kit closes them one after another, and leaves no log.")
}

fn side_by_side(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = busy_store(scene)?;
    let context = runtime.enter();
    drop(store);
    drop(context);
    drop(runtime);
    Ok(())
}

fn one_after_another(scene: &Scene<'_>) -> TrialResult {
    let (_runtime, store) = busy_store(scene)?;
    let one = Builder::new_current_thread().max_blocking_threads(1).build()?;
    let context = one.enter();
    drop(store);
    drop(context);
    drop(one);
    Ok(())
}

fn inline(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = busy_store(scene)?;
    let handle = runtime.handle().clone();
    drop(runtime);
    let _context = handle.enter();
    drop(store);
    Ok(())
}

/// A store with rows in its log, each of whose connections has just run a query, all at once.
fn busy_store(scene: &Scene<'_>) -> Result<(Runtime, Kept<Store>), Box<dyn Error>> {
    let (runtime, store) = scene.warm_store_of(CONNECTIONS, EVENTS)?;
    runtime.block_on(async {
        let all_at_once = Arc::new(Barrier::new(CONNECTIONS));
        let queries: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let (store, all_at_once) = (store.clone(), Arc::clone(&all_at_once));
                tokio::spawn(async move {
                    let query = move |connection: &mut Connection| {
                        all_at_once.wait();
                        connection.query_row("SELECT count(*) FROM rooms", [], |_| Ok(()))
                    };
                    store.interact("count the rooms in", query).await
                })
            })
            .collect();
        for query in queries {
            query.await??;
        }
        Ok::<_, Box<dyn Error>>(())
    })?;
    Ok((runtime, store))
}
