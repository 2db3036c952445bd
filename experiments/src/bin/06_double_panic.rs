//! # 06 · double panic
//!
//! A panic in a destructor is a panic like any other: it unwinds, and can be caught. But the pool
//! drops *every* idle connection, and unwinding out of the first one's destructor goes on to drop
//! the next, which panics too. A panic that leaves a destructor during unwinding ends the process,
//! whatever waits to catch it: `panic in a destructor during cleanup`, then SIGABRT.
//!
//! So how bad it is depends on how many connections sat idle, and nothing else changes here. Each
//! store is dropped off context inside `catch_unwind`. With one connection the trial goes on
//! afterwards, and opens the store again. With two or more there is no afterwards. A test with a
//! fresh pool of one connection sees a panic that it can live with; a client that has been in use
//! has several, and dies.

use std::{
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use experiments::{
    Scene, control, cure, hazard,
    scene::{ROWS, guarded},
    warm_store_of,
};
use lab::{
    Experiment,
    Outcome::{Aborted, Panicked},
    TrialResult,
};
use mock_sdk::store::Store;
use sundown::evidence::open_files;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Number 13 takes its cures from here.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("Can the panic be caught?")
        .hypothesis("With one idle connection it can. With two or more the process aborts.")
        .variants([
            hazard("*/one", Panicked, caught_off_context(1))
                .about("one idle connection: the panic is caught, and the program goes on"),
            hazard("*/two", Aborted, caught_off_context(2))
                .about("two idle connections: the second panics while the first unwinds"),
            hazard("*/sixteen", Aborted, caught_off_context(16))
                .about("sixteen, as on a machine with many cores"),
            control("*/sixteen-inside", sixteen_inside)
                .about("sixteen, dropped in a context: nothing to catch"),
            cure("*/kit/one", guarded(not_caught(1)))
                .about("one idle connection, and a session's handle: nothing to catch"),
            cure("*/kit/two", guarded(not_caught(2)))
                .about("two idle connections, and a session's handle: nothing to catch"),
            cure("*/kit/sixteen", guarded(not_caught(16)))
                .about("sixteen, and a session's handle: nothing to catch"),
        ])
        .kit_claim(
            "The last handle of a session's store does not panic, with however many connections.",
        )
}

/// Drops a store off context, and says whether that panicked.
fn caught(scene: &Scene<'_>, connections: usize) -> Result<(Runtime, bool), Box<dyn Error>> {
    let (runtime, store) = scene.warm_store_of(connections, ROWS)?;
    let caught = catch_unwind(AssertUnwindSafe(|| drop(store)));
    Ok((runtime, caught.is_err()))
}

fn caught_off_context(connections: usize) -> impl Fn(&Scene<'_>) -> TrialResult + Clone {
    move |scene| {
        let (runtime, panicked) = caught(scene, connections)?;
        let Scene { trial, generation, .. } = *scene;
        trial.check("the drop panicked", panicked);
        trial.record("files_open_after_the_panic", open_files(trial.directory())?.len());
        runtime.block_on(async {
            let reopened = Store::open(trial.directory(), generation, connections).await?;
            reopened.rooms().await?;
            Ok(())
        })
    }
}

fn not_caught(connections: usize) -> impl Fn(&Scene<'_>) -> TrialResult + Clone {
    move |scene| {
        let (_runtime, panicked) = caught(scene, connections)?;
        scene.trial.check("the drop did not panic", !panicked);
        Ok(())
    }
}

fn sixteen_inside(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
    let (runtime, store) = warm_store_of(trial, generation, 16)?;
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _context = runtime.enter();
        drop(store);
    }));
    trial.check("the drop did not panic", caught.is_ok());
    Ok(())
}
