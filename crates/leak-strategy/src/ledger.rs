//! The ledger: what happened to every resource, written before the process ends.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::Level;

/// What happened to every resource of a plan, in teardown order: each resource comes before those that
/// it needs. In JSON, durations are seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ledger {
    /// The exit code.
    pub code: i32,
    /// How the process ends.
    pub exit: Exit,
    /// The limit of the plan. [`Duration::MAX`] means no limit and is `null` in JSON.
    #[serde(rename = "limit_seconds", with = "seconds")]
    pub limit: Duration,
    /// The time from `leave` to the writing of this ledger.
    #[serde(rename = "elapsed_seconds", with = "seconds")]
    pub elapsed: Duration,
    /// One entry for each resource.
    pub entries: Vec<Entry>,
    /// What the process leaves behind, as far as the plan can see it, and no resource is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_behind: Vec<LeftBehind>,
}

/// Something that the process leaves behind, and that no resource of the plan is about.
///
/// The plan looks for this on Linux when it has torn everything down. It says it by a warning in the log, and
/// on standard error if no subscriber takes that warning. If `/proc` cannot be read, or does not answer within a
/// tenth of a second, it says nothing.
#[derive(Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum LeftBehind {
    /// A child process runs on. A return from `main` kills those with `kill_on_drop`, and no others.
    #[error(
        "the child process `{name}` ({id}) runs on; register it by `leftovers::child` or `process_group`, or with `Policy::Leak` if that is intended"
    )]
    ChildProcess {
        /// Its number.
        id: u32,
        /// Its name, of which Linux keeps the first 15 bytes.
        name: String,
    },
    /// The file of a Unix socket on which this process listened stays where it is.
    #[error(
        "the file of the socket {path} stays; register it by `leftovers::files`, or with `Policy::Leak` if that is intended"
    )]
    SocketFile {
        /// Its path.
        path: String,
    },
}

sundown::debug_as_text!(LeftBehind);

impl LeftBehind {
    /// Warns of it in the log, or on standard error if no subscriber takes the warning.
    pub(crate) fn warn(&self) {
        if tracing::event_enabled!(Level::WARN) {
            tracing::warn!("left behind: {self}");
        } else {
            self.say();
        }
    }

    /// Warns of it on standard error.
    pub(crate) fn say(&self) {
        let _ = writeln!(io::stderr(), "warning: left behind: {self}");
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// At once. Standard output is flushed, and nothing else runs: no destructors of thread-locals,
    /// no `atexit` handlers.
    #[default]
    Immediate,
    /// Through `std::process::exit`, called on a new thread. `atexit` handlers run. Destructors of
    /// thread-locals don't, because the new thread has none; on the leaving thread, they could abort
    /// the exit (experiment 07).
    ///
    /// Once `main` has returned, the standard library lets no other thread exit. If a plan begins in
    /// the destructor of a thread-local of the main thread, the process ends only at the plan's limit.
    /// Use [`Exit::Immediate`] there.
    Normal,
}

/// What happened to one resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// The name of the resource.
    pub name: String,
    /// The names of the resources that it needs.
    pub needs: Vec<String>,
    /// Where it was created: `src/main.rs:3:5`.
    pub created_at: String,
    /// Its policy.
    pub policy: PolicyKind,
    /// What happened to it.
    pub outcome: Outcome,
    /// Why it was not torn down. `None` if it was.
    pub reason: Option<Reason>,
    /// How long the plan waited for its teardown.
    #[serde(rename = "tried_seconds", with = "seconds")]
    pub tried: Duration,
    /// The values that its teardown leaked with its token.
    pub leaks: Vec<Leak>,
}

/// The name of a [`Policy`](crate::resource::Policy) in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    /// [`Policy::TearDown`](crate::resource::Policy::TearDown).
    TearDown,
    /// [`Policy::TearDownOrLeak`](crate::resource::Policy::TearDownOrLeak).
    TearDownOrLeak,
    /// [`Policy::Leak`](crate::resource::Policy::Leak).
    Leak,
}

/// What happened to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its teardown returned without an error, and the teardown's thread has ended, with its
    /// thread-locals. Threads and tasks that the teardown started, and did not wait for, may be alive.
    TornDown,
    /// It was not torn down, and its policy allows that.
    Leaked,
    /// It was not torn down, although its policy demands it.
    Failed,
}

/// Why a resource was not torn down.
#[derive(Clone, Error, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum Reason {
    /// Its policy is to leak it.
    #[error("its policy is to leak it: {why}")]
    Policy {
        /// The reason that the policy gives.
        why: String,
    },
    /// Its own limit or the plan's passed during the teardown.
    #[error("its limit passed")]
    TimedOut,
    /// The teardown was not started, because the plan's limit had passed or its own is zero.
    #[error("there was no time left to try")]
    NoTimeLeft,
    /// Its teardown returned an error.
    #[error("its teardown failed: {message}")]
    Error {
        /// The text of the error.
        message: String,
    },
    /// Its teardown panicked.
    #[error("its teardown panicked: {message}")]
    Panicked {
        /// The message of the panic.
        message: String,
    },
    /// A resource that needs it was not torn down.
    #[error("`{by}` needs it and was not torn down")]
    StillNeeded {
        /// The name of that resource.
        by: String,
    },
    /// The system refused a thread for the teardown.
    #[error("there was no thread to tear it down on: {message}")]
    NoThread {
        /// The text of the system's error.
        message: String,
    },
    /// The process aborted, or the plan's limit passed, before the teardown.
    #[error("the process ended before its turn")]
    NotReached,
    /// The process aborted, or the plan's limit passed, during the teardown.
    #[error("the process ended while it was being torn down")]
    Unfinished,
    /// It was registered while the process was leaving.
    #[error("it was registered while the process was leaving")]
    TooLate,
}

