//! The plan: resources in dependency order, a limit for all together, and the way out.

use std::{
    fmt, mem,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    departure,
    ledger::{Entry, Reason},
    resource::Resource,
};

/// The way out of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// At once: standard output is flushed, and nothing else runs, neither the destructors of
    /// thread-locals nor what was registered with `atexit`.
    #[default]
    Immediate,
    /// By `std::process::exit`, on a thread of its own: what was registered with `atexit` runs. The
    /// destructors of thread-locals do not, because that thread has none; those of the thread that
    /// leaves are where an exit aborts (experiment 07).
    ///
    /// Once `main` has returned, the standard library keeps every other thread from exiting. A plan
    /// that is begun even later, in the destructor of a thread-local of the main thread, then ends
    /// at its limit; leave immediately there.
    Normal,
}

/// The exit code of a program whose main thread panicked.
const PANICKED: i32 = 101;

/// What the process does before it leaves, and for how long it tries. Clones are the same plan.
///
/// Resources are registered as they come to be, each after those that it needs, and are dealt with
/// in the opposite order, one after another, each on a thread of its own.
///
/// A plan that is dropped and never used does nothing: the teardowns are dropped, with what they
/// have captured, where the last clone is.
#[derive(Clone)]
pub struct ExitPlan(Arc<Shared>);

struct Shared {
    options: Options,
    registered: Mutex<Registered>,
}

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) limit: Duration,
    pub(crate) exit: Exit,
    pub(crate) ledger: Option<PathBuf>,
}

#[derive(Default)]
struct Registered {
    resources: Vec<Resource>,
    leaving: bool,
    /// What came when the resources had been taken.
    late: Vec<Entry>,
}

/// What a plan is made from.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct Builder(Options);

/// Why a plan does not take a resource, or does not give one back.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// There is one of that name. [`PlanError::into_resource`] gives the second one back.
    #[error(
        "the exit plan has a resource called '{}' already, created at {first_at}; the second, created at {}, needs another name, or the first has to be withdrawn",
        resource.name, resource.created_at
    )]
    Twice {
        /// Where the first was created.
        first_at: String,
        /// The second.
        resource: Box<Resource>,
    },
    /// It needs something that is not registered, or not yet: what a resource needs comes before
    /// it, so that no circle can be written. [`PlanError::into_resource`] gives it back.
    #[error(
        "'{}', created at {}, needs '{missing}', which the exit plan does not have; register '{missing}' first",
        resource.name, resource.created_at
    )]
    NeedsUnregistered {
        /// What it needs.
        missing: String,
        /// The resource.
        resource: Box<Resource>,
    },
    /// The process is being left. The resource has been leaked, and the ledger tells of it.
    #[error("'{name}' was registered while the process was being left; it is left to the system")]
    Leaving {
        /// What it is called.
        name: String,
    },
    /// There is nothing of that name to be withdrawn.
    #[error("the exit plan has no resource called '{name}'")]
    Unknown {
        /// The name.
        name: String,
    },
    /// What should be withdrawn is needed by another.
    #[error(
        "'{name}' cannot be withdrawn from the exit plan: '{by}' needs it; withdraw '{by}' first"
    )]
    StillNeeded {
        /// What should be withdrawn.
        name: String,
        /// What needs it.
        by: String,
    },
}

impl PlanError {
    /// The resource that was refused, where it was not leaked.
    #[must_use]
    pub fn into_resource(self) -> Option<Resource> {
        match self {
            Self::Twice { resource, .. } | Self::NeedsUnregistered { resource, .. } => {
                Some(*resource)
            }
            Self::Leaving { .. } | Self::Unknown { .. } | Self::StillNeeded { .. } => None,
        }
    }
}

impl Builder {
    /// Sets the way out, [`Exit::Immediate`] unless told.
    pub const fn by(mut self, exit: Exit) -> Self {
        self.0.exit = exit;
        self
    }

    /// Has the ledger written to this file as well, as JSON, before each teardown and in the end, so
    /// that it is there and whole however the process ends. What was there is replaced. A path that
    /// cannot be written changes nothing else: the reason goes to standard error and to the log. One
    /// on a file system that hangs costs the limit.
    pub fn ledger(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.ledger = Some(path.into());
        self
    }

