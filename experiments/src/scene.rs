//! One situation, twice: with the store as it is, and with the kit in its place.
//!
//! A hazard and its cure are the same function, which takes a [`Scene`]. It makes its store by the
//! scene, and takes away the last owner where it likes. What differs is who keeps the store:
//!
//! - in a hazard or a control: nobody, and whoever drops the last clone runs the destructor;
//! - in a [derived cure](lab::Variant::cured), and in one that is [`guarded`]: a session. Every clone
//!   is a handle of it, the last one hands the store over, and when the situation is over the session
//!   is closed;
//! - [`torn_down`]: each clone tears its own store down where it dies, by a `teardown` in its `Drop`.
//!
//! A situation that leaves its last owner to the end of the process
//! [says so](Scene::leaves_it_to_exit), and is looked at no further.
//!
//! A cure is not believed its own word. When a session says that it has closed, the trial looks from
//! outside: no file of the store open, no log beside the database, and on opening it again every row
//! that was committed. The session is given no evidence of that itself: with it, `close` would wait
//! for what the trial is to find.

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

/// How many rows are committed to a store, unless the experiment is about them.
pub const ROWS: u64 = 10;

/// Where a situation takes place: a trial, a generation of the pool, and who keeps the store.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The trial.
    pub trial: &'a Trial<'a>,
    /// The generation of the pool.
    pub generation: Generation,
    /// Who keeps what is made here.
    pub keeper: Keeper,
    /// How many rows have been committed, to a store if there was one.
    rows: Cell<Option<u64>>,
    /// Whether the last owner is left to the end of the process.
    left_to_exit: Cell<bool>,
}

/// Who keeps a value.
#[derive(Clone, Debug)]
pub enum Keeper {
    /// Nobody.
    Nobody,
    /// A session.
    Session(Session),
    /// The value itself: it is torn down where it is dropped.
    Teardown,
}

impl Keeper {
    /// Puts a value where this keeps things.
    pub fn keep<T: Send + 'static>(&self, value: T) -> Result<Kept<T>, Refused<T>> {
        Ok(match self {
            Self::Nobody => Kept::Bare(value),
            Self::Session(session) => Kept::Guarded(session.guard(value)?),
            Self::Teardown => Kept::torn_down(value),
        })
    }
}

