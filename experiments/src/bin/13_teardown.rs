//! 13 teardown: is there a place where the kit does not help? The cures of 01–12 stand here together,
//! beside some of their hazards, and then the owners that a session cannot see. Nothing is written
//! twice: the variants are those of 01–12, taken from their files. Page: `docs/src/13-teardown.md`.

use std::{future::pending, time::Instant};

use experiments::prelude::*;
use lab::Role;
use mock_sdk::store::StoreError;
use sundown::{
    evidence::{Unconfirmed, no_open_files},
    runtime::RuntimeOwner,
    session::{CloseError, CloseErrorKind, Confirmation, Session},
    teardown::teardown_blocking,
};
use tokio::runtime::Handle;

/// An experiment, and which of its variants are taken from it besides its cures.
type Place = (fn() -> Experiment, &'static [&'static str]);

/// Each file is a binary too, whose `main` nobody calls here.
macro_rules! places {
    ($($file:literal $name:ident $uncured:expr,)*) => {
        #[expect(dead_code, reason = "the `main`s")]
        #[path = "."]
        mod context {
            $(#[path = $file] pub mod $name;)*
        }

        const PLACES: &[Place] = &[$((context::$name::experiment, &$uncured)),*];
    };
}

places! {
    // Where it panics: on a thread that has no context, whatever the runtime does.
    "01_drop_context.rs" drop_context ["outside-alive", "outside-down", "inside-alive"],
    "02_destruction_order.rs" destruction_order [],
    "03_sleep_duration.rs" sleep_duration [],
    // Which owner panics: the one that happens to be last.
    "04_last_owner.rs" last_owner ["finished-task"],
    "05_oneshot_confirm.rs" oneshot_confirm [],
    "06_double_panic.rs" double_panic [],
    // When: even after `main`, where nothing can be entered or caught.
    "07_thread_local.rs" thread_local ["enter-in-drop/touched-first"],
    "08_static_owner.rs" static_owner ["copied-without-log"],
    // What fails without any drop off context: work that outlives its runtime, a runtime dropped
    // where one must not wait, uses that come too late.
    "09_shutdown_methods.rs" shutdown_methods ["background"],
    "10_runtime_in_async.rs" runtime_in_async ["field-of-a-client"],
    "11_cancelled_interact.rs" cancelled_interact ["opening"],
    // What is left on the disk when nothing went wrong.
    "12_wal_residue.rs" wal_residue ["side-by-side"],
}

/// How often each cure is tried here. The experiment that it is from tries it too.
const TRIALS: u32 = 5;

/// Time enough for a session to ask its evidence, and no more.
const TOO_SHORT: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Is there a place where the kit does not help?")
        .hypothesis(
            "In every situation of 01–12 in which a client fails, one that is guarded by a \
             session, or torn down by the kit, does not: nothing panics, and when the kit says \
             that it is over no file is open, no log is left, and no row is lost. Owners that a \
             session does not see it finds by evidence, or ends with a runtime of its own; \
             without either it rests on its handles, and says so.",
        )
        .first_expected(
            "In every situation of 01–12 in which a client fails, one that is guarded by a session, or \
             torn down by the kit, does not: nothing panics, and when the kit says that it is over no file \
             is open, no log is left, and no row is lost. Of owners that a session does not see it said \
             nothing.",
        )
        .variants(PLACES.iter().flat_map(|(of, uncured)| taken(of(), uncured)))
        .variants([
            hazard("*/escaped-clone", Failed, escaped_unseen).about(
                "a clone taken out of a handle: the session closes, and says on what it rests",
            ),
            cure("*/escaped-clone/evidence", escaped_with_evidence)
                .about("the same with evidence: an error, until the clone is torn down"),
            hazard("*/internal-task", Failed, task_unseen)
                .about("a task of the client's own holds a clone: the session closes all the same"),
            cure("*/internal-task/own-runtime", task_on_the_sessions_runtime)
                .about("the same on a runtime of the session's: it goes down with it"),
        ])
        .part("owner", context::static_owner::own)
        .run()
}