    /// Makes the plan.
    #[must_use]
    pub fn build(self) -> ExitPlan {
        ExitPlan(Arc::new(Shared { options: self.0, registered: Mutex::default() }))
    }
}

impl ExitPlan {
    /// Begins a plan that leaves within this limit, counted from the call that leaves. The last
    /// tenth of it, up to 100 ms, is kept for the ledger.
    ///
    /// A limit of zero leaks everything. [`Duration::MAX`] is no limit.
    pub const fn builder(limit: Duration) -> Builder {
        Builder(Options { limit, exit: Exit::Immediate, ledger: None })
    }

    /// Registers a resource. Whatever it needs has to be registered already, and is dealt with after
    /// it.
    ///
    /// # Errors
    ///
    /// [`PlanError::Twice`] and [`PlanError::NeedsUnregistered`], which give the resource back, and
    /// [`PlanError::Leaving`], which has leaked it.
    pub fn add(&self, resource: Resource) -> Result<(), PlanError> {
        let mut registered = self.registered();
        if registered.leaving {
            registered.late.push(Entry::of(&resource, Reason::TooLate));
            let name = resource.name.clone();
            resource.forget();
            return Err(PlanError::Leaving { name });
        }
        if let Some(first) = registered.resources.iter().find(|r| r.name == resource.name) {
            let first_at = first.created_at.to_string();
            return Err(PlanError::Twice { first_at, resource: Box::new(resource) });
        }
        let is_registered = |name: &String| registered.resources.iter().any(|r| r.name == *name);
        if let Some(missing) = resource.needs.iter().find(|name| !is_registered(name)) {
            let missing = missing.clone();
            return Err(PlanError::NeedsUnregistered { missing, resource: Box::new(resource) });
        }
        registered.resources.push(resource);
        Ok(())
    }

    /// Takes a resource out again, because it has been torn down by other means: at a logout, say.
    /// Its teardown has not run.
    ///
    /// # Errors
    ///
    /// [`PlanError::Unknown`], [`PlanError::StillNeeded`], and [`PlanError::Leaving`] where the
    /// process is being left, and the plan has it.
    pub fn withdraw(&self, name: &str) -> Result<Resource, PlanError> {
        let mut registered = self.registered();
        let name = || name.to_owned();
        if registered.leaving {
            return Err(PlanError::Leaving { name: name() });
        }
        let Some(at) = registered.resources.iter().position(|r| r.name == name()) else {
            return Err(PlanError::Unknown { name: name() });
        };
        if let Some(by) = registered.resources.iter().find(|r| r.needs.contains(&name())) {
            return Err(PlanError::StillNeeded { name: name(), by: by.name.clone() });
        }
        Ok(registered.resources.remove(at))
    }

    /// Carries the plan out, and leaves the process with this code, of which Unix passes on the
    /// lowest eight bits.
    ///
    /// May be called from anywhere: a task (whose worker then never comes back, so that a runtime
    /// that the plan tears down will time out), the destructor of a thread-local, several threads at
    /// a time. The first call decides, for the whole process and whatever its plan; any other logs
    /// that it came second, and waits for the end. A teardown that calls it waits for its own end,
    /// and times out.
    ///
    /// The destructors of what is on the stacks do not run.
    pub fn leave(&self, code: i32) -> ! {
        departure::leave(self, &self.0.options, code)
    }

    /// Runs the program on this thread, and leaves with the code that it returns, or with 101 if it
    /// panics. What it owns is dropped before the plan begins, as it unwinds as well; what belongs
    /// to the plan should be in the plan.
    ///
    /// A program that is built with `panic = "abort"` ends before the plan can begin.
    pub fn run(&self, program: impl FnOnce() -> i32) -> ! {
        let code = panic::catch_unwind(AssertUnwindSafe(program)).unwrap_or_else(|payload| {
            // Its destructor is somebody else's code, too.
            mem::forget(payload);
            PANICKED
        });
        self.leave(code)
    }

