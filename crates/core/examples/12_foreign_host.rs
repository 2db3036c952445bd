//! A library with a runtime inside, loaded by a host that knows nothing of it.
//!
//! A plugin, or a module of an interpreter, cannot say when it is unloaded, which threads call it,
//! or where the host drops what it was given. A runtime in a static is never dropped (experiment 50),
//! so the host's exit handler has to shut it down; work that comes after that must be refused, and
//! not bring a runtime back to life that nobody would end; and objects that the host still has must
//! be safe to drop on any of its threads, at any time, also then.
//!
//! ```text
//! host: the answer to a
//! host: a collector's thread has dropped an object
//! plugin: 1 object is still the host's
//! plugin: the watch was closed in order: true
//! host: too late: `plugin` has been shut down (generation 1); restart it, and ask its owner for the new one
//! host: a late object was dropped
//! ```
//!
//! Python asks for one thing more, a gate in front of every call into the interpreter: see
//! `13_entry_gate`, and the extension module in `crates/python`.

use std::{
    error::Error,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use sundown::{
    runtime::{RuntimeCell, RuntimeOwner},
    session::{CloseError, CloseErrorKind, Guarded, Session},
};

fn main() -> Result<(), Box<dyn Error>> {
    host()
}

/// The host: it has threads, an order of its own, and no idea of what is inside.
fn host() -> Result<(), Box<dyn Error>> {
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

    /// What owns the objects that the host is given.
    static OBJECTS: OnceLock<Session> = OnceLock::new();

    static CLOSED_IN_ORDER: AtomicBool = AtomicBool::new(false);

    /// As much as the host would wait at its end, in two parts.
    const LIMIT: Duration = Duration::from_secs(2);
    const BRIEF: Duration = Duration::from_millis(50);

    /// Asks something, and waits for the answer. The first call starts the runtime.
    pub fn call(key: &str) -> Result<String, Box<dyn Error>> {
        let runtime = RUNTIME.get()?;
        Ok(runtime.block_on(async { format!("the answer to {key}") })?)
    }

    /// An object with a task in the background, for the host to keep and to drop as it likes.
    pub fn object() -> Result<Guarded<Object>, Box<dyn Error>> {
        let objects = match OBJECTS.get() {
            Some(objects) => objects,
            // Of two who come at once, one is dropped unused.
            None => {
                let _ = OBJECTS.set(Session::new("objects")?);
                OBJECTS.get().ok_or("it was set")?
            }
        };
        // Through the cell, so that it is told to stop and waited for.
        let watch = RUNTIME.get()?.spawn("watch", |stop| async {
            stop.await;
            CLOSED_IN_ORDER.store(true, Ordering::Relaxed);
        })?;
        drop(watch);
        Ok(objects.guard(Object)?)
    }

    /// What the host is told to call when it ends: `atexit`, or whatever it has.
    pub fn at_exit() {
        if let Some(Err(error)) = OBJECTS.get().map(|objects| objects.close_blocking(BRIEF)) {
            match error {
                CloseError { kind: CloseErrorKind::StillHeld, held, .. } => {
                    let left: usize = held.iter().map(|held| held.handles).sum();
                    println!("plugin: {left} object is still the host's");
                }
                error => println!("plugin: {error}"),
            }
        }
        // Every task has ended when this returns, and so has every thread.
        match RUNTIME.shutdown_blocking(LIMIT) {
            Ok(_) => {
                let in_order = CLOSED_IN_ORDER.load(Ordering::Relaxed);
                println!("plugin: the watch was closed in order: {in_order}");
            }
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
