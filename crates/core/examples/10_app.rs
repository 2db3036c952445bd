//! An application that logs in, logs out, and logs in again, in one process.
//!
//! Each login has a runtime and a session of its own. The client spawns a task that holds a clone of it, as
//! a real SDK does. A hook stops it before the session closes. What nobody stops ends with the runtime,
//! which the session owns. Then the session asks the system whether a file of the store is open. Only
//! after that are the files deleted, and the next user logs in, into the same folder.
//!
//! On Linux and macOS this prints
//!
//! ```text
//! alice is logged in
//! logged out, confirmed by Evidence; the store is deleted
//! bob is logged in
//! logged out, confirmed by Evidence; the store is deleted
//! ```

use std::{
    error::Error,
    fs::{self, File},
    io,
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use deadpool_runtime_current as deadpool_runtime;
use deadpool_sync_current::SyncWrapper;
use sundown::{RuntimeOwner, Session, evidence::no_open_files};
use tokio::sync::Notify;

/// How long a user would wait for a logout.
const LIMIT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store");
    for user in ["alice", "bob"] {
        fs::create_dir_all(&store)?;
        let runtime = RuntimeOwner::builder("client").workers(2).start()?;
        let evidence = no_open_files(&store);
        let session =
            Session::builder("login").runtime(runtime.clone()).evidence(evidence).start()?;
        let client = session.guard(runtime.block_on(Client::log_in(user, &store))??)?;
        println!("{} is logged in", client.user);
        // The session keeps a handle for the hook, and drops it when the hook has ended.
        session.before_close_with(&client, async |client| client.stop_sync())?;

        // Handles go wherever the application needs them: into a task, and to a tab.
        let (syncing, tab) = (client.clone(), client.clone());
        drop(runtime.spawn("sync", |stop| async move {
            stop.await;
            drop(syncing);
        })?);
        thread::spawn(move || drop(tab)).join().map_err(|_| "the tab panicked")?;

        drop(client);
        let report = session.close_blocking(LIMIT)?;
        fs::remove_dir_all(&store)?;
        println!("logged out, confirmed by {:?}; the store is deleted", report.confirmation);
    }
    Ok(())
}

/// A client over a store. Clones are the same client.
#[derive(Clone)]
struct Client {
    user: Arc<str>,
    stop: Arc<Notify>,
    /// The real wrapper of a pooled connection, around a real file.
    _connection: Arc<SyncWrapper<File>>,
}

impl Client {
    async fn log_in(user: &str, store: &Path) -> io::Result<Self> {
        let path = store.join("store.sqlite3");
        let open = move || File::create(path);
        let connection = SyncWrapper::new(deadpool_runtime::Runtime::Tokio1, open).await?;
        let (stop, connection) = (Arc::default(), Arc::new(connection));
        let client = Self { user: user.into(), stop, _connection: connection };
        // A task of its own, which syncs until it is told to stop. The session cannot see this clone.
        let syncing = client.clone();
        tokio::spawn(async move { syncing.stop.notified().await });
        Ok(client)
    }

    fn stop_sync(&self) {
        self.stop.notify_one();
    }
}
