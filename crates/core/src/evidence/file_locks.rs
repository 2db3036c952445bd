//! Locks on files below a path.

use std::{collections::HashSet, fmt, path::PathBuf};

use super::{
    Unconfirmed,
    follow::{Found, Source, follows},
    identity::Identity,
    open_files::Below,
};

follows! {
    /// Evidence that no file below a path is locked. Made by [`no_file_locks`].
    FileLocks, Locked
}

/// Evidence that this process holds no advisory lock on a file below a path: neither by `flock`
/// ([`File::lock`](std::fs::File::lock)), nor by `fcntl`, for the process or for an open file.
///
/// The files are those that [`no_open_files`](super::no_open_files) follows. A lock belongs to a
/// descriptor, so this says less than `no_open_files`: a file may stay open after its lock was released.
/// A descriptor that a child process has inherited keeps an `flock` alive, which this does not see.
///
/// # Errors
///
/// The check returns [`Unconfirmed::Against`] with the locks that this process holds. It returns
/// [`Unconfirmed::Unavailable`] if it has never seen a lock there, for the other reasons that
/// `no_open_files` has, and on other systems than Linux.
///
/// ```
/// # #[cfg(target_os = "linux")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::fs::File;
/// use sundown::evidence::{Evidence, Unconfirmed, no_file_locks};
///
/// let directory = tempfile::tempdir()?;
/// let is_unlocked = no_file_locks(directory.path());
/// let file = File::create(directory.path().join("store.lock"))?;
/// file.lock()?;
/// assert!(matches!(is_unlocked.check(), Err(Unconfirmed::Against(_))));
///
/// file.unlock()?;
/// assert_eq!(is_unlocked.check(), Ok(()));
/// # Ok(())
/// # }
/// # #[cfg(not(target_os = "linux"))]
/// # fn main() {}
/// ```
pub fn no_file_locks(below: impl Into<PathBuf>) -> FileLocks {
    FileLocks::follow(Locked { below: Below::new(below.into()) })
}

struct Locked {
    below: Below,
}

impl Source for Locked {
    type Identity = Identity;

    const CAN_BE_THOROUGH: bool = true;

    #[cfg(target_os = "linux")]
    fn find(
        &self,
        seen: &HashSet<Identity>,
        thorough: bool,
    ) -> Result<Vec<Found<Identity>>, Unconfirmed> {
        use super::{by_link, proc};

        let mut locked = Vec::new();
        for open in by_link::find(&self.below, seen, thorough)? {
            let Some(number) = open.entry.as_deref().and_then(|entry| entry.file_name()?.to_str())
            else {
                continue;
            };
            // It lists the locks that are held through this descriptor.
            let list = format!("/proc/thread-self/fdinfo/{number}");
            let info = proc::of_a_task(&list)?.unwrap_or_default();
            let info = String::from_utf8_lossy(&info);
            for lock in info.lines().filter_map(|line| line.strip_prefix("lock:")) {
                // `1: FLOCK  ADVISORY  WRITE …`
                let kind = lock.split_ascii_whitespace().nth(1).unwrap_or("lock");
                let name = format!("{} ({kind})", open.name);
                locked.push(Found { identity: open.identity, name });
            }
        }
        Ok(locked)
    }

    #[cfg(not(target_os = "linux"))]
    fn find(&self, _: &HashSet<Identity>, _: bool) -> Result<Vec<Found<Identity>>, Unconfirmed> {
        Err(super::EvidenceError::Unsupported.into())
    }

    fn fmt_what(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "locked below {}", self.below.path().display())
    }

    fn why_never_seen(&self) -> String {
        self.below.why_never_seen("locked")
    }
}