/// The variants taken from an experiment, under its number. Its long waits are left out.
fn taken(experiment: Experiment, uncured: &[&str]) -> Vec<Variant> {
    let id = experiment.id().to_owned();
    let (cures, others): (Vec<_>, Vec<_>) =
        experiment.into_variants().into_iter().partition(|it| it.role() == Role::Cure);
    let is_taken = |variant: &Variant| match variant.name().split_once('/') {
        Some((_generation, name)) => uncured.contains(&name),
        None => false,
    };
    let uncured = others
        .into_iter()
        .filter(is_taken)
        .map(|variant| variant.renamed(|name| format!("uncured/{id}/{name}")));
    let cured = cures.into_iter().filter(|cure| !cure.name().ends_with("/1s")).map(|cure| {
        cure.renamed(|name| format!("{id}/{}", name.replace("kit/", ""))).trials(TRIALS)
    });
    uncured.chain(cured).collect()
}

/// Somebody calls `clone` on the store and not on its handle. Nothing tells the session.
fn escaped_unseen(scene: &Scene<'_>) -> TrialResult {
    let session = Session::new("client")?;
    let (_runtime, store) = scene.unprotected_store()?;
    let handle = session.guard(store)?;
    let escaped = Store::clone(&handle);
    drop(handle);

    closed(scene, &session, Confirmation::HandlesOnly)?;
    scene.no_file_is_open()?;
    teardown_blocking(escaped, PLENTY)?;
    Ok(())
}

fn escaped_with_evidence(scene: &Scene<'_>) -> TrialResult {
    let evidence = no_open_files(scene.directory());
    let session = Session::builder("client").evidence(evidence).start()?;
    let (_runtime, store) = scene.unprotected_store()?;
    let handle = session.guard(store)?;
    let escaped = Store::clone(&handle);
    drop(handle);

    scene.check("the evidence speaks against it", evidence_is_against(&session));
    teardown_blocking(escaped, PLENTY)?;
    closed(scene, &session, Confirmation::Evidence)?;
    scene.no_file_is_open()
}

/// Whether the session does not close because its evidence speaks against it. On a slow machine it may
/// not have been asked within the limit, and is asked again.
fn evidence_is_against(session: &Session) -> bool {
    let began = Instant::now();
    loop {
        match session.close_blocking(TOO_SHORT) {
            Err(CloseError { kind: CloseErrorKind::Unconfirmed(why), .. })
                if matches!(*why, Unconfirmed::Against(_)) =>
            {
                return true;
            }
            Err(_) if began.elapsed() < PLENTY => {}
            _ => return false,
        }
    }
}

/// What real clients do: a task of their own has a clone of the store for as long as it runs.
fn start_a_task(runtime: &Handle, store: &Store) {
    let own = store.clone();
    runtime.spawn(async move {
        let _own = own;
        pending::<()>().await;
    });
}

fn task_unseen(scene: &Scene<'_>) -> TrialResult {
    let session = Session::new("client")?;
    let (runtime, store) = scene.unprotected_store()?;
    start_a_task(runtime.handle(), &store);
    drop(session.guard(store)?);

    closed(scene, &session, Confirmation::HandlesOnly)?;
    scene.no_file_is_open()
}

fn task_on_the_sessions_runtime(scene: &Scene<'_>) -> TrialResult {
    // Nothing stops the client's task, and it never ends by itself.
    let soon = Duration::from_millis(100);
    let owner = RuntimeOwner::builder("client").workers(2).foreign_time(soon).start()?;
    let session = Session::builder("client").runtime(owner.clone()).start()?;
    let store = owner.block_on(async {
        let store = Store::open(scene.directory(), scene.generation, CONNECTIONS).await?;
        scene.commit(&store, ROWS).await?;
        Ok::<_, StoreError>(store)
    })??;
    start_a_task(&owner.handle()?, &store);
    drop(session.guard(store)?);

    closed(scene, &session, Confirmation::OwnRuntime)?;
    scene.no_file_is_open()?;
    // Its runtime has closed the connections, side by side: the log may be left (experiment 12).
    scene.record("wal_left", scene.residue()?.wal_bytes.is_some());
    scene.no_row_is_lost()
}

/// Closes a session, and checks that the answer rests on what it should.
fn closed(scene: &Scene<'_>, session: &Session, on: Confirmation) -> TrialResult {
    let rests_on = session.close_blocking(PLENTY)?.confirmation;
    scene.record("rests_on", format!("{rests_on:?}"));
    scene.check("the answer rests on what it should", rests_on == on);
    Ok(())
}
