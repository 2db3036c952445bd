//! What the system does not take back when a process ends, and a resource for each.
//!
//! A return from `main` runs the destructors of what the program owns, on its stack and in the tasks of its
//! runtime. [`leave`](crate::plan::ExitPlan::leave) runs none of them: the system takes back memory,
//! threads and descriptors. What else a destructor would have done is not done (experiment 37). Register it:
//!
//! | what is left behind | register |
//! | --- | --- |
//! | a child process, also with `kill_on_drop` | [`child`] |
//! | a child and what it has started itself | [`process_group`] |
//! | the file of a Unix socket, a lock file, a file with the number of the process | [`files`] |
//! | a temporary directory, such as `tempfile::TempDir` | [`dropped`] |
//! | the lines that a non-blocking log writer holds, such as those of `tracing-appender` | [`dropped`] with its guard, and [`Resource::writes_the_log`] |
//! | what a telemetry provider has not sent | [`Resource::new`] with its `shutdown`, [`needs`](Resource::needs) the runtime |
//! | what C code has printed to a pipe or a file, and C has not written yet | nothing: end by [`Exit::Normal`](crate::ledger::Exit::Normal), which flushes it |
//! | the connections of a pool whose close is asynchronous | [`closed`], [`needs`](Resource::needs) the runtime |
//!
//! What the tasks of a runtime own is dropped if the runtime itself is in the plan, by
//! [`app::runtime`](crate::app::runtime): that kills children with `kill_on_drop`, too, though it does not
//! wait for their end.
//!
//! On Linux the plan looks for some of this when it has torn everything down: child processes that are alive, and
//! what a child had started that has ended since (none of them as the first process of a container, with which the
//! kernel ends all others), and files of Unix sockets on which this process listens. If nobody has registered them, it
//! [warns](crate::ledger::LeftBehind). Temporary directories, log lines and connections it cannot see.
//!
//! Child processes and groups were tried on Linux only, though they need no more than Unix.
//!
//! To leave something behind on purpose, such as a daemon, register it with
//! [`Policy::Leak`], and the plan does not warn.
//!
//! # Telemetry
//!
//! A provider of OpenTelemetry sends what is in its queue when it is shut down, and often over the
//! program's runtime. So `shutdown` must be called while the runtime runs, on a thread that is none of the
//! runtime's: on the only thread of a current-thread runtime it waits for itself. A plan has such a thread.
//! But if `leave` is called on the thread of a current-thread runtime, nothing drives that runtime any more,
//! and the teardown takes its whole limit (experiment 59). Leave from another thread, as
//! [`SignalGuard`](crate::signals::SignalGuard) does, or let a [`RuntimeOwner`](sundown_core::RuntimeOwner) have the
//! runtime: it has a thread of its own. A runtime that is dropped before the plan leaves is of no use either: the
//! provider has no task any more, and what is in its queue is lost.
//!
//! ```
//! use std::time::Duration;
//! use sundown::exit::{app, plan::ExitPlan, resource::{Policy, Resource}};
//! use sundown::RuntimeOwner;
//! # struct Provider;
//! # impl Provider { fn shutdown(&self) -> Result<(), std::io::Error> { Ok(()) } }
//! # let provider = Provider;
//!
//! let within = Duration::from_secs(1);
//! let runtime = RuntimeOwner::builder("program").workers(2).start()?;
//! let plan = ExitPlan::builder(Duration::from_secs(3)).build();
//! plan.add(app::runtime(Policy::TearDownOrLeak { within }, runtime))?;
//! let telemetry = Resource::new("telemetry", Policy::TearDown { within }, move |_exit| {
//!     Ok(provider.shutdown()?)
//! });
//! plan.add(telemetry.needs(app::RUNTIME))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(unix)]
mod processes;

use std::{
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use sundown_core::{panics, within};
use tokio::runtime::{Builder, Handle};

#[cfg(unix)]
pub use self::processes::{Kill, child, process_group};
use crate::resource::{Policy, Resource, Subject, TeardownResult};

/// A value that is dropped: a temporary directory, the guard of a log writer, anything whose destructor
/// does what has to be done.
///
/// The destructor runs on a thread of its own, without runtime context. For a value that needs one, use
/// [`app::client`](crate::app::client). A destructor cannot report an error; if the type has a method that
/// does, such as `TempDir::close`, call that in [`Resource::new`].
///
/// ```
/// use std::time::Duration;
/// use sundown::exit::{leftovers, plan::ExitPlan, resource::Policy};
///
/// let within = Duration::from_secs(2);
/// let plan = ExitPlan::builder(Duration::from_secs(3)).build();
///
/// // Registered first, so that it is torn down last. Its destructor waits for the writer, for a second.
/// let (writer, guard) = tracing_appender::non_blocking(std::io::sink());
/// plan.add(leftovers::dropped("log", Policy::TearDown { within }, guard).writes_the_log())?;
///
/// let scratch = tempfile::tempdir()?;
/// plan.add(leftovers::dropped("scratch", Policy::TearDown { within }, scratch))?;
/// # drop(writer);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn dropped(name: impl Into<String>, policy: Policy, value: impl Send + 'static) -> Resource {
    Resource::new(name, policy, move |_exit| {
        drop(value);
        Ok(())
    })
}

