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
//! What is left behind can only be seen once its process is gone. So some variants run a second
//! process, whose whole life is to open a store, write rows, leave the store somewhere, and return
//! from `main`; the trial then looks at what it left.
//!
//! That no committed row is lost has a condition: the log stays with the database. Who copies the
//! database file alone (`copied-without-log`), as a backup might, loses what is only in the log.
//!
//! The kit does not get the last word at the end of a process. A session's handle in a thread-local
//! harms nothing: it hands the store to threads which the process no longer waits for, and mostly
//! the log stays, as with a static. To have it gone, close the session before `main` returns, or
//! have the thread-local tear its store down, which waits.

use std::{
    cell::RefCell,
    error::Error,
    fs,
    path::Path,
    process::ExitCode,
    sync::{Mutex, OnceLock, PoisonError},
};

use experiments::{
    CONNECTIONS, Scene, control, cure, generation_named, hazard, runtime,
    scene::{Kept, LIMIT, guarded_at_exit},
    warm_store,
};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean, Failed},
    Trial, TrialResult, every,
};
use mock_sdk::store::{Generation, Room, Store, residue};
use sundown::session::Session;
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    experiment().run()
}

/// The experiment. Number 13 takes its cures from here.
pub fn experiment() -> Experiment {
    Experiment::new(file!())
        .question("Is it safe to do nothing at the end of the process?")
        .hypothesis(
            "A client in a static is never dropped and harms nothing; it leaves the write-ahead \
             log behind, and no committed row is lost to those who read that. One in a \
             thread-local of the main thread aborts.",
        )
        .variants([
            control("*/static", in_a_static)
                .about("the owner is a static; were it dropped, it would abort"),
            control("*/static-from-outside", |scene| {
                from_outside(scene, scene.generation, Place::Static)
            })
            .about("the owner is a static of another process, looked at when it has ended"),
            hazard("*/copied-without-log", Failed, |scene| {
                copied_without_log(scene, scene.generation, Place::Static)
            })
            .about("the same, but it is a copy of the database file alone that is looked at"),
            hazard("*/thread-local", Aborted, in_a_thread_local)
                .about("the owner is a thread-local of the main thread"),
            cure("*/kit/thread-local", guarded_at_exit(in_a_thread_local))
                .about("a session's handle in a thread-local of the main thread"),
            cure("*/kit/thread-local-from-outside", |scene| {
                from_outside(scene, scene.generation, Place::Guarded)
            })
            .about("the same in another process, looked at when it has ended"),
            cure("*/kit/teardown-from-outside", |scene| {
                from_outside(scene, scene.generation, Place::TornDown)
            })
            .about("a thread-local whose destructor is a teardown, of another process"),
            cure("*/kit/closed-from-outside", |scene| {
                from_outside(scene, scene.generation, Place::Closed)
            })
            .about("a static of another process that closes its session before main returns"),
            cure("*/kit/copied-without-log", |scene| {
                copied_without_log(scene, scene.generation, Place::Closed)
            })
            .about("the same, but it is a copy of the database file alone that is looked at"),
        ])
        .part("owner", own)
        .claim("B4", "Doing nothing at process exit is safe.")
        .supported_if(every("*/static*").is(Clean) & every("*/thread-local").is(Clean))
        .refuted_if(!every("*/static*").is(Clean) | every("*/thread-local").is(Aborted))
        .kit_claim(
            "A session's handle harms nothing wherever it is left. The log is gone where the \
             session was closed before the end, or where the thread-local tears its store down.",
        )
}

/// The client of an application that does nothing at the end, with its runtime.
static CLIENT: OnceLock<(Runtime, Store)> = OnceLock::new();

fn in_a_static(scene: &Scene<'_>) -> TrialResult {
    let Scene { trial, generation, .. } = *scene;
    let client = warm_store(trial, generation)?;
    CLIENT.set(client).map_err(|_| "the static was taken")?;
    Ok(())
}

thread_local!(static LOCAL: RefCell<Option<Kept<Store>>> = const { RefCell::new(None) });

fn in_a_thread_local(scene: &Scene<'_>) -> TrialResult {
    let (_runtime, store) = scene.warm_store()?;
    LOCAL.set(Some(store));
    Ok(())
}

