//! The ledger: what became of every resource, written down before the process ends.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{plan::Exit, resource::PolicyKind};

/// What became of every resource of a plan, in the order in which they were dealt with: who needs
/// another comes before it.
///
/// In JSON, durations are seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// The exit code.
    pub code: i32,
    /// The way out.
    pub exit: Exit,
    /// The limit of the plan; absent where it had none.
    #[serde(rename = "limit_seconds", with = "optional_seconds")]
    pub limit: Option<Duration>,
    /// From the call to the writing of this.
    #[serde(rename = "elapsed_seconds", with = "seconds")]
    pub elapsed: Duration,
    /// One for each resource.
    pub entries: Vec<Entry>,
}

/// What became of one resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What it is called.
    pub name: String,
    /// What it needs.
    pub needs: Vec<String>,
    /// Where it was created: `src/main.rs:3:5`.
    pub created_at: String,
    /// What was to be done with it.
    pub policy: PolicyKind,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was not torn down; absent where it was.
    pub reason: Option<Reason>,
    /// For how long it was tried.
    #[serde(rename = "tried_seconds", with = "seconds")]
    pub tried: Duration,
    /// What its teardown leaked by itself, with its token.
    pub leaks: Vec<Leak>,
}

/// What became of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its teardown returned without an error.
    TornDown,
    /// It is left to the system, as its policy allows.
    Leaked,
    /// It should have been torn down, and was not.
    Failed,
}

/// Why a resource was not torn down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum Reason {
    /// Its policy says so.
    Policy {
        /// The reason that the policy gives.
        why: String,
    },
    /// Its limit, or that of the plan, passed while it was tried.
    TimedOut,
    /// The limit of the plan had passed, or its own is zero, so that it was not tried.
    NoTimeLeft,
    /// Its teardown returned an error.
    Error {
        /// What the error said.
        message: String,
    },
    /// Its teardown panicked.
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// Something that needs it is still there.
    StillNeeded {
        /// What needs it.
        by: String,
    },
    /// The system gave no thread to try it on.
    NoThread {
        /// What the system said.
        message: String,
    },
    /// The process ended before its turn came: by an abort, or because the limit cut everything off.
    NotReached,
    /// The process ended in the same way while it was being tried.
    Unfinished,
    /// It was registered when the process was being left already.
    TooLate,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy { why } => write!(f, "its policy says so: {why}"),
            Self::TimedOut => f.write_str("its limit passed"),
            Self::NoTimeLeft => f.write_str("there was no time left to try"),
            Self::Error { message } => write!(f, "its teardown failed: {message}"),
            Self::Panicked { message } => write!(f, "its teardown panicked: {message}"),
            Self::StillNeeded { by } => write!(f, "{by}, which needs it, is still there"),
            Self::NoThread { message } => write!(f, "there was no thread to try it on: {message}"),
            Self::NotReached => f.write_str("the process ended before its turn"),
            Self::Unfinished => f.write_str("the process ended while it was being torn down"),
            Self::TooLate => f.write_str("it was registered while the process was being left"),
        }
    }
}

/// A value that a teardown leaked by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leak {
    /// Its type.
    pub what: String,
    /// Where it was leaked: `src/main.rs:3:5`.
    pub leaked_at: String,
    /// Why, in the words of whoever leaked it.
    pub why: String,
}

/// Why a ledger could not be written. The exit code is not changed by it.
#[derive(Debug, Error)]
#[error("cannot write the exit ledger to {}: {source}; the log has what it says", path.display())]
pub(crate) struct LedgerError {
    path: PathBuf,
    source: io::Error,
}

impl Ledger {
    /// Writes the ledger beside its place first, and then moves it there: a ledger that is there is
    /// whole, whenever the process ends.
    pub(crate) fn write(&self, path: &Path) -> Result<(), LedgerError> {
        let failed = |source| LedgerError { path: path.to_owned(), source };
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let json = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        fs::write(&partial, json).and_then(|()| fs::rename(&partial, path)).map_err(failed)
    }

    /// Writes the ledger to the log.
    pub(crate) fn log(&self) {
        self.entries.iter().for_each(Entry::log);
        let count = |outcome| self.entries.iter().filter(|e| e.outcome == outcome).count();
        tracing::info!(
            code = self.code,
            torn_down = count(Outcome::TornDown),
            leaked = count(Outcome::Leaked),
            failed = count(Outcome::Failed),
            elapsed = ?self.elapsed,
            "leaving the process"
        );
    }
}

impl Entry {
    fn log(&self) {
        let Self { name: resource, created_at, tried, reason, leaks, .. } = self;
        let why = reason.as_ref().map(Reason::to_string).unwrap_or_default();
        match (self.outcome, self.policy) {
            (Outcome::TornDown, _) => tracing::debug!(resource, created_at, ?tried, "torn down"),
            (Outcome::Leaked, PolicyKind::Leak) => {
                tracing::debug!(resource, created_at, why, "leaked");
            }
            (Outcome::Leaked, _) => tracing::warn!(resource, created_at, ?tried, why, "leaked"),
            (Outcome::Failed, _) => {
                tracing::error!(resource, created_at, ?tried, why, "not torn down");
            }
        }
        for Leak { what, leaked_at, why } in leaks {
            tracing::warn!(resource, what, leaked_at, why, "leaked by a teardown");
        }
    }
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(time.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(D::Error::custom)
    }
}

mod optional_seconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    #[allow(clippy::ref_option, reason = "serde hands it over like this")]
    pub(super) fn serialize<S: Serializer>(
        time: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        time.map(|time| time.as_secs_f64()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let time = Option::<f64>::deserialize(from)?;
        time.map(Duration::try_from_secs_f64).transpose().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_survives_json() {
        let entry = Entry {
            name: "client".to_owned(),
            needs: vec!["runtime".to_owned()],
            created_at: "src/main.rs:3:5".to_owned(),
            policy: PolicyKind::TearDownOrLeak,
            outcome: Outcome::Leaked,
            reason: Some(Reason::Error { message: "it is busy".to_owned() }),
            tried: Duration::from_millis(1500),
            leaks: vec![],
        };
        let ledger = Ledger {
            code: 3,
            exit: Exit::Immediate,
            limit: None,
            elapsed: Duration::from_secs(2),
            entries: vec![entry],
        };
        let json = serde_json::to_string(&ledger).unwrap();
        assert!(json.contains(r#""tried_seconds":1.5"#), "{json}");
        assert!(json.contains(r#""reason":{"kind":"error","message":"it is busy"}"#), "{json}");
        assert_eq!(serde_json::from_str::<Ledger>(&json).unwrap(), ledger);
    }

    #[test]
    fn a_ledger_that_cannot_be_written_names_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing/exit.json");
        let (code, exit) = (0, Exit::Normal);
        let ledger =
            Ledger { code, exit, limit: None, elapsed: Duration::ZERO, entries: Vec::new() };
        let error = ledger.write(&path).unwrap_err();
        assert!(error.to_string().contains("missing/exit.json"), "{error}");
    }
}
