//! # 13 · teardown
//!
//! Twelve experiments have taken a client to places where it cannot be dropped: off context, behind
//! the wrong guard, after any wait, in a result that nobody fetched, in a thread-local, at the end of
//! the process, beside work that still runs, inside async code, side by side. Each of them ran its
//! hazards once more with the kit. Here those are put together, all of them, to ask one thing: is
//! there a place left where it does not help?
//!
//! Nothing is written twice. The variants *are* those of 01–12, taken from their source; only the long
//! waits of 03 are left out. `01/old/outside-alive` is the cure of `old/outside-alive` in experiment
//! 01: the same function, with the store in the hands of the kit. It is clean where nothing panicked,
//! and where the trial saw, from outside and after the kit had said that it was over, that no file of
//! the store was open, no log left, and no committed row lost.
//!
//! Some variants run beside them as they are, `uncured/…`: a hazard of each kind, so that a zero means
//! something, and the control of the first. And in the end those that are the kit's own: owners that a
//! session does not see, with and without the means that it has against them.

#[expect(dead_code, reason = "what is an experiment of its own has a main of its own")]
#[path = "01_drop_context.rs"]
mod drop_context;

#[expect(dead_code, reason = "as above")]
#[path = "02_destruction_order.rs"]
mod destruction_order;

#[expect(dead_code, reason = "as above")]
#[path = "03_sleep_duration.rs"]
mod sleep_duration;

#[expect(dead_code, reason = "as above")]
#[path = "04_last_owner.rs"]
mod last_owner;

#[expect(dead_code, reason = "as above")]
#[path = "05_oneshot_confirm.rs"]
mod oneshot_confirm;

#[expect(dead_code, reason = "as above")]
#[path = "06_double_panic.rs"]
mod double_panic;

#[expect(dead_code, reason = "as above")]
#[path = "07_thread_local.rs"]
mod thread_local;

#[expect(dead_code, reason = "as above")]
#[path = "08_static_owner.rs"]
mod static_owner;

#[expect(dead_code, reason = "as above")]
#[path = "09_shutdown_methods.rs"]
mod shutdown_methods;

#[expect(dead_code, reason = "as above")]
#[path = "10_runtime_in_async.rs"]
mod runtime_in_async;

#[expect(dead_code, reason = "as above")]
#[path = "11_cancelled_interact.rs"]
mod cancelled_interact;

#[expect(dead_code, reason = "as above")]
#[path = "12_wal_residue.rs"]
mod wal_residue;

use std::{
    future::pending,
    process::ExitCode,
    time::{Duration, Instant},
};

use experiments::{
    CONNECTIONS, Scene, cure, hazard,
    scene::{LIMIT, ROWS},
    warm_store,
};
use lab::{Experiment, Outcome::Failed, Role, Trial, TrialResult, Variant};
use mock_sdk::store::{Store, StoreError, residue};
use sundown::{
    evidence::{Unconfirmed, no_open_files, open_files},
    runtime::RuntimeOwner,
    session::{CloseError, CloseErrorKind, Confirmation, Session},
    teardown::teardown_blocking,
};
use tokio::runtime::Handle;

/// How often each cure is tried here, unless told otherwise. The experiment that it is from tries it,
/// too.
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
        // Where it panics: on a thread that has no context, whatever the runtime does.
        .variants(uncured(
            "01",
            drop_context::experiment(),
            &["outside-alive", "outside-down", "inside-alive"],
        ))
        .variants(cured("01", drop_context::experiment()))
        .variants(cured("02", destruction_order::experiment()))
        .variants(cured("03", sleep_duration::experiment()))
        // Who panics: whoever happens to be last.
        .variants(uncured("04", last_owner::experiment(), &["finished-task"]))
        .variants(cured("04", last_owner::experiment()))
        .variants(cured("05", oneshot_confirm::experiment()))
        .variants(cured("06", double_panic::experiment()))
        // When: after `main`, too, where nothing can be entered or caught.
        .variants(uncured("07", thread_local::experiment(), &["enter-in-drop/touched-first"]))
        .variants(cured("07", thread_local::experiment()))
        .variants(uncured("08", static_owner::experiment(), &["copied-without-log"]))
        .variants(cured("08", static_owner::experiment()))
        .part("owner", static_owner::own)
        // What goes wrong without any drop off context: work that outlives its runtime, a runtime
        // that is dropped where one must not wait, uses that come too late.
        .variants(uncured("09", shutdown_methods::experiment(), &["background"]))
        .variants(cured("09", shutdown_methods::experiment()))
        .variants(uncured("10", runtime_in_async::experiment(), &["field-of-a-client"]))
        .variants(cured("10", runtime_in_async::experiment()))
        .variants(uncured("11", cancelled_interact::experiment(), &["opening"]))
        .variants(cured("11", cancelled_interact::experiment()))
        // And what is left on the disk when nothing went wrong.
        .variants(uncured("12", wal_residue::experiment(), &["side-by-side"]))
        .variants(cured("12", wal_residue::experiment()))
        // What a session cannot see: a clone that nobody took through it.
        .variants([
            hazard("*/escaped-clone", Failed, escaped_unseen).about(
                "a clone taken out of a handle: the session closes, and says on what it \
                     rests",
            ),
            cure("*/escaped-clone/evidence", escaped_with_evidence)
                .about("the same with evidence: an error, until the clone is torn down"),
            hazard("*/internal-task", Failed, task_unseen)
                .about("a task of the client's own holds a clone: the session closes all the same"),
            cure("*/internal-task/own-runtime", task_on_the_sessions_runtime)
                .about("the same on a runtime of the session's: it goes down with it"),
        ])
        .run()
}

