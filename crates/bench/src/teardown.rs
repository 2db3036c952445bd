//! Bench `teardown`: a pool of SQLite connections, from the drop until nothing of it is open any more.
//!
//! Whoever does not say when that is is watched from outside: the process's descriptors below the
//! store. `clean`: nothing was written since the last checkpoint. `dirty`: the write-ahead log is
//! full. The floor closes plain connections, one after another, on the calling thread.

use std::{
    error::Error,
    io,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use mock_sdk::store::{Generation, Room, Store, residue, rusqlite::Connection};
use sundown::{evidence::open_files, session::Session, teardown::teardown_blocking};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    clock::Clock,
    figure::Figure,
    flavour::{Flavour, cores},
    options::Options,
    output::{Output, note},
    rounds::{Reference, Sample, interleaved, summary},
};

/// Longer than any of these takes.
const LIMIT: Duration = Duration::from_secs(60);

/// What is recommended where nothing tells when it is safe to go on.
const USUAL_SLEEP: Duration = Duration::from_millis(100);

/// How many rows are written to make the log dirty.
const DIRTY_ROWS: u32 = 300;

pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// Closes what it is given. Whether it is closed by then, it says.
pub type Close = fn(Warm) -> Outcome<Closed>;

/// Whether a way to close says that it is done.
pub enum Closed {
    Confirmed,
    Unconfirmed,
}

/// Everybody, the floor first.
pub const SUBJECTS: [(&str, Close); 6] = [
    ("floor", |warm| {
        drop(warm.plain);
        Ok(Closed::Confirmed)
    }),
    ("sundown", |warm| {
        // The session is the app's and as old as the store; ending it is what is measured.
        let (session, guard) = warm.session.ok_or("no session")?;
        drop(guard);
        let _ = session.close_blocking(LIMIT)?;
        Ok(Closed::Confirmed)
    }),
    ("sundown-teardown", |warm| {
        teardown_blocking(warm.store, LIMIT)?;
        Ok(Closed::Confirmed)
    }),
    ("drop", |warm| {
        let _context = warm.runtime.as_ref().map(Runtime::enter);
        drop(warm.store);
        Ok(Closed::Unconfirmed)
    }),
    ("drop-and-runtime", |warm| {
        {
            let _context = warm.runtime.as_ref().map(Runtime::enter);
            drop(warm.store);
        }
        drop(warm.runtime);
        Ok(Closed::Confirmed)
    }),
    ("drop-and-sleep", |warm| {
        let _context = warm.runtime.as_ref().map(Runtime::enter);
        drop(warm.store);
        thread::sleep(USUAL_SLEEP);
        Ok(Closed::Confirmed)
    }),
];

/// What is about to be closed: one of these, according to who closes.
#[derive(Default)]
pub struct Warm {
    plain: Vec<Connection>,
    session: Option<(Session, sundown::session::Guarded<Store>)>,
    store: Option<Store>,
    runtime: Option<Runtime>,
}

/// Runs the bench.
pub fn run(options: &Options, output: &mut Output) -> io::Result<()> {
    let subjects: Vec<_> =
        SUBJECTS.into_iter().filter(|(name, _)| options.is_subject(name)).collect();
    for (case, dirty) in [("clean", false), ("dirty", true)] {
        for &n in &options.sizes(&[1, 4, 16, 64], 4) {
            note(&format!("teardown, {n} connections, {case}"));
            measure(case, dirty, n, &subjects, options, output).map_err(io::Error::other)?;
        }
    }
    Ok(())
}

fn measure(
    case: &'static str,
    dirty: bool,
    n: usize,
    subjects: &[(&'static str, Close)],
    options: &Options,
    output: &mut Output,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let rounds = options.rounds(31, 3);
    let left: Vec<_> = subjects.iter().map(|_| AtomicUsize::new(0)).collect();
    let mut failure = None;
    let places: Vec<_> = (0..subjects.len()).collect();
    let samples = interleaved(rounds, &places, |&at| match time(subjects[at], n, dirty) {
        Ok((sample, wal_left)) => {
            left[at].fetch_add(usize::from(wal_left), Ordering::Relaxed);
            [sample]
        }
        Err(error) => {
            failure = Some(error.to_string());
            [Sample::default()]
        }
    });
    if let Some(failure) = failure {
        return Err(failure.into());
    }
    let sundown = subjects.iter().position(|(name, _)| *name == "sundown");
    let reference = Reference { floor: 0, sundown };
    for (at, (name, _)) in subjects.iter().enumerate() {
        let figure = Figure::new("teardown", case, n, Flavour::MultiThread, name);
        let figure = figure.measured(summary(&samples, at, 0, reference));
        // One round more, the one that warms up.
        let observed = format!("log left {} of {}", left[at].load(Ordering::Relaxed), rounds + 1);
        output.figure(Figure { observed: Some(observed), ..figure })?;
    }
    output.tables()?;
    Ok(())
}

/// One teardown, from the drop until nothing is open, and whether a write-ahead log is left behind.
fn time((name, close): (&'static str, Close), n: usize, dirty: bool) -> Outcome<(Sample, bool)> {
    let directory = TempDir::new()?;
    let mut warm = warm(name, directory.path(), n, dirty)?;
    // Whoever needs no runtime has none left: the app has shut it down.
    let kept = if name.starts_with("drop") { None } else { warm.runtime.take() };
    let clock = Clock::start();
    let closed = match close(warm)? {
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

/// A pool with `n` idle connections, each of which has been used, or as many plain connections.
fn warm(name: &str, directory: &Path, n: usize, dirty: bool) -> Outcome<Warm> {
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
    if name != "floor" {
        let guard = |store| {
            let session = Session::new("bench")?;
            let guard = session.guard(store).map_err(|_| "the session is closed")?;
            Ok::<_, Box<dyn Error>>((session, guard))
        };
        if name == "sundown" {
            return Ok(Warm {
                session: Some(guard(store)?),
                runtime: Some(runtime),
                ..Warm::default()
            });
        }
        return Ok(Warm { store: Some(store), runtime: Some(runtime), ..Warm::default() });
    }
    // As many connections of the same kind, beside those of the store, which then go: the last ones
    // to close are these.
    let plain: Result<Vec<_>, _> = (0..n).map(|_| plain(store.database())).collect();
    let plain = plain?;
    teardown_blocking(store, LIMIT)?;
    Ok(Warm { plain, runtime: Some(runtime), ..Warm::default() })
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
