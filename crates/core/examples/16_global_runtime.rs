//! A logout in an application that has one runtime for everything.
//!
//! Nobody takes that runtime down. So the session gets its handle, and must learn in another way that the
//! client is gone: a hook stops the client's own task, and evidence sees its file closed. The logout may
//! be a task of that very runtime.
//!
//! On Linux and macOS this prints
//!
//! ```text
//! logged out, confirmed by Evidence
//! the runtime goes on
//! ```

use std::{error::Error, fs::File, io, path::Path, sync::Arc, time::Duration};

use sundown::{CloseReport, Session, evidence::no_open_files};
use tokio::{runtime::Handle, sync::Notify};

const LIMIT: Duration = Duration::from_secs(10);

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let report = tokio::spawn(log_in_and_out()).await??;
    println!("logged out, confirmed by {:?}", report.confirmation);
    tokio::spawn(async { println!("the runtime goes on") }).await?;
    Ok(())
}

async fn log_in_and_out() -> Result<CloseReport, Failure> {
    let store = tempfile::tempdir()?;
    let session = Session::builder("login")
        .runtime(Handle::current())
        .evidence(no_open_files(store.path()))
        .start()?;
    let client = session.guard(Client::connect(store.path())?)?;
    session.before_close_with(&client, async |client| client.pause())?;

    drop(client);
    Ok(session.close(LIMIT).await?)
}

/// A client over a file. Its own task holds a clone until it is told to stop.
#[derive(Clone)]
struct Client {
    _file: Arc<File>,
    stop: Arc<Notify>,
}

impl Client {
    fn connect(store: &Path) -> io::Result<Self> {
        let file = File::create(store.join("store.sqlite3"))?;
        let client = Self { _file: Arc::new(file), stop: Arc::default() };
        let syncing = client.clone();
        tokio::spawn(async move { syncing.stop.notified().await });
        Ok(client)
    }

    fn pause(&self) {
        self.stop.notify_one();
    }
}
