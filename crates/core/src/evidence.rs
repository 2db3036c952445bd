//! Evidence: checks from outside whether something *has* ended.
//!
//! A destructor that returned, a future that resolved, a count that reached zero: each is a statement of
//! the program about itself. A connection pool whose last owner is gone reports nothing, and its
//! connections may stay open as long as one of its tasks lives. The operating system knows: as long as a
//! connection is open, so is a descriptor of its file.
//!
//! | evidence | confirms that this process has |
//! | --- | --- |
//! | [`no_open_files`] | no file open below a path |
//! | [`no_file_locks`] | no lock on a file below a path |
//! | [`no_sockets_to`], [`no_sockets_on`] | no socket with this peer, or with this local port |
//! | [`no_threads`] | no thread whose name begins like this |
//! | [`no_child_processes`] | no running child process whose name begins like this |
//!
//! Something that ended and something that never existed look the same from outside. A path that is
//! spelled wrong would always be confirmed. So all of these compare: they confirm the end only of what
//! they *saw*, when somebody called [`look`](Evidence::look), or at an earlier
//! [`check`](Evidence::check). A check that never saw anything returns [`Unconfirmed::Unavailable`]. A
//! [session](crate::session) looks when it is given a value, before it tears that down, and when it begins
//! to close.
//!
//! They recognise what they saw although its name has changed: a file by device, inode and time of
//! creation, a socket by its inode, a thread and a process by number and start time.
//!
//! They read `/proc`, so they need Linux, and a free descriptor to read it with. Elsewhere the checks
//! return [`Unconfirmed::Unavailable`]; on macOS, open files are listed (unverified).

use std::{io, path::PathBuf};

#[cfg(any(target_os = "macos", all(test, unix)))]
mod by_identity;
#[cfg(target_os = "linux")]
pub(crate) mod by_link;
mod child_processes;
mod file_locks;
mod follow;
pub(crate) mod identity;
mod open_files;
// Public, but undocumented, because an exit plan looks at processes, too.
#[cfg(target_os = "linux")]
#[doc(hidden)]
pub mod proc;
pub(crate) mod sockets;
mod threads;

pub use child_processes::{ChildProcesses, no_child_processes};
pub use file_locks::{FileLocks, no_file_locks};
pub use open_files::{OpenFiles, no_open_files, open_files};
pub use sockets::{Sockets, no_sockets_on, no_sockets_to};
pub use threads::{Threads, no_threads};

/// A check from outside whether something has ended. A closure that returns `Result<(), Unconfirmed>` is
/// one.
///
/// ```
/// use std::{process::Command, sync::Mutex};
/// use sundown::evidence::{Evidence, Unconfirmed};
///
/// /// The container of a test has been removed.
/// struct ContainerIsGone {
///     name: &'static str,
///     was_seen: Mutex<bool>,
/// }
///
/// impl ContainerIsGone {
///     fn exists(&self) -> bool {
///         let command = Command::new("docker").args(["inspect", self.name]).output();
///         command.is_ok_and(|output| output.status.success())
///     }
/// }
///
/// impl Evidence for ContainerIsGone {
///     fn look(&self) {
///         *self.was_seen.lock().unwrap() |= self.exists();
///     }
///
///     fn check(&self) -> Result<(), Unconfirmed> {
///         if self.exists() {
///             return Err(Unconfirmed::Against(format!("the container `{}` exists", self.name)));
///         }
///         if !*self.was_seen.lock().unwrap() {
///             let why = format!("nobody saw the container `{}` while it existed", self.name);
///             return Err(Unconfirmed::Unavailable(why));
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Evidence: Send + Sync {
    /// Takes a look while the resource is open, so that a later [`check`](Self::check) has something to
    /// compare with. This must be quick. By default it does nothing.
    ///
    /// A look that fails, for example because no descriptor is left, is a look that saw nothing.
    fn look(&self) {}

    /// Whether the end is confirmed.
    ///
    /// # Errors
    ///
    /// [`Unconfirmed::Against`] while something has not ended, and [`Unconfirmed::Unavailable`] if the
    /// check cannot decide.
    fn check(&self) -> Result<(), Unconfirmed>;
}

impl<F: Fn() -> Result<(), Unconfirmed> + Send + Sync> Evidence for F {
    fn check(&self) -> Result<(), Unconfirmed> {
        self()
    }
}

/// Why a check did not confirm the end.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unconfirmed {
    /// Something has not ended: this is the remaining work. A later check may succeed.
    #[error("{0}")]
    Against(String),
    /// The check could not decide, for this reason.
    #[error("the check cannot decide: {0}")]
    Unavailable(String),
}

impl From<EvidenceError> for Unconfirmed {
    fn from(error: EvidenceError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Why the system could not be asked. This does not mean that nothing was found.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The path could not be resolved.
    #[error("cannot resolve `{}`: {source}; ask about a path that can be read", path.display())]
    Unresolved {
        /// The path that was passed in.
        path: PathBuf,
        /// The error from the OS.
        source: io::Error,
    },
    /// What the system lists could not be read.
    #[error("cannot read `{}`, where the system lists it: {source}; is it mounted, and is a descriptor left to read it with?", list.display())]
    Unlisted {
        /// Where the system keeps the list.
        list: PathBuf,
        /// The error from the OS.
        source: io::Error,
    },
    /// The kit cannot ask this platform.
    #[error("the kit cannot ask this platform about it; use other evidence here")]
    Unsupported,
}

crate::debug_as_text!(Unconfirmed, EvidenceError);
