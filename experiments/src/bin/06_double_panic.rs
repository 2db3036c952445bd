//! 06 double panic: can the panic be caught? With one idle connection it can. With two or more,
//! unwinding out of the first destructor runs the second, which panics too, and the process aborts.
//! Page: `docs/src/06-double-panic.md`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use experiments::prelude::*;
use sundown::evidence::open_files;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Experiment 13 collects its cures.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("Can the panic be caught?")
        .hypothesis("With one idle connection it can. With two or more the process aborts.")
        .variants([
            hazard("*/one", Panicked, |scene| caught_off_context(scene, 1))
                .about("one idle connection")
                .cured(),
            hazard("*/two", Aborted, |scene| caught_off_context(scene, 2))
                .about("two idle connections")
                .cured(),
            hazard("*/sixteen", Aborted, |scene| caught_off_context(scene, 16))
                .about("sixteen idle connections, as on a machine with many cores")
                .cured(),
            control("*/sixteen-inside", sixteen_inside)
                .about("sixteen, dropped in a context: nothing to catch"),
        ])
        .kit_claim(
            "The last handle of a session's store does not panic, with however many connections.",
        )
}

/// Drops a store off context. If that panics the program goes on, and the store can be opened again.
fn caught_off_context(scene: &Scene<'_>, connections: usize) -> TrialResult {
    let (runtime, store) = scene.warm_store_of(connections, ROWS)?;
    let panicked = catch_unwind(AssertUnwindSafe(|| drop(store))).is_err();
    if scene.is_cured() {
        scene.check("the drop did not panic", !panicked);
        return Ok(());
    }
    scene.check("the drop panicked", panicked);
    scene.record("files_open_after_the_panic", open_files(scene.directory())?.len());
    runtime.block_on(async {
        let reopened = Store::open(scene.directory(), scene.generation, connections).await?;
        reopened.rooms().await?;
        Ok(())
    })
}

fn sixteen_inside(scene: &Scene<'_>) -> TrialResult {
    let (runtime, store) = scene.warm_store_of(16, ROWS)?;
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _context = runtime.enter();
        drop(store);
    }));
    scene.check("the drop did not panic", caught.is_ok());
    Ok(())
}
