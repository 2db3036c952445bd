//! The scene of a trial: a store, and how it is protected.
//!
//! A hazard and its cure are the same function. It makes its store through its [`Scene`], and drops the
//! last owner where it likes. What differs is the protection of the store:
//!
//! - in a hazard or a control, none: whoever drops the last clone runs the destructor;
//! - in a [derived cure](lab::Variant::cured), and in a [`guarded`] one, a session. Every clone is a
//!   handle of the session, the last handle hands the store over, and after the body the session is
//!   closed;
//! - in one [`with_teardown`], a `teardown` in the `Drop` of each clone.
//!
//! A body that leaves its last owner to the end of the process [says so](Scene::leaves_it_to_exit).
//!
//! A cure is not taken at its word. When the session says that it has closed, the trial checks from
//! outside: no file of the store is open, no log is left, and the store, opened again, has every
//! committed row. The session has no evidence of its own: with that, `close` would wait for the very
//! thing that the trial is to find.

use std::{
    cell::Cell,
    io,
    ops::Deref,
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use lab::{Trial, TrialResult};
use mock_sdk::store::{
    Generation, Residue, Room, Store, StoreError, residue, rusqlite::Connection,
};
use sundown::{
    evidence::open_files,
    session::{CloseError, CloseErrorKind, Guarded, Refused, Session},
    teardown::teardown_blocking,
};
use tokio::runtime::Runtime;

use crate::{CONNECTIONS, PLENTY, generation_named, runtime};

/// How many rows are committed to a store, unless the experiment is about their number.
pub const ROWS: u64 = 10;

/// The argument of every body: a trial, with the means to make a store in it.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The trial.
    pub trial: &'a Trial<'a>,
    /// The generation of the pool.
    pub generation: Generation,
    /// The protection of what is made here.
    pub protection: Protection,
    /// How many rows were committed, if there was a store.
    rows: Cell<Option<u64>>,
    /// Whether the last owner is left to the end of the process.
    left_to_exit: Cell<bool>,
}

/// The protection of a value.
#[derive(Clone, Debug)]
pub enum Protection {
    /// None.
    None,
    /// A session.
    Session(Session),
    /// The value is torn down where it is dropped.
    Teardown,
}

impl Protection {
    /// Protects a value. Returns it if the session is closing.
    #[track_caller]
    pub fn protect<T: Send + 'static>(&self, value: T) -> Result<Protected<T>, Refused<T>> {
        Ok(match self {
            Self::None => Protected::Bare(value),
            Self::Session(session) => Protected::Guarded(session.guard(value)?),
            Self::Teardown => Protected::torn_down(value),
        })
    }
}