/// Something whose close is asynchronous, such as the connection pool of sqlx, of `mysql_async` or of redis.
/// The future runs on this runtime, where the connections live, and the teardown waits for it.
///
/// Let it [need](Resource::needs) the runtime, if that is in the plan. The teardown fails if the runtime has
/// shut down, if the future panics, and if it is not ready in time: then it goes on while the runtime does. A
/// current-thread runtime runs it only while a thread is in its `block_on`.
///
/// ```
/// use std::time::Duration;
/// use sundown::exit::{app, leftovers, plan::ExitPlan, resource::Policy};
/// use sundown::RuntimeOwner;
/// # #[derive(Clone)] struct Pool;
/// # impl Pool { async fn close(&self) {} }
/// # let pool = Pool;
///
/// let within = Duration::from_secs(1);
/// let runtime = RuntimeOwner::builder("program").workers(2).start()?;
/// let handle = runtime.handle()?;
/// let plan = ExitPlan::builder(Duration::from_secs(3)).build();
/// plan.add(app::runtime(Policy::TearDownOrLeak { within }, runtime))?;
/// let database = leftovers::closed("database", Policy::TearDown { within }, &handle, || async move {
///     pool.close().await;
///     Ok(())
/// });
/// plan.add(database.needs(app::RUNTIME))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn closed<F>(
    name: impl Into<String>,
    policy: Policy,
    runtime: &Handle,
    close: impl FnOnce() -> F + Send + 'static,
) -> Resource
where
    F: Future<Output = TeardownResult> + Send + 'static,
{
    let runtime = runtime.clone();
    Resource::new(name, policy, move |exit| {
        let closing = runtime.spawn(async move { close().await });
        // The kit's limits hold under any executor.
        let executor = Builder::new_current_thread().build()?;
        let limit = exit.limit();
        match executor.block_on(within(limit, closing)) {
            Some(Ok(closed)) => closed,
            Some(Err(error)) if error.is_panic() => {
                Err(format!("its close panicked: {}", panics::message(error.into_panic())).into())
            }
            Some(Err(_)) => {
                Err("its runtime has shut down: put the runtime into the plan before it, \
                                 and let it need the runtime"
                    .into())
            }
            None => Err(format!("its close has not ended after {limit:.1?}").into()),
        }
    })
}

/// Files that are removed: that of a Unix socket, a lock file, a file with the number of the process.
///
/// Register them when they exist. A file that is gone, and one that somebody has replaced in the meantime
/// (by its successor's socket, say), is left as it is: the plan compares device, inode and, where the file
/// system knows it, the time of creation.
///
/// # Errors
///
/// Those of the system, if a file does not exist or cannot be looked at.
///
/// ```
/// # #[cfg(unix)] {
/// use std::{os::unix::net::UnixListener, time::Duration};
/// use sundown::exit::{leftovers, plan::ExitPlan, resource::Policy};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("control.sock");
/// let plan = ExitPlan::builder(Duration::from_secs(3)).build();
/// let listener = UnixListener::bind(&path)?;
/// let within = Duration::from_secs(1);
/// plan.add(leftovers::files("control socket", Policy::TearDown { within }, [&path])?)?;
/// # drop(listener);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[track_caller]
pub fn files<P: AsRef<Path>>(
    name: impl Into<String>,
    policy: Policy,
    paths: impl IntoIterator<Item = P>,
) -> io::Result<Resource> {
    let mut files = Vec::new();
    for path in paths {
        // The working directory may be another one when the process leaves.
        let path = std::path::absolute(path)?;
        let found = fs::symlink_metadata(&path).map_err(|error| at(&path, &error))?;
        files.push((path, Identity::of(&found)));
    }
    let subjects = files.iter().map(|(path, _)| Subject::File(path.clone())).collect();
    let remove = move |_exit: &_| {
        let removed: Vec<_> = files.iter().map(|(path, file)| remove(path, file)).collect();
        Ok(removed.into_iter().collect::<io::Result<()>>()?)
    };
    Ok(Resource::new(name, policy, remove).about(subjects))
}

/// Removes a file unless it is gone or replaced. Between the look and the removal somebody may replace it:
/// no system removes a file by its identity.
fn remove(path: &PathBuf, file: &Identity) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if Identity::of(&found) == *file => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(path, &error)),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path, &error)),
        _ => Ok(()),
    }
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A file, whatever its name. Its inode may get another owner once it was removed, so this has the time of
/// creation as well.
#[derive(PartialEq, Eq)]
struct Identity {
    #[cfg(unix)]
    file: (u64, u64),
    created: Option<SystemTime>,
}

impl Identity {
    fn of(file: &Metadata) -> Self {
        Self {
            #[cfg(unix)]
            file: {
                use std::os::unix::fs::MetadataExt as _;
                (file.dev(), file.ino())
            },
            created: file.created().ok(),
        }
    }
}
