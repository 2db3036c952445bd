//! One thing to tear down or to leak when the process leaves.

use std::{
    error::Error,
    fmt, mem,
    panic::Location,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    exit_token::ExitToken,
    ledger::{Entry, Outcome, PolicyKind, Reason},
};

/// What a teardown returns. An error means that the resource could not be torn down; its text goes
/// to the ledger.
pub type TeardownResult = Result<(), Box<dyn Error + Send + Sync>>;

type Teardown = Box<dyn FnOnce(&ExitToken) -> TeardownResult + Send>;

/// Holds a teardown until its thread has started and takes it. If the closure were given to the
/// thread directly and the thread could not be started, the caller would drop it.
pub(crate) type TeardownSlot = Arc<Mutex<Option<Teardown>>>;

/// What to do with a resource when the process leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Tear it down, even if something that needs it is still there. If that does not succeed, it
    /// has *failed*, and the log reports an error. For what must not be lost, such as a buffered
    /// write.
    TearDown {
        /// How long the teardown may take.
        within: Duration,
    },
    /// Tear it down, unless something that needs it is still there. If that does not succeed, leave
    /// it to the system. For what is better closed but harmless to leave, such as a client.
    TearDownOrLeak {
        /// How long the teardown may take.
        within: Duration,
    },
    /// Leave it to the system. Neither the teardown nor the destructors of its captures run.
    Leak {
        /// Why that is right. The ledger repeats it.
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
}

impl Resource {
    /// Describes a resource. The ledger gives the place of this call as the place of its creation.
    ///
    /// The teardown runs on a thread of its own, without runtime context. It owns what it captures:
    /// a value itself, or a way to where the application keeps it. It can ask for its
    /// [limit](ExitToken::limit). If it panics, hangs or returns an error, the plan goes on. Only a
    /// destructor that panics during a panic ends the process, as the language demands.
    ///
    /// ```
    /// use std::time::Duration;
    /// use leak_strategy::resource::{Policy, Resource};
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
        }
    }

    /// Declares that this resource needs another. The other must be registered first, and is torn
    /// down after this one.
    #[must_use = "a resource does nothing until a plan has it"]
    pub fn needs(mut self, name: impl Into<String>) -> Self {
        self.needs.push(name.into());
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The entry of this resource in the ledger if it is not torn down, for this reason.
    pub(crate) fn entry(&self, reason: Reason) -> Entry {
        let must = matches!(self.policy, Policy::TearDown { .. });
        // The plan never promised to tear down what was registered too late.
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

    /// Leaks it: neither the teardown nor any destructor of its captures runs.
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
