//! Drop a value where its destructor can run, and know when all that it started has ended.
//!
//! The destructor of a pooled SQLite connection posts the closing to the blocking threads of
//! whichever Tokio runtime the *dropping thread* has entered. On a thread that has entered none it
//! panics, though the runtime that the connection was opened on is alive and well (experiment 01).
//! `teardown` drops the same value in the context of a small runtime made for that, and returns when
//! the connection is closed: not a moment before, and from wherever it is called.
//!
//! The wrapper here is the real one, `deadpool_sync::SyncWrapper`, around a stand-in for SQLite. Of
//! one connection the panic can be caught, and unwinding closes it; a second would end the process
//! (experiment 06). The report of the panic goes to standard error, and on standard output there is
//!
//! ```text
//! dropped on a plain thread:
//!   the first connection is closed
//!   panicked: there is no reactor running, must be called from the context of a Tokio 1.x runtime
//! torn down on a plain thread:
//!   the second connection is closed
//!   done
//! torn down in async code:
//!   the third connection is closed
//!   done
//! ```

use std::{
    convert::Infallible,
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use deadpool_runtime_current as deadpool_runtime;
use deadpool_sync_current::SyncWrapper;
use sundown::teardown::{teardown, teardown_blocking};
use tokio::runtime::Runtime;

/// Far longer than closing takes: where this passes, something is stuck, and the error says what.
const LIMIT: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::new()?;

    println!("dropped on a plain thread:");
    let connection = runtime.block_on(connect("first"))?;
    // `main` has left the runtime's context: it had one inside `block_on`, and has none here.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(connection))) {
        println!("  panicked: {}", payload.downcast_ref::<String>().ok_or("not a text")?);
    }

    println!("torn down on a plain thread:");
    let connection = runtime.block_on(connect("second"))?;
    teardown_blocking(connection, LIMIT)?;
    println!("  done");

    println!("torn down in async code:");
    runtime.block_on(async {
        let connection = connect("third").await?;
        teardown(connection, LIMIT).await?;
        println!("  done");
        Ok(())
    })
}

/// As a pool of connections makes one.
async fn connect(name: &'static str) -> Result<SyncWrapper<Connection>, Infallible> {
    SyncWrapper::new(deadpool_runtime::Runtime::Tokio1, move || Ok(Connection { name })).await
}

/// In the place of `rusqlite::Connection`.
struct Connection {
    name: &'static str,
}

impl Drop for Connection {
    fn drop(&mut self) {
        println!("  the {} connection is closed", self.name);
    }
}
