//! Many owners of one resource, torn down once, wherever the last of them is dropped.
//!
//! Each owner has a handle. The last handle gives its value to the session and returns at once, and
//! `close` says when everything has ended, or what is in the way. A clone that was taken *out* of a
//! handle is invisible to the session; *evidence* finds it.
//!
//! ```text
//! two handles are held, made at 2 places
//! a clone was taken out: 1 connection open
//! closed, confirmed by Evidence
//! ```

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use sundown::{CloseErrorKind, Session, evidence::Unconfirmed, teardown_blocking};

const LIMIT: Duration = Duration::from_secs(5);
/// For a look at what cannot end.
const BRIEF: Duration = Duration::from_millis(50);

fn main() -> Result<(), Box<dyn Error>> {
    let session = Session::builder("client").evidence(no_connection_is_open).start()?;
    let client = session.guard(Client::connect())?;
    // A handle for a tab, and a room that belongs to the same session.
    let tab = client.clone();
    let room = client.map(|client| Room(client.clone()));
    drop(client);

    let Err(error) = session.close_blocking(BRIEF) else {
        return Err("it should not end: two handles are held".into());
    };
    println!("two handles are held, made at {} places", error.held.len());

    let escaped = Client::clone(&tab);
    // On a thread without a runtime, where `drop(Client)` would panic.
    thread::spawn(move || drop((tab, room))).join().map_err(|_| "the thread panicked")?;
    let Err(error) = session.close_blocking(BRIEF) else {
        return Err("it should not end: a clone was taken out".into());
    };
    if let CloseErrorKind::Unconfirmed(why) = error.kind {
        println!("a clone was taken out: {why}");
    }

    teardown_blocking(escaped, LIMIT)?;
    let report = session.close_blocking(LIMIT)?;
    println!("closed, confirmed by {:?}", report.confirmation);
    Ok(())
}

/// How many connections are open, as the client's library counts them.
static OPEN: AtomicUsize = AtomicUsize::new(0);

fn no_connection_is_open() -> Result<(), Unconfirmed> {
    match OPEN.load(Ordering::Relaxed) {
        0 => Ok(()),
        open => Err(Unconfirmed::Against(format!("{open} connection open"))),
    }
}

/// The last clone closes the connection.
#[derive(Clone)]
struct Client {
    _connection: Arc<Connection>,
}

impl Client {
    fn connect() -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self { _connection: Arc::new(Connection) }
    }
}

/// It is derived from a client, and contains one.
struct Room(#[allow(dead_code, reason = "it is there to be dropped")] Client);

struct Connection;

/// Needs a runtime, like the wrapper of a pooled connection (see `01_teardown`).
impl Drop for Connection {
    fn drop(&mut self) {
        tokio::task::spawn_blocking(|| OPEN.fetch_sub(1, Ordering::Relaxed));
    }
}
