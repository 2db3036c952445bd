//! One thing to tear down or to leak at exit.

use std::{
    error::Error,
    fmt, mem,
    panic::Location,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    exit_token::ExitToken,
    ledger::{Entry, Outcome, PolicyKind, Reason},
};

/// What a teardown returns. The text of an error is written to the ledger.
pub type TeardownResult = Result<(), Box<dyn Error + Send + Sync>>;

type Teardown = Box<dyn FnOnce(&ExitToken) -> TeardownResult + Send>;

/// Holds a teardown until its thread has started and takes it. If the closure were moved to the thread
/// and the thread could not be started, the leaving thread would drop it.
pub(crate) type TeardownSlot = Arc<Mutex<Option<Teardown>>>;

/// What to do with a resource at exit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Tear it down, even if a resource that needs it is still there. If the teardown does not succeed,
    /// the resource has *failed*, which is an error in the log, or on standard error without one. For data that must not be lost, such as
    /// a buffered write.
    TearDown {
        /// How long the teardown may take.
        within: Duration,
    },
    /// Tear it down, unless a resource that needs it is still there. If the teardown does not succeed,
    /// leak it. For resources that are better closed but harmless to leave, such as a client.
    TearDownOrLeak {
        /// How long the teardown may take.
        within: Duration,
    },
    /// Leave it to the system. Neither the teardown nor the destructors of its captures run.
    Leak {
        /// Why a leak is harmless. The ledger repeats it.
        why: &'static str,
    },
}

impl Policy {
    const fn kind(&self) -> PolicyKind {
        match self {
            Self::TearDown { .. } => PolicyKind::TearDown,
            Self::TearDownOrLeak { .. } => PolicyKind::TearDownOrLeak,
            Self::Leak { .. } => PolicyKind::Leak,
        }
    }
}

/// One thing to tear down or to leak, with its policy and the names of what it needs.
pub struct Resource {
    pub(crate) name: String,
    pub(crate) needs: Vec<String>,
    pub(crate) policy: Policy,
    pub(crate) created_at: &'static Location<'static>,
    pub(crate) teardown: TeardownSlot,
    /// What the plan does not warn of, because this resource takes care of it.
    pub(crate) subjects: Vec<Subject>,
    pub(crate) writes_the_log: bool,
}

/// Something that outlives the process unless a resource ends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A child process.
    #[cfg(unix)]
    Process(u32),
    /// All processes of a group.
    #[cfg(unix)]
    Group(u32),
    /// A file, by its absolute path.
    File(PathBuf),
}

impl Resource {
    /// Describes a resource. The ledger records where this was called.
    ///
    /// The teardown runs on a thread of its own, without runtime context. The token knows its
    /// [limit](ExitToken::limit). If the teardown panics, hangs or returns an error, the plan goes on.
    /// Only a destructor that panics during a panic ends the process, because it aborts.
    ///
    /// ```
    /// use std::time::Duration;
    /// use sundown::exit::resource::{Policy, Resource};
    ///
    /// let policy = Policy::TearDown { within: Duration::from_millis(500) };
    /// let drafts = vec!["Dear …"];
    /// let resource = Resource::new("drafts", policy, move |_exit| {
    ///     Ok(std::fs::write("drafts.txt", drafts.join("\n"))?)
    /// });
    /// assert_eq!(resource.name(), "drafts");
    /// ```
    #[track_caller]
    #[must_use = "a resource does nothing until a plan has it"]
    pub fn new(
        name: impl Into<String>,
        policy: Policy,
        teardown: impl FnOnce(&ExitToken) -> TeardownResult + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            needs: Vec::new(),
            policy,
            created_at: Location::caller(),
            teardown: Arc::new(Mutex::new(Some(Box::new(teardown)))),
            subjects: Vec::new(),
            writes_the_log: false,
        }
    }

    /// Gives it another name: a plan refuses a second resource of the same name, as of
    /// [`app::session`](crate::app::session) in an application with several logins at a time.
    #[must_use = "a resource does nothing until a plan has it"]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Declares that this resource needs another one, which must be registered first and is torn down
    /// later.
    #[must_use = "a resource does nothing until a plan has it"]
    pub fn needs(mut self, name: impl Into<String>) -> Self {
        self.needs.push(name.into());
        self
    }

    /// Declares that the log is written through this resource, such as the guard of a non-blocking writer or
    /// a telemetry provider. The plan writes what it has to say to the log before it tears this down, so
    /// that the log has it.
    ///
    /// Register such a resource early: what is torn down after it, and fails, the log may not have any more.
    /// The plan says that on standard error.
    #[must_use = "a resource does nothing until a plan has it"]
    pub const fn writes_the_log(mut self) -> Self {
        self.writes_the_log = true;
        self
    }

    /// The name of the resource.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Declares what this resource takes care of.
    pub(crate) fn about(mut self, subjects: Vec<Subject>) -> Self {
        self.subjects = subjects;
        self
    }

    /// The ledger's entry for this resource if, for this reason, it is not torn down.
    pub(crate) fn entry(&self, reason: Reason) -> Entry {
        let must = matches!(self.policy, Policy::TearDown { .. });
        // The plan refused what was registered too late.
        let failed = must && reason != Reason::TooLate;
        Entry {
            name: self.name.clone(),
            needs: self.needs.clone(),
            created_at: self.created_at.to_string(),
            policy: self.policy.kind(),
            outcome: if failed { Outcome::Failed } else { Outcome::Leaked },
            reason: Some(reason),
            tried: Duration::ZERO,
            leaks: Vec::new(),
        }
    }

    /// Runs neither the teardown nor any destructor of its captures.
    pub(crate) fn leak(self) {
        mem::forget(self.teardown);
    }
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("name", &self.name)
            .field("needs", &self.needs)
            .field("policy", &self.policy)
            .field("created_at", &self.created_at)
            .finish_non_exhaustive()
    }
}
