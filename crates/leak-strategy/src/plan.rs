//! The plan: resources in dependency order, one limit for all of them, and how the process ends.

use std::{
    fmt, mem,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use thiserror::Error;

pub use crate::ledger::Exit;
use crate::{
    departure::{self, Options, Resources},
    ledger::{Entry, Reason},
    resource::Resource,
};

/// The exit code of a program whose main thread panicked.
const PANICKED: i32 = 101;

/// What the process does before it leaves, and how long it tries. Clones are the same plan.
///
/// Register resources as they are created, each after those that it needs. The plan handles them in
/// the opposite order, one after another, each on a thread of its own.
///
/// Dropping the last clone of a plan that was never carried out drops the teardowns and what they
/// have captured; none of them runs.
#[derive(Clone)]
pub struct ExitPlan(Arc<Shared>);

struct Shared {
    options: Options,
    registered: Mutex<Registered>,
}

#[derive(Default)]
struct Registered {
    resources: Vec<Resource>,
    leaving: bool,
    /// The entries of resources that were registered while leaving.
    late: Vec<Entry>,
}

/// Builds an [`ExitPlan`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct Builder(Options);

/// Why a plan did not accept a resource, or did not give one back.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The plan has a resource of that name. [`PlanError::into_resource`] returns the second one.
    #[error(
        "the exit plan already has a resource called `{}`, created at {first_at}; give the second one, created at {}, another name, or withdraw the first",
        resource.name, resource.created_at
    )]
    Duplicate {
        /// Where the first was created.
        first_at: String,
        /// The second.
        resource: Box<Resource>,
    },
    /// The resource needs one that is not registered. Because the needed one must come first, there
    /// can be no circle. [`PlanError::into_resource`] returns the resource.
    #[error(
        "`{}`, created at {}, needs `{missing}`, which the exit plan does not have; register `{missing}` first",
        resource.name, resource.created_at
    )]
    NeedsUnregistered {
        /// The name of what it needs.
        missing: String,
        /// The resource.
        resource: Box<Resource>,
    },
    /// The process is leaving. The resource has been leaked, and the ledger names it.
    #[error("`{name}` came too late: the process is leaving, and the plan is being carried out")]
    Leaving {
        /// The name of the resource.
        name: String,
    },
    /// No resource of that name can be withdrawn.
    #[error("the exit plan has no resource called `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The resource cannot be withdrawn, because another needs it.
    #[error(
        "`{name}` cannot be withdrawn from the exit plan: `{by}` needs it; withdraw `{by}` first"
    )]
    StillNeeded {
        /// The name of the resource.
        name: String,
        /// The name of the one that needs it.
        by: String,
    },
}

impl PlanError {
    /// The refused resource, unless it was leaked.
    #[must_use]
    pub fn into_resource(self) -> Option<Resource> {
        match self {
            Self::Duplicate { resource, .. } | Self::NeedsUnregistered { resource, .. } => {
                Some(*resource)
            }
            Self::Leaving { .. } | Self::Unknown { .. } | Self::StillNeeded { .. } => None,
        }
    }
}

impl Builder {
    /// Sets how the process ends. Default: [`Exit::Immediate`].
    pub const fn by(mut self, exit: Exit) -> Self {
        self.0.exit = exit;
        self
    }

    /// Also writes the ledger to this file, as JSON. The file is replaced before each teardown and at
    /// the end, so that it is complete however the process ends.
    ///
    /// If the file cannot be written, the reason goes to standard error and to the log, and nothing
    /// else changes. If its file system hangs, the plan takes its whole limit.
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
    /// tenth of it, at most 100 ms, is reserved for the ledger.
    ///
    /// A limit of zero leaks everything. [`Duration::MAX`] means no limit.
    pub const fn builder(limit: Duration) -> Builder {
        Builder(Options { limit, exit: Exit::Immediate, ledger: None })
    }

    /// Registers a resource. What it needs must be registered already, and is handled after it.
    ///
    /// # Errors
    ///
    /// [`PlanError::Duplicate`] and [`PlanError::NeedsUnregistered`] return the resource.
    /// [`PlanError::Leaving`] means that it has been leaked.
    pub fn add(&self, resource: Resource) -> Result<(), PlanError> {
        let mut registered = self.registered();
        if registered.leaving {
            registered.late.push(resource.entry(Reason::TooLate));
            let name = resource.name.clone();
            resource.leak();
            return Err(PlanError::Leaving { name });
        }
        let find = |name: &str| registered.resources.iter().find(|r| r.name == name);
        if let Some(first) = find(&resource.name) {
            let first_at = first.created_at.to_string();
            return Err(PlanError::Duplicate { first_at, resource: Box::new(resource) });
        }
        if let Some(missing) = resource.needs.iter().find(|name| find(name).is_none()) {
            let missing = missing.clone();
            return Err(PlanError::NeedsUnregistered { missing, resource: Box::new(resource) });
        }
        registered.resources.push(resource);
        Ok(())
    }

