//! The panic, and the cure: `cargo run -p core --example panic` needs half a minute from nothing.
//!
//! A thread without a runtime context drops a pooled connection. Its destructor asks for the runtime of the
//! *dropping thread*, so it panics although a runtime is alive. Then the same thread drops the same
//! connection as a handle of a session. The wrapper is the real one of deadpool, around a stand-in for SQLite.
//!
//! ```text
//! 1. A plain thread drops a connection while the runtime is alive.
//!    The thread panicked.
//!
//! 2. A plain thread drops a handle of a session.
//!    The session dropped the connection where its destructor can run: no panic.
//!    The connection is closed, and nothing that it started is running.
//!
//! Why: docs/src/start-here.md. The evidence: cargo xtask experiments --only 01.
//! ```

use std::{convert::Infallible, error::Error, thread, time::Duration};

use deadpool_runtime_current as deadpool_runtime;
use deadpool_sync_current::SyncWrapper;
use sundown::Session;
use tokio::runtime::Runtime;

/// Far longer than closing takes. If it passes, the error says what is stuck.
const LIMIT: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    // Alive until the end of this program.
    let runtime = Runtime::new()?;

    println!("1. A plain thread drops a connection while the runtime is alive.");
    let connection = connect(&runtime)?;
    match thread::spawn(move || drop(connection)).join() {
        Ok(()) => return Err("it should have panicked".into()),
        Err(_) => println!("   The thread panicked.\n"),
    }

    println!("2. A plain thread drops a handle of a session.");
    let session = Session::new("login")?;
    let connection = session.guard(connect(&runtime)?)?;
    thread::spawn(move || drop(connection)).join().map_err(|_| "the thread panicked")?;
    println!("   The session dropped the connection where its destructor can run: no panic.");
    // `Ok`: the value is dropped, and what its destructor started has ended. `Err` says what is left.
    let _report = session.close_blocking(LIMIT)?;
    println!("   The connection is closed, and nothing that it started is running.\n");

    println!("Why: docs/src/start-here.md. The evidence: cargo xtask experiments --only 01.");
    Ok(())
}

/// Makes a connection as a pool does.
fn connect(runtime: &Runtime) -> Result<SyncWrapper<Connection>, Infallible> {
    let tokio = deadpool_runtime::Runtime::Tokio1;
    runtime.block_on(SyncWrapper::new(tokio, || Ok(Connection)))
}

/// A stand-in for `rusqlite::Connection`.
struct Connection;
