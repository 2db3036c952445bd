//! The ledger: what happened to every resource, written before the process ends.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

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
/// The plan looks for this on Linux when it has torn everything down. It warns of it in the log and on standard
/// error. If `/proc` cannot be read, or does not answer within a
/// tenth of a second, it says nothing.
#[derive(Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum LeftBehind {
    /// A child process is alive, and nothing in the plan ends it. It may end by itself, if it reads a pipe of this
    /// process, say. A return from `main` kills those with `kill_on_drop`, and no others.
    #[error(
        "the child process `{name}` ({id}) is alive, and may run on; register it by `leftovers::child` or `process_group`, or with `Policy::Leak` if that is intended"
    )]
    ChildProcess {
        /// Its number.
        id: u32,
        /// Its name, of which Linux keeps the first 15 bytes.
        name: String,
    },
    /// A process that a child had started when the plan began has outlived that child.
    #[error(
        "the process `{name}` ({id}), which the child process {child} had started, is alive, and may run on; start the child with `process_group(0)` and register it by `leftovers::process_group`, or with `Policy::Leak` if that is intended"
    )]
    Descendant {
        /// Its number.
        id: u32,
        /// Its name, of which Linux keeps the first 15 bytes.
        name: String,
        /// The number of the child.
        child: u32,
    },
    /// The file of a Unix socket on which this process listened stays where it is. If it was bound by a relative
    /// path, and the working directory has changed twice since, nobody can see whether it is still there.
    #[error(
        "the file of the socket {path} {}stays; register it by `leftovers::files`, or with `Policy::Leak` if that is intended",
        if Path::new(path).is_relative() { "perhaps " } else { "" }
    )]
    SocketFile {
        /// Its path. It is relative if the directory is not known.
        path: String,
    },
}

sundown_core::debug_as_text!(LeftBehind);

impl LeftBehind {
    /// Warns of it in the log.
    fn log(&self) {
        tracing::warn!(target: "sundown", "left behind: {self}");
    }

    /// The same for standard error.
    pub(crate) fn line(&self) -> String {
        format!("warning: left behind: {self}\n")
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// At once. Rust's standard output is flushed, and nothing else runs: no destructors of thread-locals,
    /// no `atexit` handlers. What C code has printed into a pipe or a file, and C still holds, is lost: no safe
    /// code can flush it. If a library in C prints, use [`Exit::Normal`].
    #[default]
    Immediate,
    /// Through `std::process::exit`, called on a new thread. `atexit` handlers run. Destructors of
    /// thread-locals don't, because the new thread has none; on the leaving thread, they could abort
    /// the exit (experiment 07).
    ///
    /// Once `main` has returned, the standard library lets no other thread exit. If a plan begins in
    /// the destructor of a thread-local of the main thread, the process ends only at the plan's limit.
    /// Use [`Exit::Immediate`] there. And if `main` returns, or another thread exits, while the plan is executed,
    /// the plan ends the process at once when it is done.
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
    /// Its teardown called `exit`, or the like, on its own thread. That waits for the end of the plan, which decides
    /// on the code.
    #[error("its teardown exits the process, which the exit plan does itself when it has ended")]
    Exited,
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

sundown_core::debug_as_text!(Reason);

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

    /// Writes to the log how the resources up to this one ended, and what is left behind.
    pub(crate) fn log(&self, handled: usize) {
        let handled = self.entries.get(..handled).unwrap_or(&self.entries);
        handled.iter().for_each(Entry::log);
        let count = |outcome| handled.iter().filter(|e| e.outcome == outcome).count();
        tracing::info!(
            target: "sundown",
            code = self.code,
            torn_down = count(Outcome::TornDown),
            leaked = count(Outcome::Leaked),
            failed = count(Outcome::Failed),
            remaining = self.entries.len() - handled.len(),
            elapsed = ?self.elapsed,
            "leaving the process"
        );
        self.left_behind.iter().for_each(LeftBehind::log);
    }
}

impl Entry {
    fn log(&self) {
        let Self { name: resource, created_at, tried, reason, leaks, .. } = self;
        let why = reason.as_ref().map(Reason::to_string).unwrap_or_default();
        match (self.outcome, self.policy) {
            (Outcome::TornDown, _) => {
                tracing::debug!(target: "sundown", resource, created_at, ?tried, "torn down")
            }
            (Outcome::Leaked, PolicyKind::Leak) => {
                tracing::debug!(target: "sundown", resource, created_at, why, "leaked");
            }
            (Outcome::Leaked, _) => {
                tracing::warn!(target: "sundown", resource, created_at, ?tried, why, "leaked")
            }
            (Outcome::Failed, _) => {
                tracing::error!(target: "sundown", resource, created_at, ?tried, why, "not torn down");
            }
        }
        for Leak { what, leaked_at, why } in leaks {
            tracing::warn!(target: "sundown", resource, what, leaked_at, why, "leaked by a teardown");
        }
    }

    /// Its warnings and errors for standard error: why it was not torn down, unless that was intended, and what its
    /// teardown leaked.
    pub(crate) fn lines(&self) -> String {
        let Self { name, created_at, reason, leaks, .. } = self;
        let why = reason.as_ref().map(Reason::to_string).unwrap_or_default();
        let line = |level, what| {
            format!("{level}: `{name}`, created at {created_at}, was {what}: {why}\n")
        };
        let mut lines = match (self.outcome, self.policy) {
            (Outcome::TornDown, _) | (_, PolicyKind::Leak) => String::new(),
            (Outcome::Leaked, _) => line("warning", "leaked"),
            (Outcome::Failed, _) => line("error", "not torn down"),
        };
        for Leak { what, leaked_at, why } in leaks {
            lines += &format!(
                "warning: the teardown of `{name}` leaked a value of type `{what}` at {leaked_at}: {why}\n"
            );
        }
        lines
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
        match Option::<f64>::deserialize(from)? {
            // A duration near the maximum is rounded up to this number when it is written.
            Some(seconds) if seconds == u64::MAX as f64 => Ok(Duration::MAX),
            Some(seconds) => Duration::try_from_secs_f64(seconds).map_err(D::Error::custom),
            None => Ok(Duration::MAX),
        }
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

        let longest = Ledger { limit: Duration::from_secs(u64::MAX), ..ledger };
        let written = serde_json::to_string(&longest).unwrap();
        let read: Ledger = serde_json::from_str(&written).unwrap();
        assert_eq!(read.limit, Duration::MAX);
    }
}
