//! One thing that has to be torn down or leaked when the process is left.

use std::{
    error::Error,
    fmt, mem,
    panic::Location,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::token::ExitToken;

/// What a teardown returns. An error says that the resource could not be torn down; the ledger
/// keeps its words.
pub type TeardownResult = Result<(), Box<dyn Error + Send + Sync>>;

type Teardown = Box<dyn FnOnce(&ExitToken) -> TeardownResult + Send>;

/// Where a teardown is until it is taken. A thread takes it when it has started: a closure that
/// was given to a thread that cannot be started would be dropped by whoever wanted to start it.
pub(crate) type Place = Arc<Mutex<Option<Teardown>>>;

/// What to do with a resource when the process is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Tear it down, and try even if something that needs it is still there. A resource that does
    /// not make it has *failed*: the log says so as an error. For what must not be lost, a write
    /// that is still buffered, say.
    TearDown {
        /// How long it may take.
        within: Duration,
    },
    /// Tear it down, unless something that needs it is still there; and if it does not make it,
    /// leave it to the system. For what it is better to close, and harmless not to: the client.
    TearDownOrLeak {
        /// How long it may take.
        within: Duration,
    },
    /// Leave it to the system. The teardown never runs, and neither do the destructors of what it
    /// has captured.
    Leak {
        /// Why that is right; the ledger repeats it.
        why: &'static str,
    },
}

/// The word for a [`Policy`] in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    /// [`Policy::TearDown`].
    TearDown,
    /// [`Policy::TearDownOrLeak`].
    TearDownOrLeak,
    /// [`Policy::Leak`].
    Leak,
}

impl Policy {
    pub(crate) const fn kind(&self) -> PolicyKind {
        match self {
            Self::TearDown { .. } => PolicyKind::TearDown,
            Self::TearDownOrLeak { .. } => PolicyKind::TearDownOrLeak,
            Self::Leak { .. } => PolicyKind::Leak,
        }
    }
}

/// One thing that has to be torn down or leaked, with its policy and what it needs.
pub struct Resource {
    pub(crate) name: String,
    pub(crate) needs: Vec<String>,
    pub(crate) policy: Policy,
    pub(crate) created_at: &'static Location<'static>,
    pub(crate) teardown: Place,
}

impl Resource {
    /// Describes a resource. The place of this call is where the ledger says that it was created.
    ///
    /// The teardown runs on a thread of its own, that has no runtime context, and owns what it has
    /// captured: a value itself, or a way to the place where the application keeps it. It is told
    /// its [limit](ExitToken::limit), and may panic, hang, or return an error: the plan goes on.
    /// Only two panics in one drop are too many; then the language ends the process.
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

    /// Says that this resource needs another, which must be registered before it and is torn down
    /// after it.
    #[must_use]
    pub fn needs(mut self, name: impl Into<String>) -> Self {
        self.needs.push(name.into());
        self
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives it up without running its teardown or any destructor.
    pub(crate) fn forget(self) {
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
