//! An application that logs in, logs out, and logs in again, in one process.
//!
//! Each login has a runtime and a session of its own. The client spawns tasks that hold clones of
//! it, as a real SDK does, and nobody outside can drop those: the session owns the runtime that they
//! run on, and ends it. Then it asks the system whether a file of the store is still open. Only after
//! that are the files deleted, and only after that does somebody else log in: into the same folder.
//!
//! What stands in for the client here has a real file behind the real wrapper of a pooled connection,
//! `deadpool_sync::SyncWrapper`. On Linux and macOS this prints
//!
//! ```text
//! alice is logged in
//! logout: closed, on the strength of Evidence; 0 tasks had to be dropped
//! alice's store is deleted
//! bob is logged in
//! logout: closed, on the strength of Evidence; 0 tasks had to be dropped
//! bob's store is deleted
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
use sundown::{
    evidence::no_open_files,
    runtime::RuntimeOwner,
    session::{Guarded, Session},
};

/// How long a user would wait for a logout.
const LIMIT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let store = folder.path().join("store");
    for user in ["alice", "bob"] {
        let login = Login::of(user, &store)?;
        login.use_it()?;
        login.log_out()?;
        fs::remove_dir_all(&store)?;
        println!("{user}'s store is deleted");
    }
    Ok(())
}

/// Everything that belongs to one login. What outlives a logout is not in here.
struct Login {
    session: Session,
    runtime: RuntimeOwner,
    client: Guarded<Client>,
}

impl Login {
    fn of(user: &str, store: &Path) -> Result<Self, Box<dyn Error>> {
        fs::create_dir_all(store)?;
        let runtime = RuntimeOwner::builder("client").workers(2).start()?;
        let session = Session::builder("login")
            .runtime(runtime.clone())
            .evidence(no_open_files(store))
            .start()?;
        let client = session.guard(runtime.block_on(Client::log_in(user, store))??)?;
        println!("{} is logged in", client.user);
        Ok(Self { session, runtime, client })
    }

    /// Handles go wherever the application needs them. A task gets one with its stop signal.
    fn use_it(&self) -> Result<(), Box<dyn Error>> {
        let client = self.client.clone();
        let synced = self.runtime.spawn("sync", |stop| async move {
            stop.await;
            client.user.len()
        })?;
        drop(synced); // nobody is interested in its answer
        let tab = self.client.clone();
        thread::spawn(move || drop(tab)).join().map_err(|_| "the tab panicked")?;
        Ok(())
    }

    fn log_out(self) -> Result<(), Box<dyn Error>> {
        let Self { session, client, .. } = self;
        drop(client);
        let report = session.close_blocking(LIMIT)?;
        println!(
            "logout: closed, on the strength of {:?}; {} tasks had to be dropped",
            report.confirmation, report.aborted
        );
        Ok(())
    }
}

/// A client over a store. Clones are the same client.
#[derive(Clone)]
struct Client {
    user: Arc<str>,
    _connection: Arc<SyncWrapper<File>>,
}

impl Client {
    async fn log_in(user: &str, store: &Path) -> io::Result<Self> {
        let path = store.join("store.sqlite3");
        let open = move || File::create(path);
        let connection = SyncWrapper::new(deadpool_runtime::Runtime::Tokio1, open).await?;
        let client = Self { user: user.into(), _connection: Arc::new(connection) };
        // Of its own accord, and for good: the session cannot see this clone.
        tokio::spawn({
            let client = client.clone();
            async move {
                let _client = client;
                std::future::pending::<()>().await;
            }
        });
        Ok(client)
    }
}