/// Where the second process leaves its store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In a static.
    Static,
    /// In a thread-local of the main thread, as the handle of a session.
    Guarded,
    /// There, to be torn down.
    TornDown,
    /// In a static, as the handle of a session that is closed before the end.
    Closed,
}

impl Place {
    const ALL: [Self; 4] = [Self::Static, Self::Guarded, Self::TornDown, Self::Closed];

    const fn word(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Guarded => "guarded",
            Self::TornDown => "torn-down",
            Self::Closed => "closed",
        }
    }
}

fn from_outside(trial: &Trial<'_>, generation: Generation, place: Place) -> TrialResult {
    leave_in_another_process(trial, generation, place)?;
    let left = residue(&trial.directory().join("store.sqlite3"))?;
    match place {
        Place::Static => {
            trial.check("the log is left behind", left.wal_bytes.is_some_and(|bytes| bytes > 0));
            trial.check("and so is its index", left.shm_bytes.is_some());
            trial.record("wal_bytes_left", left.wal_bytes.unwrap_or(0));
        }
        // The session's threads are overtaken by the end of the process, at any point.
        Place::Guarded => trial.record("wal_left", left.wal_bytes.is_some()),
        Place::TornDown | Place::Closed => {
            trial.record("wal_left", left.wal_bytes.is_some());
            trial.check("no log is left behind", left.is_none());
        }
    }

    every_row_is_there(trial, generation, trial.directory())
}

/// A backup as one who does not know of the log would make it.
fn copied_without_log(trial: &Trial<'_>, generation: Generation, place: Place) -> TrialResult {
    leave_in_another_process(trial, generation, place)?;
    let copy = trial.directory().join("copy");
    fs::create_dir(&copy)?;
    fs::copy(trial.directory().join("store.sqlite3"), copy.join("store.sqlite3"))?;
    every_row_is_there(trial, generation, &copy)
}

fn leave_in_another_process(
    trial: &Trial<'_>,
    generation: Generation,
    place: Place,
) -> TrialResult {
    let ended = trial.part("owner")?.args([generation.word(), place.word()]).status()?;
    trial.check("the second process ended as if nothing was amiss", ended.success());
    Ok(())
}

fn every_row_is_there(trial: &Trial<'_>, generation: Generation, directory: &Path) -> TrialResult {
    let runtime = runtime()?;
    let events = runtime.block_on(async {
        Store::open(directory, generation, CONNECTIONS).await?.event_count().await
    })?;
    trial.check("every committed row is there", events == EVENTS);
    trial.record("rows_lost", EVENTS.saturating_sub(events));
    Ok(())
}

/// How many rows the second process commits.
const EVENTS: u64 = 50;

/// The second process: opens a store, writes, leaves it somewhere, and returns from `main`.
pub fn own(arguments: &[String]) -> TrialResult {
    let [generation, place] = arguments else { return Err("which generation, and where?".into()) };
    let generation = generation_named(generation)?;
    let place = Place::ALL.into_iter().find(|known| known.word() == place).ok_or("where?")?;
    let runtime = runtime()?;
    let store = runtime.block_on(async {
        let store = Store::open(".", generation, CONNECTIONS).await?;
        store.save_room(Room { id: "!room".to_owned(), name: "A room".to_owned() }).await?;
        for event in 0..EVENTS {
            store.append_event("!room", event.to_string()).await?;
        }
        Ok::<_, Box<dyn Error>>(store)
    })?;
    match place {
        Place::Static => CLIENT.set((runtime, store)).map_err(|_| "the static was taken".into()),
        Place::TornDown => {
            LOCAL.set(Some(Kept::torn_down(store)));
            Ok(())
        }
        Place::Guarded => {
            // The session is not closed. It warns of that, and nothing more can be done.
            LOCAL.set(Some(Kept::Guarded(Session::new("client")?.guard(store)?)));
            Ok(())
        }
        Place::Closed => {
            static HANDLE: Mutex<Option<Kept<Store>>> = Mutex::new(None);
            let handle = || HANDLE.lock().unwrap_or_else(PoisonError::into_inner);

            let session = Session::new("client")?;
            *handle() = Some(Kept::Guarded(session.guard(store)?));
            // What an application does before it leaves: let go, then close.
            *handle() = None;
            let _ = session.close_blocking(LIMIT)?;
            Ok(())
        }
    }
}
