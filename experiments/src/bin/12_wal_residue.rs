//! 12 wal residue: is the write-ahead log gone when every connection of a pool is closed? Not always,
//! if they close side by side: each finds another still open, so none is the last. Always, if they
//! close one after another. No row is lost. The page says why the race has 150 trials. Page:
//! `docs/src/12-wal-residue.md`.

use std::sync::Barrier;

use experiments::prelude::*;
use mock_sdk::store::rusqlite::Connection;
use tokio::runtime::Builder;

/// What the SDK allows on eight physical cores: four connections for each.
const CONNECTIONS: usize = 32;

/// How many rows are only in the log.
const EVENTS: u64 = 100;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Experiment 13 collects its cures.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("Is the write-ahead log gone when every connection of a pool is closed?")
        .hypothesis(
            "Not always if connections are closed side by side; always if they are closed one after \
             another. No row is lost either way.",
        )
        .first_expected(
            "Not if connections are closed side by side; always if they are closed one after another. No \
             row is lost either way.",
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
            control("*/one-after-another", one_after_another)
                .about("32 connections, closed on a single blocking thread"),
            control("*/inline", inline)
                .about("32 connections, closed by the thread that drops them"),
            cure("*/kit/side-by-side", guarded(side_by_side))
                .about("32 connections, dropped in the same place: a session's handle"),
            cure("*/kit/side-by-side-teardown", with_teardown(side_by_side))
                .about("32 connections, and a teardown instead of the drop"),
        ])
        .kit_claim("The kit closes them one after another, and leaves no log.")
}

/// Dropping the runtime waits until all is closed.
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
    scene.no_log_is_left()?;
    scene.no_row_is_lost()
}

fn inline(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = busy_store(scene)?;
    let handle = runtime.handle().clone();
    drop(runtime);
    let _context = handle.enter();
    drop(store);
    scene.no_log_is_left()?;
    scene.no_row_is_lost()
}

/// A store with rows in its log. All its connections have just run a query at the same time, so the
/// runtime has a blocking thread for each.
fn busy_store(scene: &Scene<'_>) -> TrialResult<(Runtime, Protected<Store>)> {
    let (runtime, store) = scene.warm_store_of(CONNECTIONS, EVENTS)?;
    let all_at_once = Arc::new(Barrier::new(CONNECTIONS));
    let mut queries = Vec::new();
    for _ in 0..CONNECTIONS {
        let (store, all_at_once) = (store.clone(), Arc::clone(&all_at_once));
        queries.push(runtime.spawn(async move {
            let query = move |connection: &mut Connection| {
                all_at_once.wait();
                connection.query_row("SELECT count(*) FROM rooms", [], |_| Ok(()))
            };
            store.interact("count the rooms in", query).await
        }));
    }
    for query in queries {
        runtime.block_on(query)??;
    }
    Ok((runtime, store))
}
