//! Many owners of one resource, torn down once, wherever the last of them dies.
//!
//! An application spreads a client around: a tab has it, a cache, a task. Whoever drops the last
//! clone runs the destructor, on whatever thread that is. With a session it does not matter who is
//! last: each owner has a handle, the last handle gives its value to the session and returns at once,
//! and `close` tells when everything has ended, or who is in the way.
//!
//! What a session cannot see, it does not claim. A clone that is taken *out* of a handle is an owner
//! like any other; *evidence*, here a count that the client keeps, is what finds it. The handles are
//! let go one after another, and the output says what `close` answers each time:
//!
//! ```text
//! two handles left: still held, made at 2 places
//! a clone was taken out: 1 connection open
//! all is gone: closed, on the strength of Evidence
//! a new value: refused
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

use sundown::{
    evidence::Unconfirmed,
    session::{CloseError, CloseErrorKind, Session},
    teardown::teardown_blocking,
};

/// Long enough for all that can end.
const LIMIT: Duration = Duration::from_secs(5);

/// For a look at what cannot.
const BRIEF: Duration = Duration::from_millis(50);

fn main() -> Result<(), Box<dyn Error>> {
    let session = Session::builder("client").evidence(no_connection_is_open).start()?;
    let client = session.guard(Client::connect())?;

    // A handle for a tab, and a room that belongs to the same session.
    let tab = client.clone();
    let room = client.map(|client| Room { client: client.clone() });
    drop(client);

    match session.close_blocking(BRIEF) {
        Err(CloseError { kind: CloseErrorKind::StillHeld, held, .. }) => {
            println!("two handles left: still held, made at {} places", held.len());
        }
        other => return Err(format!("not as expected: {other:?}").into()),
    }

    // On a thread that knows no runtime. `drop(Client)` would panic there.
    let escaped = Client::clone(&tab);
    thread::spawn(move || drop((tab, room))).join().map_err(|_| "the thread panicked")?;

    match session.close_blocking(BRIEF) {
        Err(CloseError { kind: CloseErrorKind::Unconfirmed(why), .. }) => {
            println!("a clone was taken out: {why}");
        }
        other => return Err(format!("not as expected: {other:?}").into()),
    }

    teardown_blocking(escaped, LIMIT)?;
    let report = session.close_blocking(LIMIT)?;
    println!("all is gone: closed, on the strength of {:?}", report.confirmation);

    if let Err(refused) = session.guard(Client::connect()) {
        println!("a new value: refused");
        teardown_blocking(refused.value, LIMIT)?;
    }
    Ok(())
}

/// How many connections are open, as the client's library counts them.
static OPEN: AtomicUsize = AtomicUsize::new(0);

fn no_connection_is_open() -> Result<(), Unconfirmed> {
    // A count, and nothing is read on the strength of it.
    match OPEN.load(Ordering::Relaxed) {
        0 => Ok(()),
        open => Err(Unconfirmed::Against(format!("{open} connection open"))),
    }
}

/// A client: the last clone closes the connection, and needs a runtime for that.
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

/// What is derived from a client, and has one inside.
struct Room {
    #[allow(dead_code, reason = "it is there to be dropped")]
    client: Client,
}

struct Connection;

/// As the wrapper of a pooled connection does it (see `01_teardown`).
impl Drop for Connection {
    fn drop(&mut self) {
        tokio::task::spawn_blocking(|| OPEN.fetch_sub(1, Ordering::Relaxed));
    }
}