sundown::debug_as_text!(Reason);

/// A value that a teardown leaked with its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leak {
    /// Its type.
    pub what: String,
    /// Where it was leaked: `src/main.rs:3:5`.
    pub leaked_at: String,
    /// The reason that the teardown gave.
    pub why: String,
}

/// Why a ledger could not be written. It does not change the exit code.
#[derive(Debug, Error)]
#[error("cannot write the exit ledger to {}: {source}; the log has its contents", path.display())]
pub(crate) struct LedgerError {
    path: PathBuf,
    source: io::Error,
}

impl Ledger {
    /// Writes to another file and renames it, so that the ledger at `path` is complete whenever the
    /// process ends.
    pub(crate) fn write(&self, path: &Path) -> Result<(), LedgerError> {
        let failed = |source| LedgerError { path: path.to_owned(), source };
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let json = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        fs::write(&partial, json).and_then(|()| fs::rename(&partial, path)).map_err(failed)
    }

    /// Writes to the log how the resources up to this one ended.
    pub(crate) fn log(&self, handled: usize) {
        let handled = self.entries.get(..handled).unwrap_or(&self.entries);
        handled.iter().for_each(Entry::log);
        let count = |outcome| handled.iter().filter(|e| e.outcome == outcome).count();
        tracing::info!(
            code = self.code,
            torn_down = count(Outcome::TornDown),
            leaked = count(Outcome::Leaked),
            failed = count(Outcome::Failed),
            remaining = self.entries.len() - handled.len(),
            elapsed = ?self.elapsed,
            "leaving the process"
        );
    }
}

impl Entry {
    /// Writes it to the log, or to standard error if no subscriber takes an error or a warning.
    fn log(&self) {
        let Self { name: resource, created_at, tried, reason, leaks, .. } = self;
        let why = reason.as_ref().map(Reason::to_string).unwrap_or_default();
        match (self.outcome, self.policy) {
            (Outcome::TornDown, _) => tracing::debug!(resource, created_at, ?tried, "torn down"),
            (Outcome::Leaked, PolicyKind::Leak) => {
                tracing::debug!(resource, created_at, why, "leaked");
            }
            (Outcome::Leaked, _) if tracing::event_enabled!(Level::WARN) => {
                tracing::warn!(resource, created_at, ?tried, why, "leaked");
            }
            (Outcome::Failed, _) if tracing::event_enabled!(Level::ERROR) => {
                tracing::error!(resource, created_at, ?tried, why, "not torn down");
            }
            (Outcome::Leaked | Outcome::Failed, _) => self.say(),
        }
        for Leak { what, leaked_at, why } in leaks {
            tracing::warn!(resource, what, leaked_at, why, "leaked by a teardown");
        }
    }

    /// Says on standard error why it was not torn down, unless that was intended.
    pub(crate) fn say(&self) {
        let Self { name, created_at, reason, .. } = self;
        let why = reason.as_ref().map(Reason::to_string).unwrap_or_default();
        let (level, what) = match (self.outcome, self.policy) {
            (Outcome::TornDown, _) | (_, PolicyKind::Leak) => return,
            (Outcome::Leaked, _) => ("warning", "leaked"),
            (Outcome::Failed, _) => ("error", "not torn down"),
        };
        let line = format!("{level}: `{name}`, created at {created_at}, was {what}: {why}\n");
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// A duration as a number of seconds, and `Duration::MAX` as `null`.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        (*time != Duration::MAX).then_some(time.as_secs_f64()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let time = Option::<f64>::deserialize(from)?.map(Duration::try_from_secs_f64);
        time.unwrap_or(Ok(Duration::MAX)).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_survives_json() {
        let json = concat!(
            r#"{"code":3,"exit":"immediate","limit_seconds":null,"elapsed_seconds":2.0,"entries":["#,
            r#"{"name":"client","needs":["runtime"],"created_at":"src/main.rs:3:5","#,
            r#""policy":"tear_down_or_leak","outcome":"leaked","#,
            r#""reason":{"kind":"error","message":"it is busy"},"tried_seconds":1.5,"leaks":[]}]}"#,
        );
        let ledger: Ledger = serde_json::from_str(json).unwrap();
        assert_eq!(ledger.limit, Duration::MAX);
        assert_eq!(ledger.entries[0].tried, Duration::from_millis(1500));
        assert_eq!(ledger.left_behind, [], "a ledger of an older version is read, too");
        assert_eq!(serde_json::to_string(&ledger).unwrap(), json);
    }
}