/// What a trial does on its scene, as [`hazard`](crate::hazard) and its kin take it.
pub trait Body: Fn(&Scene<'_>) -> TrialResult + Send + Sync + 'static {}

impl<F: Fn(&Scene<'_>) -> TrialResult + Send + Sync + 'static> Body for F {}

/// Sets the scene for a body: with the store as it is, or [`guarded`] in a derived cure.
pub(crate) fn staged(
    body: impl Body,
) -> impl Fn(&Trial<'_>) -> TrialResult + Send + Sync + 'static {
    move |trial| {
        // The generation that the variant's name begins with, if it names one.
        let generation = trial.version().and_then(|word| generation_named(word).ok());
        let generation = generation.unwrap_or(Generation::Current);
        let scene = Scene::new(trial, generation, Keeper::Nobody);
        if trial.is_cured() { in_a_session(&scene, &body) } else { body(&scene) }
    }
}

/// Runs a body with the store in a session, closes that, and looks whether it is right.
pub fn guarded(body: impl Body) -> impl Body {
    move |scene: &Scene<'_>| in_a_session(scene, &body)
}

fn in_a_session(scene: &Scene<'_>, body: &impl Body) -> TrialResult {
    let scene = scene.kept_by(Keeper::Session(Session::new("store")?));
    body(&scene)?;
    if scene.left_to_exit.get() {
        let told = scene.one_handle_is_left(Duration::ZERO);
        scene.check("the session says that a handle is left", told);
        return Ok(());
    }
    scene.close()?;
    scene.nothing_is_left()
}

/// Runs a body with a store that is torn down where its last owner dies, and looks whether that was
/// done when the owner was gone.
pub fn torn_down(body: impl Body) -> impl Body {
    move |scene: &Scene<'_>| {
        let scene = scene.kept_by(Keeper::Teardown);
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
    const fn new(trial: &'a Trial<'a>, generation: Generation, keeper: Keeper) -> Self {
        let (rows, left_to_exit) = (Cell::new(None), Cell::new(false));
        Self { trial, generation, keeper, rows, left_to_exit }
    }

    /// The same scene, with somebody else to keep its store.
    const fn kept_by(&self, keeper: Keeper) -> Self {
        Self::new(self.trial, self.generation, keeper)
    }

    /// What the variant's name ends with: `one` in `old/one` and in `old/kit/one`.
    #[must_use]
    pub fn case(&self) -> &str {
        self.variant().rsplit('/').next().unwrap_or_default()
    }

    /// A kept store with [`CONNECTIONS`] idle connections and rows that are only in its log, and the
    /// runtime that opened it.
    pub fn warm_store(&self) -> TrialResult<(Runtime, Kept<Store>)> {
        self.warm_store_of(CONNECTIONS, ROWS)
    }

    /// The same with numbers of idle connections and of rows of one's own.
    pub fn warm_store_of(
        &self,
        connections: usize,
        rows: u64,
    ) -> TrialResult<(Runtime, Kept<Store>)> {
        let (runtime, store) = self.unkept_store_of(connections, rows)?;
        Ok((runtime, self.keeper.keep(store)?))
    }

    /// The same as [`Scene::warm_store`] before anybody keeps it.
    pub fn unkept_store(&self) -> TrialResult<(Runtime, Store)> {
        self.unkept_store_of(CONNECTIONS, ROWS)
    }

    fn unkept_store_of(&self, connections: usize, rows: u64) -> TrialResult<(Runtime, Store)> {
        let runtime = runtime()?;
        let store = runtime.block_on(async {
            let store = Store::open(self.directory(), self.generation, connections).await?;
            self.commit(&store, rows).await?;
            Ok::<_, StoreError>(store)
        })?;
        Ok((runtime, store))
    }

    /// Commits rows to the store of this scene, which are then looked for.
    pub async fn commit(&self, store: &Store, rows: u64) -> Result<(), StoreError> {
        self.rows.set(Some(rows));
        commit(store, rows).await
    }

    /// Says that the body leaves the last owner to the end of the process. A trial cannot see what
    /// becomes of it there, only that nothing aborts (experiment 08 looks from outside). So a session
    /// is not closed; asked, it must say that a handle is left.
    pub fn leaves_it_to_exit(&self) {
        self.left_to_exit.set(true);
    }

    /// Closes the session, if there is one.
    pub fn close(&self) -> TrialResult {
        if let Keeper::Session(session) = &self.keeper {
            let _ = session.close_blocking(PLENTY)?;
        }
        Ok(())
    }

    /// Closes the session within a limit, and says whether it answers that one handle is left.
    #[must_use]
    pub fn one_handle_is_left(&self, limit: Duration) -> bool {
        let Keeper::Session(session) = &self.keeper else { return false };
        let closed = session.close_blocking(limit);
        matches!(closed, Err(CloseError { kind: CloseErrorKind::StillHeld, held, .. })
            if held.iter().map(|held| held.handles).sum::<usize>() == 1)
    }

    /// Looks from outside whether the store has been closed as it should be.
    pub fn nothing_is_left(&self) -> TrialResult {
        self.no_file_is_open()?;
        if self.database().exists() {
            self.no_log_is_left()?;
            self.no_row_is_lost()?;
        }
        Ok(())
    }

    /// Looks from outside whether a file of the trial is still open.
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

    /// Looks whether the log is gone. Nothing can be said of it while a file is open.
    pub fn no_log_is_left(&self) -> TrialResult {
        if !open_files(self.trial.directory())?.is_empty() {
            return Err("a file is still open, so that nothing can be said of the log".into());
        }
        let left = self.residue()?;
        self.trial.record("wal_left", left.wal_bytes.is_some());
        self.trial.check("no log is left behind", left.is_none());
        Ok(())
    }

    /// Opens the store again, if there was one, and counts.
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

/// A value, as a scene keeps it. Clones are clones of the value, or handles of it.
#[derive(Clone, Debug)]
pub enum Kept<T: Send + 'static> {
    /// As it is.
    Bare(T),
    /// A handle of a session.
    Guarded(Guarded<T>),
    /// Torn down where it is dropped.
    TornDown(TornDown<T>),
}

impl<T: Send + 'static> Kept<T> {
    /// A value that is torn down where it is dropped.
    pub const fn torn_down(value: T) -> Self {
        Self::TornDown(TornDown(Some(value)))
    }
}

impl<T: Send + 'static> Deref for Kept<T> {
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

/// Tears its value down when it is dropped, and waits for that: for a thread that may wait. A trial
/// in which it does not come to its end is aborted, so that nobody takes it for clean.
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
