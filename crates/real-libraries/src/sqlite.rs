//! A pool of sqlx, with a SQLite database.

use std::{
    env, fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail};
use sqlx::{
    Sqlite, SqlitePool,
    pool::PoolConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions},
};
use sundown::{
    evidence::{no_open_files, open_files},
    session::Session,
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    PLENTY,
    report::{check, record},
};

/// The database has a folder of its own, so that nothing else is open there.
const FOLDER: &str = "database";

/// How many connections a pool has that is let go.
const CONNECTIONS: usize = 4;

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// A pool with this many connections, all of them taken, and a row in the database.
async fn open(connections: usize) -> Result<(SqlitePool, Vec<PoolConnection<Sqlite>>)> {
    fs::create_dir(FOLDER)?;
    let options = SqliteConnectOptions::new()
        .filename(Path::new(FOLDER).join("notes.sqlite3"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal);
    let most = u32::try_from(connections)?;
    // Without the task that looks after idle connections: it takes them for a moment.
    let pool = SqlitePoolOptions::new().max_lifetime(None).idle_timeout(None);
    let pool = pool.max_connections(most).connect_with(options).await?;
    sqlx::raw_sql("CREATE TABLE notes (text)").execute(&pool).await?;
    sqlx::raw_sql("INSERT INTO notes VALUES ('one')").execute(&pool).await?;
    let mut taken = Vec::new();
    for _ in 0..connections {
        taken.push(pool.acquire().await?);
    }
    Ok((pool, taken))
}

/// Drops connections that were taken from a pool, `one` or `two` in a `Vec`. The runtime of the pool is `alive` or
/// `gone`; the thread is `inside` its context or `outside`, or outside with the `kit`.
pub fn connections(number: &str, state: &str, place: &str) -> Result<()> {
    let runtime = runtime()?;
    let number = match number {
        "one" => 1,
        "two" => 2,
        _ => bail!("no number: `{number}`"),
    };
    let (pool, taken) = runtime.block_on(open(number))?;
    let runtime = match state {
        "alive" => Some(runtime),
        "gone" => {
            drop(runtime);
            None
        }
        _ => bail!("there is no state `{state}` of a runtime"),
    };
    match (place, &runtime) {
        ("inside", Some(runtime)) => runtime.block_on(async { drop(taken) }),
        ("outside", _) => drop(taken),
        ("kit", _) => {
            let session = Session::new("database")?;
            let guarded: Result<Vec<_>, _> =
                taken.into_iter().map(|connection| session.guard(connection)).collect();
            let guarded = guarded.map_err(|_| anyhow!("the session refuses a connection"))?;
            drop(guarded);
            let _ = session.close_blocking(PLENTY)?;
            // Their way back is work of their destructors, so it is over when the close is.
            check(
                "the connections are back when the session has closed",
                pool.num_idle() == number,
            );
        }
        _ => bail!("there is no place `{place}` on a runtime that is {state}"),
    }
    wait_for(&pool, number);
    record("connections_back", pool.num_idle());
    check("the connections come back to the pool", pool.num_idle() == number);
    Ok(())
}

/// Uses a pool in two tests, one after another, each with a runtime of its own.
pub fn two_tests_of_a_pool() -> Result<()> {
    let (first, second) = (runtime()?, runtime()?);
    let (pool, taken) = first.block_on(open(1))?;
    first.block_on(async { drop(taken) });
    wait_for(&pool, 1);
    drop(first);
    let answer = second.block_on(sqlx::raw_sql("SELECT text FROM notes").fetch_one(&pool));
    check("the second test gets its row", answer.is_ok());
    Ok(())
}

/// Lets a pool with idle connections go: `dropped` in a context, `closed` by hand, or by the `kit`: in a hook, with
/// evidence. No file may be open then.
pub fn pool(how: &str) -> Result<()> {
    let runtime = runtime()?;
    let (pool, taken) = runtime.block_on(open(CONNECTIONS))?;
    runtime.block_on(async { drop(taken) });
    wait_for(&pool, CONNECTIONS);
    let folder = env::current_dir()?.join(FOLDER);
    record("files_open_before", open_files(&folder)?.len());
    match how {
        "dropped" => runtime.block_on(async { drop(pool) }),
        "closed" => runtime.block_on(pool.close()),
        "kit" => {
            let builder = Session::builder("database").runtime(runtime.handle());
            let session = builder.evidence(no_open_files(&folder)).start()?;
            let pool = session.guard(pool).map_err(|_| anyhow!("the session refuses the pool"))?;
            let added = session.before_close_with(&pool, async |pool| pool.close().await);
            added.map_err(|_| anyhow!("the session refuses the hook"))?;
            drop(pool);
            let _ = session.close_blocking(PLENTY)?;
        }
        _ => bail!("there is no way `{how}`"),
    }
    let files = open_files(&folder)?.len();
    record("files_open", files);
    check("no file of the database is open", files == 0);
    Ok(())
}

/// Waits until so many connections are back in the pool. (sqlx counts one that is taken again at once before the one
/// that came back: for a moment there are -1.)
fn wait_for(pool: &SqlitePool, number: usize) {
    let began = Instant::now();
    while pool.num_idle() != number && began.elapsed() < PLENTY {
        thread::sleep(Duration::from_millis(1));
    }
}