    /// Takes the resources, in the order in which they were registered. From now on there are no
    /// more.
    pub(crate) fn take(&self) -> Vec<Resource> {
        let mut registered = self.registered();
        registered.leaving = true;
        mem::take(&mut registered.resources)
    }

    /// What came after that.
    pub(crate) fn take_late(&self) -> Vec<Entry> {
        mem::take(&mut self.registered().late)
    }

    fn registered(&self) -> MutexGuard<'_, Registered> {
        // Nobody else's code runs under the lock: what it guards is whole, always.
        self.0.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for ExitPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExitPlan")
            .field("options", &self.0.options)
            .field("resources", &self.registered().resources)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::resource::Policy;

    fn plan() -> ExitPlan {
        ExitPlan::builder(Duration::from_secs(1)).build()
    }

    fn resource(name: &str) -> Resource {
        Resource::new(name, Policy::Leak { why: "a test" }, |_| Ok(()))
    }

    #[test]
    fn a_name_is_registered_once_and_the_second_comes_back() {
        let plan = plan();
        plan.add(resource("client")).unwrap();
        let held = Arc::new(());
        let captured = Arc::clone(&held);
        let second = Resource::new("client", Policy::Leak { why: "a test" }, move |_| {
            drop(captured);
            Ok(())
        });
        let refused = plan.add(second).unwrap_err();
        assert!(matches!(&refused, PlanError::Twice { .. }));
        let message = refused.to_string();
        assert_eq!(message.matches("plan.rs:").count(), 2, "both places: {message}");
        assert_eq!(Arc::strong_count(&held), 2, "nothing was dropped");
        assert_eq!(refused.into_resource().unwrap().name(), "client");
        assert_eq!(Arc::strong_count(&held), 1, "the caller dropped it");
    }

    #[test]
    fn what_is_needed_comes_first_so_that_no_circle_can_be_written() {
        let plan = plan();
        let client = resource("client").needs("runtime");
        let refused = plan.add(client).unwrap_err();
        let message = refused.to_string();
        assert!(message.contains("'client'") && message.contains("'runtime'"), "{message}");
        let client = refused.into_resource().unwrap();

        // The circle: whichever of the two is first needs one that is not there yet.
        let runtime = plan.add(resource("runtime").needs("client"));
        assert!(matches!(runtime, Err(PlanError::NeedsUnregistered { .. })));
        let itself = plan.add(resource("runtime").needs("runtime"));
        assert!(matches!(itself, Err(PlanError::NeedsUnregistered { .. })));

        plan.add(resource("runtime")).unwrap();
        plan.add(client).unwrap();
    }

    #[test]
    fn what_another_needs_is_not_withdrawn_and_what_is_withdrawn_may_come_again() {
        let plan = plan();
        plan.add(resource("runtime")).unwrap();
        plan.add(resource("client").needs("runtime")).unwrap();
        let refused = plan.withdraw("runtime").unwrap_err().to_string();
        assert!(refused.contains("'runtime'") && refused.contains("'client'"), "{refused}");
        assert!(matches!(plan.withdraw("room"), Err(PlanError::Unknown { .. })));

        let client = plan.withdraw("client").unwrap();
        plan.withdraw("runtime").unwrap();
        assert!(plan.add(client).is_err(), "its runtime is gone");
    }

    #[test]
    fn what_comes_while_leaving_is_leaked_and_accounted_for() {
        let plan = plan();
        assert!(plan.take().is_empty());
        let held = Arc::new(());
        let captured = Arc::clone(&held);
        let late = Resource::new("late", Policy::Leak { why: "a test" }, move |_| {
            drop(captured);
            Ok(())
        });
        assert!(matches!(plan.add(late), Err(PlanError::Leaving { name }) if name == "late"));
        assert_eq!(Arc::strong_count(&held), 2, "leaked, not dropped");
        let entries = plan.take_late();
        assert_eq!(entries.len(), 1);
        assert_eq!((&*entries[0].name, &entries[0].reason), ("late", &Some(Reason::TooLate)));
    }
}
