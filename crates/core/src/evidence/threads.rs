//! Threads by name.

use std::{collections::HashSet, fmt};

use super::{
    Unconfirmed,
    follow::{Found, Source, follows},
};

follows! {
    /// Evidence that no thread has a name that begins like this. Made by [`no_threads`].
    Threads, Named
}

/// Evidence that this process has no thread whose name begins with this prefix, for example `sqlx-`.
///
/// A thread that was seen is followed if it changes its name. The thread that checks is not counted.
///
/// Linux keeps the first 15 bytes of a thread's name, so a longer prefix is compared as far as that:
/// `sqlx-sqlite-worker` means each name that begins with `sqlx-sqlite-wor`. The default names are
/// those of the libraries: `tokio-rt-worker` for all threads of a Tokio runtime, its blocking threads
/// included. Name the threads of your own runtimes.
///
/// # Errors
///
/// The check returns [`Unconfirmed::Against`] with the threads that exist. It returns
/// [`Unconfirmed::Unavailable`] if it has never seen such a thread, if `/proc` cannot be read, for
/// example because no descriptor is left, and on other systems than Linux.
///
/// ```
/// # #[cfg(target_os = "linux")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::{sync::mpsc, thread};
/// use sundown::evidence::{Evidence, Unconfirmed, no_threads};
///
/// let have_ended = no_threads("indexer-");
/// let (stop, stopped) = mpsc::channel::<()>();
/// let (begun, began) = mpsc::channel();
/// let indexer = thread::Builder::new().name("indexer-0".to_owned()).spawn(move || {
///     let _ = begun.send(());
///     let _ = stopped.recv();
/// })?;
/// began.recv()?;
/// assert!(matches!(have_ended.check(), Err(Unconfirmed::Against(_))));
///
/// drop(stop);
/// indexer.join().unwrap();
/// // The system may list a thread for a moment after it was joined.
/// while let Err(Unconfirmed::Against(_)) = have_ended.check() {}
/// assert_eq!(have_ended.check(), Ok(()));
/// # Ok(())
/// # }
/// # #[cfg(not(target_os = "linux"))]
/// # fn main() {}
/// ```
pub fn no_threads(prefix: impl Into<String>) -> Threads {
    Threads::follow(Named { prefix: prefix.into() })
}

struct Named {
    prefix: String,
}

/// A thread by number and start.
type Identity = (u32, u64);

impl Source for Named {
    type Identity = Identity;

    #[cfg(target_os = "linux")]
    fn find(&self, seen: &HashSet<Identity>, _: bool) -> Result<Vec<Found<Identity>>, Unconfirmed> {
        use super::proc::{Stat, number_behind, numbers};
        const LIST: &str = "/proc/self/task";

        let itself = number_behind("/proc/thread-self")?;
        let mut threads = numbers(LIST)?;
        // A list that is read while threads end may lack others.
        threads.extend(seen.iter().map(|(thread, _)| *thread));
        threads.sort_unstable();
        threads.dedup();
        let mut found = Vec::new();
        for thread in threads.into_iter().filter(|thread| *thread != itself) {
            let Some(stat) = Stat::read(&format!("{LIST}/{thread}/stat"))? else { continue };
            let identity = (thread, stat.started);
            if !stat.has_ended && (stat.begins_with(&self.prefix) || seen.contains(&identity)) {
                let name = format!("{} ({thread})", stat.display());
                found.push(Found { identity: Some(identity), name });
            }
        }
        Ok(found)
    }

    #[cfg(not(target_os = "linux"))]
    fn find(&self, _: &HashSet<Identity>, _: bool) -> Result<Vec<Found<Identity>>, Unconfirmed> {
        Err(super::EvidenceError::Unsupported.into())
    }

    fn fmt_what(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "alive among threads named `{}…`", self.prefix)
    }

    fn why_never_seen(&self) -> String {
        format!(
            "no thread named `{}…` existed at any look, so none can have ended: is the name right?",
            self.prefix
        )
    }
}