/// The body of a variant, for [`hazard`](crate::hazard), [`control`](crate::control) and
/// [`cure`](crate::cure).
pub trait Body: Fn(&Scene<'_>) -> TrialResult + Send + Sync + 'static {}

impl<F: Fn(&Scene<'_>) -> TrialResult + Send + Sync + 'static> Body for F {}

/// Sets the scene for a body: without protection, or [`guarded`] in a derived cure.
pub(crate) fn staged(
    body: impl Body,
) -> impl Fn(&Trial<'_>) -> TrialResult + Send + Sync + 'static {
    move |trial| {
        // The generation that the variant's name begins with, if it names one.
        let generation = trial.version().and_then(|word| generation_named(word).ok());
        let generation = generation.unwrap_or(Generation::Current);
        let scene = Scene::new(trial, generation, Protection::None);
        if trial.is_cured() { in_a_session(&scene, &body) } else { body(&scene) }
    }
}

/// Runs a body with the store in a session, closes the session, and checks the store.
pub fn guarded(body: impl Body) -> impl Body {
    move |scene: &Scene<'_>| in_a_session(scene, &body)
}

fn in_a_session(scene: &Scene<'_>, body: &impl Body) -> TrialResult {
    let scene = scene.protected_by(Protection::Session(Session::new("store")?));
    body(&scene)?;
    if scene.left_to_exit.get() {
        let told = scene.one_handle_is_left(Duration::ZERO);
        scene.check("the session says that a handle is left", told);
        return Ok(());
    }
    scene.close()?;
    scene.nothing_is_left()
}

/// Runs a body with a store that is torn down where its last owner dies, and checks the store.
pub fn with_teardown(body: impl Body) -> impl Body {
    move |scene: &Scene<'_>| {
        let scene = scene.protected_by(Protection::Teardown);
        body(&scene)?;
        if scene.left_to_exit.get() { Ok(()) } else { scene.nothing_is_left() }
    }
}

impl<'a> Deref for Scene<'a> {
    type Target = Trial<'a>;

    fn deref(&self) -> &Trial<'a> {
        self.trial
    }
}

impl<'a> Scene<'a> {
    const fn new(trial: &'a Trial<'a>, generation: Generation, protection: Protection) -> Self {
        let (rows, left_to_exit) = (Cell::new(None), Cell::new(false));
        Self { trial, generation, protection, rows, left_to_exit }
    }

    /// The same scene with another protection.
    const fn protected_by(&self, protection: Protection) -> Self {
        Self::new(self.trial, self.generation, protection)
    }

    /// The last part of the variant's name: `one` in `old/one` and in `old/kit/one`.
    #[must_use]
    pub fn case(&self) -> &str {
        self.variant().rsplit('/').next().unwrap_or_default()
    }

    /// A protected store with [`CONNECTIONS`] idle connections and rows that are only in its log, and
    /// the runtime that opened it.
    pub fn warm_store(&self) -> TrialResult<(Runtime, Protected<Store>)> {
        self.warm_store_of(CONNECTIONS, ROWS)
    }

    /// The same with other numbers of idle connections and of rows.
    pub fn warm_store_of(
        &self,
        connections: usize,
        rows: u64,
    ) -> TrialResult<(Runtime, Protected<Store>)> {
        let (runtime, store) = self.unprotected_store_of(connections, rows)?;
        Ok((runtime, self.protection.protect(store)?))
    }

    /// The store of [`Scene::warm_store`], without protection.
    pub fn unprotected_store(&self) -> TrialResult<(Runtime, Store)> {
        self.unprotected_store_of(CONNECTIONS, ROWS)
    }

    fn unprotected_store_of(&self, connections: usize, rows: u64) -> TrialResult<(Runtime, Store)> {
        let runtime = runtime()?;
        let store = runtime.block_on(async {
            let store = Store::open(self.directory(), self.generation, connections).await?;
            self.commit(&store, rows).await?;
            Ok::<_, StoreError>(store)
        })?;
        Ok((runtime, store))
    }

    /// Commits rows to the store of this scene. [`Scene::no_row_is_lost`] looks for them.
    pub async fn commit(&self, store: &Store, rows: u64) -> Result<(), StoreError> {
        self.rows.set(Some(rows));
        commit(store, rows).await
    }

    /// Says that the body leaves the last owner to the end of the process. What becomes of it there the
    /// trial cannot see, only that nothing aborts (experiment 08 looks from outside). So the session is
    /// not closed, and must say that a handle is left.
    pub fn leaves_it_to_exit(&self) {
        self.left_to_exit.set(true);
    }

    /// Closes the session, if there is one.
    pub fn close(&self) -> TrialResult {
        if let Protection::Session(session) = &self.protection {
            let _ = session.close_blocking(PLENTY)?;
        }
        Ok(())
    }

    /// Tries to close the session, and returns whether it says that one handle is left.
    #[must_use]
    pub fn one_handle_is_left(&self, limit: Duration) -> bool {
        let Protection::Session(session) = &self.protection else { return false };
        let closed = session.close_blocking(limit);
        matches!(closed, Err(CloseError { kind: CloseErrorKind::StillHeld, held, .. })
            if held.iter().map(|held| held.handles).sum::<usize>() == 1)
    }

    /// Checks from outside that the store was closed as it should be.
    pub fn nothing_is_left(&self) -> TrialResult {
        self.no_file_is_open()?;
        if self.database().exists() {
            self.no_log_is_left()?;
            self.no_row_is_lost()?;
        }
        Ok(())
    }

    /// Checks from outside that no file of the trial is open.
    pub fn no_file_is_open(&self) -> TrialResult {
        let files_open = open_files(self.directory())?.len();
        self.record("files_open", files_open);
        self.check("no file is open any more", files_open == 0);
        Ok(())
    }

    /// What is beside the database on disk.
    pub fn residue(&self) -> io::Result<Residue> {
        residue(&self.database())
    }

    /// Checks that the log is gone. While a file is open the log proves nothing.
    pub fn no_log_is_left(&self) -> TrialResult {
        if !open_files(self.trial.directory())?.is_empty() {
            return Err("a file is still open, so the log proves nothing".into());
        }
        let left = self.residue()?;
        self.trial.record("wal_left", left.wal_bytes.is_some());
        self.trial.check("no log is left behind", left.is_none());
        Ok(())
    }

    /// Opens the store again, if there was one, and checks that it has every row.
    pub fn no_row_is_lost(&self) -> TrialResult {
        let Some(committed) = self.rows.get() else { return Ok(()) };
        let rows = rows_in(&self.database())?;
        self.trial.record("rows_lost", committed.saturating_sub(rows));
        self.trial.check("every committed row is there", rows == committed);
        Ok(())
    }

    /// The database of the store.
    pub fn database(&self) -> PathBuf {
        self.trial.directory().join("store.sqlite3")
    }
}

/// Commits a room, and rows of it.
pub async fn commit(store: &Store, rows: u64) -> Result<(), StoreError> {
    store.save_room(Room { id: "!room".to_owned(), name: "A room".to_owned() }).await?;
    for row in 0..rows {
        store.append_event("!room", row.to_string()).await?;
    }
    Ok(())
}

/// Opens a database again, and counts its rows.
pub fn rows_in(database: &Path) -> TrialResult<u64> {
    let again = Connection::open(database)?;
    let rows: i64 = again.query_row("SELECT count(*) FROM events", [], |row| row.get(0))?;
    Ok(rows.try_into()?)
}

/// A value with the protection of a scene. Clones are clones of the value, or handles of it.
#[derive(Clone, Debug)]
pub enum Protected<T: Send + 'static> {
    /// As it is.
    Bare(T),
    /// A handle of a session.
    Guarded(Guarded<T>),
    /// Torn down where it is dropped.
    TornDown(TornDown<T>),
}

impl<T: Send + 'static> Protected<T> {
    /// A value that is torn down where it is dropped.
    pub const fn torn_down(value: T) -> Self {
        Self::TornDown(TornDown(Some(value)))
    }
}

impl<T: Send + 'static> Deref for Protected<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Self::Bare(value) => value,
            Self::Guarded(handle) => handle,
            Self::TornDown(TornDown(Some(value))) => value,
            Self::TornDown(TornDown(None)) => unreachable!("it is there until it is dropped"),
        }
    }
}

/// Tears its value down when it is dropped, and waits for that, on a thread that may wait. If that fails
/// the trial aborts, so that it cannot count as clean.
#[derive(Clone, Debug)]
pub struct TornDown<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Drop for TornDown<T> {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.0.take().map(|value| teardown_blocking(value, PLENTY)) {
            eprintln!("{error}");
            process::abort();
        }
    }
}
