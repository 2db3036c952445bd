//! Bench `teardown`: a pool of SQLite connections, from the drop until none of them is open.
//!
//! If a subject does not say when that is, the process's descriptors below the store tell. `clean`:
//! nothing was written since the last checkpoint. `dirty`: the write-ahead log is full. The floor
//! closes plain connections, one after another, on the calling thread. Then one value that needs nothing
//! but a context, and open sessions.

mod value;

use std::{
    error::Error,
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use mock_sdk::store::{Generation, Room, Store, residue, rusqlite::Connection};
use sundown::{
    evidence::open_files,
    session::{Guarded, Session},
    teardown::teardown_blocking,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    clock::Clock,
    figure::Figure,
    flavour::{Flavour, cores},
    options::Options,
    output::{note, print},
    rounds::{Sample, interleaved},
};

/// Longer than any of these takes.
const LIMIT: Duration = Duration::from_secs(60);

/// The usual advice if nothing says when it is safe to go on.
const USUAL_SLEEP: Duration = Duration::from_millis(100);

/// The rows that are written to fill the log.
const DIRTY_ROWS: u32 = 300;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Closes what is open, and says whether it knows that this is done.
pub type Close = fn(Open) -> Outcome<Closed>;

/// Whether a way to close says that it is done.
pub enum Closed {
    Confirmed,
    Unconfirmed,
}

/// All subjects, the floor first.
pub const SUBJECTS: [(&str, Close); 6] = [
    ("floor", |open| {
        drop(open.plain);
        Ok(Closed::Confirmed)
    }),
    ("sundown", |open| {
        // An application has the session for as long as the store. Only its end is measured.
        let (session, guard) = open.session.ok_or("no session")?;
        drop(guard);
        let _ = session.close_blocking(LIMIT)?;
        Ok(Closed::Confirmed)
    }),
    ("sundown-teardown", |open| {
        teardown_blocking(open.store, LIMIT)?;
        Ok(Closed::Confirmed)
    }),
    ("drop", |open| {
        let _context = open.runtime.as_ref().map(Runtime::enter);
        drop(open.store);
        Ok(Closed::Unconfirmed)
    }),
    ("drop-and-runtime", |open| {
        {
            let _context = open.runtime.as_ref().map(Runtime::enter);
            drop(open.store);
        }
        drop(open.runtime);
        Ok(Closed::Confirmed)
    }),
    ("drop-and-sleep", |open| {
        let _context = open.runtime.as_ref().map(Runtime::enter);
        drop(open.store);
        thread::sleep(USUAL_SLEEP);
        Ok(Closed::Confirmed)
    }),
];

/// What a subject closes: one of these, and the runtime.
#[derive(Default)]
pub struct Open {
    plain: Vec<Connection>,
    session: Option<(Session, Guarded<Store>)>,
    store: Option<Store>,
    runtime: Option<Runtime>,
}

/// Runs the bench.
pub fn run(options: &Options) -> io::Result<()> {
    for (case, dirty) in [("clean", false), ("dirty", true)] {
        for &n in &options.sizes(&[1, 4, 16, 64], 4) {
            note(&format!("teardown, {n} connections, {case}"));
            measure(case, dirty, n, options)?;
        }
    }
    value::run(options)
}

fn measure(case: &'static str, dirty: bool, n: usize, options: &Options) -> io::Result<()> {
    let subjects: Vec<_> =
        options.subjects(&SUBJECTS, |(name, _)| name).into_iter().enumerate().collect();
    let mut logs_left = vec![0; subjects.len()];
    let rounds = options.rounds(31, 3);
    let samples = interleaved(
        rounds,
        &subjects,
        |(_, (name, _))| name,
        |&(at, subject)| {
            let (sample, log_is_left) = time(subject, n, dirty).map_err(io::Error::other)?;
            logs_left[at] += usize::from(log_is_left);
            Ok([sample])
        },
    )?;
    let mut figures = Figure::of_case("teardown", (0, case), n, Flavour::MultiThread, &samples);
    for (figure, left) in figures.iter_mut().zip(logs_left) {
        // The round that warms up counts too.
        figure.observed = Some(format!("log left {left} of {}", rounds + 1));
    }
    print(options.format, &figures)
}

/// The time of one teardown until nothing is open, and whether it leaves a write-ahead log behind.
fn time((name, close): (&'static str, Close), n: usize, dirty: bool) -> Outcome<(Sample, bool)> {
    let directory = TempDir::new()?;
    let mut pool = open(name, directory.path(), n, dirty)?;
    // The plain drops get the runtime. The others do without one.
    let kept = if name.starts_with("drop") { None } else { pool.runtime.take() };
    let clock = Clock::start();
    let closed = match close(pool)? {
        Closed::Confirmed => clock.read(),
        Closed::Unconfirmed => {
            let began = Instant::now();
            while !open_files(directory.path())?.is_empty() && began.elapsed() < LIMIT {
                thread::yield_now();
            }
            clock.read()
        }
    };
    let open = open_files(directory.path())?.len();
    if open > 0 {
        return Err(format!("{name} says it is done, and {open} descriptors are open").into());
    }
    drop(kept);
    let log = residue(&directory.path().join("store.sqlite3"))?.wal_bytes;
    Ok((Sample::per(closed, 1), log.is_some_and(|bytes| bytes > 0)))
}

/// A pool with `n` idle connections that have been used, or as many plain connections.
fn open(name: &str, directory: &Path, n: usize, dirty: bool) -> Outcome<Open> {
    let runtime = Flavour::MultiThread.runtime(cores())?;
    let store = runtime.block_on(async {
        let store = Store::open(directory, Generation::Current, n).await?;
        store.save_room(Room { id: "!a:example.org".into(), name: "A".into() }).await?;
        store
            .interact("empty the log of", |connection| {
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            })
            .await?;
        if dirty {
            for row in 0..DIRTY_ROWS {
                store.append_event("!a:example.org", format!("event {row} ").repeat(40)).await?;
            }
        }
        Ok::<_, mock_sdk::store::StoreError>(store)
    })?;
    let mut open = Open { runtime: Some(runtime), ..Open::default() };
    match name {
        "floor" => {
            // Opened while the store is open, which is then closed: these are the last to close.
            for _ in 0..n {
                open.plain.push(plain(store.database())?);
            }
            teardown_blocking(store, LIMIT)?;
        }
        "sundown" => {
            let session = Session::new("bench")?;
            let guard = session.guard(store).map_err(|_| "the session is closed")?;
            open.session = Some((session, guard));
        }
        _ => open.store = Some(store),
    }
    Ok(open)
}

/// A connection as the store opens one.
fn plain(database: &Path) -> mock_sdk::store::rusqlite::Result<Connection> {
    let connection = Connection::open(database)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.query_row("SELECT count(*) FROM events", [], |_| Ok(()))?;
    Ok(connection)
}