    /// Takes a resource out of the plan, for example because a logout has torn it down. Its teardown
    /// does not run.
    ///
    /// # Errors
    ///
    /// [`PlanError::Unknown`], [`PlanError::StillNeeded`], or [`PlanError::Leaving`] if the plan is
    /// being carried out.
    pub fn withdraw(&self, name: &str) -> Result<Resource, PlanError> {
        let mut registered = self.registered();
        let named = name.to_owned();
        if registered.leaving {
            return Err(PlanError::Leaving { name: named });
        }
        let Some(at) = registered.resources.iter().position(|r| r.name == named) else {
            return Err(PlanError::Unknown { name: named });
        };
        if let Some(by) = registered.resources.iter().find(|r| r.needs.contains(&named)) {
            return Err(PlanError::StillNeeded { name: named, by: by.name.clone() });
        }
        Ok(registered.resources.remove(at))
    }

    /// Carries the plan out and leaves the process with this code. Unix keeps the lowest eight bits.
    /// Destructors of what is on the stacks do not run.
    ///
    /// It may be called from anywhere:
    ///
    /// - From a task. Its worker never comes back, so a plan that shuts down the task's own runtime
    ///   will see that time out.
    /// - From the destructor of a thread-local.
    /// - From several threads at once, even with different plans. The first call decides for the
    ///   whole process; every other logs that it came second, and waits for the end.
    /// - From a teardown. It waits for its own end and times out.
    pub fn leave(&self, code: i32) -> ! {
        departure::leave(self, &self.0.options, code)
    }

    /// Runs the program on this thread and leaves with the code that it returns, or with 101 if it
    /// panics. What the program owns is dropped before the plan begins, so resources of the plan
    /// should belong to the plan.
    ///
    /// A program built with `panic = "abort"` ends at a panic, before the plan can begin.
    pub fn run(&self, program: impl FnOnce() -> i32) -> ! {
        let code = panic::catch_unwind(AssertUnwindSafe(program)).unwrap_or_else(|payload| {
            // The payload's destructor is foreign code and could panic.
            mem::forget(payload);
            PANICKED
        });
        self.leave(code)
    }

    fn registered(&self) -> MutexGuard<'_, Registered> {
        // No foreign code runs under the lock, so what it guards is always consistent.
        self.0.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Resources for ExitPlan {
    fn take(&self) -> Vec<Resource> {
        let mut registered = self.registered();
        registered.leaving = true;
        mem::take(&mut registered.resources)
    }

    fn take_late(&self) -> Vec<Entry> {
        mem::take(&mut self.registered().late)
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
    fn a_name_is_registered_once_and_the_second_resource_comes_back() {
        let plan = plan();
        plan.add(resource("client")).unwrap();
        let held = Arc::new(());
        let captured = Arc::clone(&held);
        let second = Resource::new("client", Policy::Leak { why: "a test" }, move |_| {
            drop(captured);
            Ok(())
        });
        let refused = plan.add(second).unwrap_err();
        assert!(matches!(&refused, PlanError::Duplicate { .. }));
        let message = refused.to_string();
        assert_eq!(message.matches("plan.rs:").count(), 2, "both places: {message}");
        assert_eq!(Arc::strong_count(&held), 2, "nothing was dropped");
        assert_eq!(refused.into_resource().unwrap().name(), "client");
        assert_eq!(Arc::strong_count(&held), 1, "the caller dropped it");
    }

    #[test]
    fn what_is_needed_comes_first_so_there_can_be_no_circle() {
        let plan = plan();
        let client = resource("client").needs("runtime");
        let refused = plan.add(client).unwrap_err();
        let message = refused.to_string();
        assert!(message.contains("`client`") && message.contains("`runtime`"), "{message}");
        let client = refused.into_resource().unwrap();

        // In a circle, whichever of the two comes first needs one that is not there yet.
        let runtime = plan.add(resource("runtime").needs("client"));
        assert!(matches!(runtime, Err(PlanError::NeedsUnregistered { .. })));
        let itself = plan.add(resource("runtime").needs("runtime"));
        assert!(matches!(itself, Err(PlanError::NeedsUnregistered { .. })));

        plan.add(resource("runtime")).unwrap();
        plan.add(client).unwrap();
    }

    #[test]
    fn a_needed_resource_is_not_withdrawn_and_a_withdrawn_one_may_come_again() {
        let plan = plan();
        plan.add(resource("runtime")).unwrap();
        plan.add(resource("client").needs("runtime")).unwrap();
        let refused = plan.withdraw("runtime").unwrap_err().to_string();
        assert!(refused.contains("`runtime`") && refused.contains("`client`"), "{refused}");
        assert!(matches!(plan.withdraw("room"), Err(PlanError::Unknown { .. })));

        let client = plan.withdraw("client").unwrap();
        plan.withdraw("runtime").unwrap();
        let client = plan.add(client).unwrap_err().into_resource().unwrap();
        plan.add(resource("runtime")).unwrap();
        plan.add(client).unwrap();
    }
}
