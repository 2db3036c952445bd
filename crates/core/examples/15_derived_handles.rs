//! What depends on a client belongs to the client's session, too.
//!
//! A room holds a clone of its client. A room that outlives the client's handles would be the last owner,
//! and its destructor would panic on a thread without a runtime. A room that is derived *through* the
//! handle is a handle itself. A cache takes a weak handle, which keeps nothing. The SDK's own shutdown is
//! a hook, for which the session keeps a handle until the hook has run.
//!
//! ```text
//! the room and the timeline outlive the client's handle
//! the cache still finds the room
//! the hook has paused the client
//! closed; the cache finds nothing
//! ```

use std::{error::Error, thread, time::Duration};

use sundown::Session;

const LIMIT: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let session = Session::new("client")?;
    let client = session.guard(Client)?;
    session.before_close_with(&client, async |client| client.pause().await)?;

    // Not `client.room()?`: that would be a plain room, which the session does not see.
    let room = client.try_map(|client| client.room().ok_or("no such room"))?;
    let timeline = futures::executor::block_on(room.map_async(|room| room.timeline()));
    let cache = room.downgrade();
    drop(client);
    println!("the room and the timeline outlive the client's handle");
    if cache.upgrade().is_some() {
        println!("the cache still finds the room");
    }

    // On a thread without a runtime, where the value itself could not be dropped.
    let user_interface = thread::spawn(move || drop((room, timeline)));
    user_interface.join().map_err(|_| "the thread panicked")?;
    let _ = session.close_blocking(LIMIT)?;
    if cache.upgrade().is_none() {
        println!("closed; the cache finds nothing");
    }
    Ok(())
}

/// Needs a runtime when it is dropped, like the wrapper of a pooled connection (see `01_teardown`).
struct Connection;

impl Drop for Connection {
    fn drop(&mut self) {
        tokio::task::spawn_blocking(|| ());
    }
}

struct Client;

impl Client {
    fn room(&self) -> Option<Room> {
        Some(Room { _connection: Connection })
    }

    async fn pause(&self) {
        println!("the hook has paused the client");
    }
}

struct Room {
    _connection: Connection,
}

impl Room {
    async fn timeline(&self) -> Timeline {
        Timeline { _connection: Connection }
    }
}

struct Timeline {
    _connection: Connection,
}
