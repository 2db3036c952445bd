//! Drop a value where its destructor can run, and know when everything it started has ended.
//!
//! The destructor of a pooled SQLite connection posts its closing to the runtime of the *dropping
//! thread*, and panics if that thread has none (experiment 01). `teardown` gives it one. The wrapper here
//! is the real one, around a stand-in for SQLite.
//!
//! ```text
//! dropped on a plain thread:
//!   the first connection is closed
//!   panicked: there is no reactor running, must be called from the context of a Tokio 1.x runtime
//! torn down on a plain thread:
//!   the second connection is closed
//! torn down in async code:
//!   the third connection is closed
//! ```

use std::{
    convert::Infallible,
    error::Error,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use deadpool_runtime_current as deadpool_runtime;
use deadpool_sync_current::SyncWrapper;
use sundown::{teardown, teardown_blocking};
use tokio::runtime::Runtime;

/// Far longer than closing takes. If it passes, the error says what is stuck.
const LIMIT: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = Runtime::new()?;
    let [first, second, third] = ["first", "second", "third"].map(|name| connect(&runtime, name));

    println!("dropped on a plain thread:");
    // With one connection the panic can be caught. Two would abort the process (experiment 06).
    let first = first?;
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(first))) {
        println!("  panicked: {}", payload.downcast_ref::<String>().ok_or("no text")?);
    }

    println!("torn down on a plain thread:");
    teardown_blocking(second?, LIMIT)?;

    println!("torn down in async code:");
    runtime.block_on(teardown(third?, LIMIT))?;
    Ok(())
}

/// Makes a connection as a pool does.
fn connect(runtime: &Runtime, name: &'static str) -> Result<SyncWrapper<Connection>, Infallible> {
    let tokio = deadpool_runtime::Runtime::Tokio1;
    runtime.block_on(SyncWrapper::new(tokio, move || Ok(Connection(name))))
}

/// A stand-in for `rusqlite::Connection`.
struct Connection(&'static str);

impl Drop for Connection {
    fn drop(&mut self) {
        println!("  the {} connection is closed", self.0);
    }
}
