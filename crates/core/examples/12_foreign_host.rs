//! A library with a runtime inside, loaded by a host that does not know about it.
//!
//! A plugin, or an extension module of an interpreter, does not know when it is unloaded, which threads
//! call it, or where the host drops its objects. A runtime in a static is never dropped (experiment 50),
//! so the host's exit handler must shut it down. Later work must be refused, and not bring a runtime back
//! that nobody would end. And objects that the host still has must be safe to drop on any of its threads.
//!
//! Python needs one thing more, a gate in front of every call into the interpreter: see `13_entry_gate`,
//! and the extension module in `crates/python`.
//!
//! ```text
//! host: the answer to a
//! host: a collector's thread has dropped an object
//! plugin: 1 object is still the host's
//! plugin: shut down, 0 dropped
//! host: too late: `plugin` has been shut down (generation 1); restart it and get a new handle from its owner
//! host: a late object was dropped
//! ```

use std::{error::Error, sync::OnceLock, thread, time::Duration};

use sundown::{CloseErrorKind, Guarded, RuntimeCell, RuntimeOwner, Session};

/// The host, with threads and an order of its own.
fn main() -> Result<(), Box<dyn Error>> {
    println!("host: {}", plugin::call("a")?);
    let (one, other) = (plugin::object()?, plugin::object()?);
    thread::spawn(move || drop(one)).join().map_err(|_| "the collector panicked")?;
    println!("host: a collector's thread has dropped an object");

    plugin::at_exit();

    if let Err(error) = plugin::call("b") {
        println!("host: too late: {error}");
    }
    drop(other);
    println!("host: a late object was dropped");
    Ok(())
}

mod plugin {
    use super::*;

    static RUNTIME: RuntimeCell = RuntimeCell::new(|| RuntimeOwner::builder("plugin").workers(2));

    /// Owns the objects that the host gets.
    static OBJECTS: OnceLock<Session> = OnceLock::new();

    /// What the host would wait at its end, in two parts.
    const BRIEF: Duration = Duration::from_millis(50);
    const LIMIT: Duration = Duration::from_secs(2);

    /// Asks something, and waits for the answer. The first call starts the runtime.
    pub fn call(key: &str) -> Result<String, Box<dyn Error>> {
        Ok(RUNTIME.get()?.block_on(async { format!("the answer to {key}") })?)
    }

    /// An object with a task in the background. The host may keep it, and drop it anywhere.
    pub fn object() -> Result<Guarded<Object>, Box<dyn Error>> {
        if OBJECTS.get().is_none() {
            // If two threads come at once, one session is dropped unused.
            let _ = OBJECTS.set(Session::new("objects")?);
        }
        // The cell spawns this task, so a shutdown asks it to stop and waits for it.
        drop(RUNTIME.get()?.spawn("watch", |stop| stop)?);
        Ok(OBJECTS.get().ok_or("it was set")?.guard(Object)?)
    }

    /// The host's exit handler: `atexit`, or whatever it has.
    pub fn at_exit() {
        if let Some(Err(error)) = OBJECTS.get().map(|objects| objects.close_blocking(BRIEF)) {
            if let CloseErrorKind::StillHeld = error.kind {
                let left: usize = error.held.iter().map(|held| held.handles).sum();
                println!("plugin: {left} object is still the host's");
            }
        }
        // When this returns, every task and every thread has ended.
        match RUNTIME.shutdown_blocking(LIMIT) {
            Ok(report) => println!("plugin: shut down, {} dropped", report.aborted),
            Err(error) => println!("plugin: {error}"),
        }
    }

    /// Needs a runtime to be dropped.
    pub struct Object;

    impl Drop for Object {
        fn drop(&mut self) {
            tokio::task::spawn_blocking(|| {});
        }
    }
}
