//! Child processes.

use std::{collections::HashSet, fmt};

use super::{
    Unconfirmed,
    follow::{Found, Source, follows},
};

follows! {
    /// Evidence that no child process runs. Made by [`no_child_processes`].
    ChildProcesses, Named
}

/// Evidence that no child process of this process runs whose name begins with this prefix. An empty
/// prefix means every child.
///
/// The name is that of the program, of which Linux keeps the first 15 bytes; a longer prefix is compared
/// as far as that. Between `fork` and `exec` a child has the name of the thread that started it. A child
/// that was seen is followed if its name changes.
///
/// A child that has ended is over, also if nobody has waited for it yet. The children of a child are not
/// children of this process.
///
/// # Errors
///
/// The check returns [`Unconfirmed::Against`] with the children that run. It returns
/// [`Unconfirmed::Unavailable`] if it has never seen one, if `/proc` cannot be read, for example because
/// no descriptor is left, and on other systems than Linux.
///
/// ```
/// # #[cfg(target_os = "linux")]
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::process::Command;
/// use sundown::evidence::{Evidence, Unconfirmed, no_child_processes};
///
/// let have_ended = no_child_processes("sleep");
/// let mut child = Command::new("sleep").arg("60").spawn()?;
/// assert!(matches!(have_ended.check(), Err(Unconfirmed::Against(_))));
///
/// child.kill()?;
/// child.wait()?;
/// assert_eq!(have_ended.check(), Ok(()));
/// # Ok(())
/// # }
/// # #[cfg(not(target_os = "linux"))]
/// # fn main() {}
/// ```
pub fn no_child_processes(prefix: impl Into<String>) -> ChildProcesses {
    ChildProcesses::follow(Named { prefix: prefix.into() })
}

struct Named {
    prefix: String,
}

/// A process by number and start.
type Identity = (u32, u64);

impl Source for Named {
    type Identity = Identity;

    #[cfg(target_os = "linux")]
    fn find(&self, seen: &HashSet<Identity>, _: bool) -> Result<Vec<Found<Identity>>, Unconfirmed> {
        let mut found = Vec::new();
        let seen_processes = seen.iter().map(|(process, _)| *process);
        for (process, stat) in super::proc::children(seen_processes)? {
            let identity = (process, stat.started);
            if stat.begins_with(&self.prefix) || seen.contains(&identity) {
                let name = format!("{} ({process})", stat.display());
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
        match &*self.prefix {
            "" => f.write_str("alive among child processes"),
            prefix => write!(f, "alive among child processes named `{prefix}…`"),
        }
    }

    fn why_never_seen(&self) -> String {
        format!(
            "none was {} at any look, so none can have ended",
            crate::newer_std::from_fn(|f| self.fmt_what(f))
        )
    }
}