/// Somebody calls `clone` on the store and not on its handle. Nothing tells the session.
fn escaped_unseen(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
    let session = Session::new("client")?;
    let (_runtime, store) = warm_store(trial, generation)?;
    let handle = session.guard(store)?;
    let escaped = Store::clone(&handle);
    drop(handle);

    closed(trial, &session, Confirmation::HandlesOnly)?;
    no_file_is_open(trial)?;
    teardown_blocking(escaped, LIMIT)?;
    Ok(())
}

fn escaped_with_evidence(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
    let evidence = no_open_files(trial.directory());
    let session = Session::builder("client").evidence(evidence).start()?;
    let (_runtime, store) = warm_store(trial, generation)?;
    let handle = session.guard(store)?;
    let escaped = Store::clone(&handle);
    drop(handle);

    trial.check("the evidence speaks against it", evidence_is_against(&session));
    teardown_blocking(escaped, LIMIT)?;
    closed(trial, &session, Confirmation::Evidence)?;
    no_file_is_open(trial)
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
            Err(_) if began.elapsed() < LIMIT => {}
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
    let Scene { trial, generation, .. } = *scene;
    let session = Session::new("client")?;
    let (runtime, store) = warm_store(trial, generation)?;
    start_a_task(runtime.handle(), &store);
    drop(session.guard(store)?);

    closed(trial, &session, Confirmation::HandlesOnly)?;
    no_file_is_open(trial)
}

fn task_on_the_sessions_runtime(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
    let owner = RuntimeOwner::builder("client").workers(2).start()?;
    let session = Session::builder("client").runtime(owner.clone()).start()?;
    let store = owner.block_on(async {
        let store = Store::open(trial.directory(), generation, CONNECTIONS).await?;
        scene.commit(&store, ROWS).await?;
        Ok::<_, StoreError>(store)
    })??;
    start_a_task(&owner.handle()?, &store);
    drop(session.guard(store)?);

    closed(trial, &session, Confirmation::OwnRuntime)?;
    no_file_is_open(trial)?;
    // Its runtime has closed the connections, side by side: the log may be left (experiment 12).
    let database = trial.directory().join("store.sqlite3");
    trial.record("wal_left", residue(&database)?.wal_bytes.is_some());
    scene.no_row_is_lost()
}

/// Closes a session, and checks that the answer rests on what it should.
fn closed(trial: &Trial<'_>, session: &Session, on: Confirmation) -> TrialResult {
    let rests_on = session.close_blocking(LIMIT)?.confirmation;
    trial.record("rests_on", format!("{rests_on:?}"));
    trial.check("the answer rests on what it should", rests_on == on);
    Ok(())
}

fn no_file_is_open(trial: &Trial<'_>) -> TrialResult {
    let files_open = open_files(trial.directory())?.len();
    trial.record("files_open", files_open);
    trial.check("no file is open any more", files_open == 0);
    Ok(())
}

/// The cures of an experiment, under its number.
fn cured(id: &str, experiment: Experiment) -> impl Iterator<Item = Variant> {
    let cures = experiment.into_variants().into_iter();
    cures.filter(|variant| variant.role() == Role::Cure && !variant.name().ends_with("/1s")).map(
        move |cure| {
            let name = format!("{id}/{}", cure.name().replace("kit/", ""));
            cure.named(name).trials(TRIALS)
        },
    )
}

/// Some variants of an experiment that do without the kit, under its number.
fn uncured(
    id: &str,
    experiment: Experiment,
    names: &'static [&str],
) -> impl Iterator<Item = Variant> {
    let variants = experiment.into_variants().into_iter();
    variants
        .filter(move |variant| {
            let name = variant.name().split_once('/').map_or("", |(_generation, name)| name);
            variant.role() != Role::Cure && names.contains(&name)
        })
        .map(move |variant| {
            let name = format!("uncured/{id}/{}", variant.name());
            variant.named(name)
        })
}
