//! The plan: resources in dependency order, one limit for all of them, and how the process ends.
//!
//! This file decides the teardown order: [`ExitPlan::add`] accepts a resource only after those that it
//! needs, and `take_in_teardown_order` reverses the list. `plan/execute.rs` tears the resources down.

mod execute;
#[cfg(unix)]
mod exits_by_itself;
#[cfg(target_os = "linux")]
mod look;
mod say;
#[cfg(not(target_os = "linux"))]
mod look {
    use std::{path::PathBuf, time::Duration};

    use crate::{ledger::LeftBehind, resource::Subject};

    #[derive(Clone, Debug)]
    pub(super) struct Known {
        pub(super) subjects: Vec<Subject>,
        pub(super) meant: Vec<Subject>,
        pub(super) directory: Option<PathBuf>,
        pub(super) descendants: Vec<()>,
    }

    /// Nothing: only Linux tells.
    pub(super) fn descendants(_: Duration) -> Vec<()> {
        Vec::new()
    }

    /// Nothing, as above.
    pub(super) fn look(known: Known, _: Duration) -> Vec<LeftBehind> {
        let Known { subjects: _, meant: _, directory: _, descendants: _ } = known;
        Vec::new()
    }
}

use std::{
    env, fmt, mem,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    process,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use thiserror::Error;

pub(crate) use self::execute::Leaving;
pub use crate::ledger::Exit;
use crate::{
    ledger::{Entry, Reason},
    resource::Resource,
};

/// The exit code of a program whose main thread panicked.
const PANICKED: i32 = 101;

/// What the process does before it leaves, and how long it tries. Clones are the same plan.
///
/// Register resources as they are created, each after those that it needs. The plan tears them down in
/// the opposite order, one after another, each on a thread of its own. The next begins when that thread
/// has ended or its limit has passed. If a teardown is about to take the time of all others, those that it does not
/// need come first, while it goes on: a quarter of the time that is left, at most 250 ms, is kept for them.
///
/// The log gets a line for each resource, and one at the end. What was not torn down, though its policy asks for
/// it, is an error or a warning there. Standard error gets the errors and warnings too, because a log may lose its
/// last lines when a process ends: unless the log is [written](Resource::writes_the_log) by a resource that has been
/// torn down. The exit code is the same either way.
///
/// If the last clone of a plan is dropped before [`leave`](Self::leave), the teardowns and what they
/// have captured are dropped, and none of them runs.
#[derive(Clone)]
pub struct ExitPlan(Arc<Shared>);

#[derive(Clone, Debug)]
struct Options {
    limit: Duration,
    exit: Exit,
    ledger: Option<PathBuf>,
}

struct Shared {
    options: Options,
    /// Its resources are those of this process.
    process: u32,
    /// The working directory when the plan was made.
    directory: Option<PathBuf>,
    registered: Mutex<Registered>,
}

#[derive(Default)]
struct Registered {
    resources: Vec<Resource>,
    leaving: bool,
    /// The entries of resources that were registered while leaving.
    late: Vec<Entry>,
}

impl Registered {
    /// The registered name that is most similar to this one, if one is similar enough.
    fn nearest(&self, name: &str) -> Option<String> {
        const NEAR: f64 = 0.7;
        let names = self.resources.iter().map(Resource::name);
        let near = names.map(|known| (strsim::jaro_winkler(name, known), known));
        let best = near.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
        (best.0 > NEAR).then(|| best.1.to_owned())
    }
}

/// Builds an [`ExitPlan`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct Builder(Options);

/// Why a plan refused to register or to withdraw a resource.
#[derive(Error)]
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
    /// can be no cycle. [`PlanError::into_resource`] returns the resource.
    #[error(
        "`{}`, created at {}, needs `{missing}`, which the exit plan does not have; {}",
        resource.name, resource.created_at, advice(missing, nearest.as_deref())
    )]
    NeedsUnregistered {
        /// The name of what it needs.
        missing: String,
        /// The most similar name that the plan has, if one is similar enough.
        nearest: Option<String>,
        /// The resource.
        resource: Box<Resource>,
    },
    /// The process is leaving. A resource that was to be registered has been leaked, and the ledger
    /// names it.
    #[error("`{name}` came too late: the process is leaving, and the plan is being executed")]
    Leaving {
        /// The name of the resource.
        name: String,
    },
    /// No resource of that name can be withdrawn.
    #[error("the exit plan has no resource called `{name}`{}", suggestion(nearest.as_deref()))]
    Unknown {
        /// The name.
        name: String,
        /// The most similar name that the plan has, if one is similar enough.
        nearest: Option<String>,
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

sundown_core::debug_as_text!(PlanError);

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default()
}

fn advice(missing: &str, nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`? If not, register `{missing}` first"),
        None => format!("register `{missing}` first"),
    }
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
        let (process, directory) = (process::id(), env::current_dir().ok());
        let registered = Mutex::default();
        ExitPlan(Arc::new(Shared { options: self.0, process, directory, registered }))
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

    /// Registers a resource. What it needs must be registered already, and is torn down after it.
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
            let (missing, nearest) = (missing.clone(), registered.nearest(missing));
            let resource = Box::new(resource);
            return Err(PlanError::NeedsUnregistered { missing, nearest, resource });
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
    /// being executed.
    pub fn withdraw(&self, name: &str) -> Result<Resource, PlanError> {
        let mut registered = self.registered();
        let named = name.to_owned();
        if registered.leaving {
            return Err(PlanError::Leaving { name: named });
        }
        let Some(at) = registered.resources.iter().position(|r| r.name == named) else {
            return Err(PlanError::Unknown { nearest: registered.nearest(name), name: named });
        };
        if let Some(by) = registered.resources.iter().find(|r| r.needs.contains(&named)) {
            return Err(PlanError::StillNeeded { name: named, by: by.name.clone() });
        }
        Ok(registered.resources.remove(at))
    }

    /// Executes the plan and ends the process with this code. Unix keeps the lowest eight bits.
    /// Destructors of what is on the stacks do not run.
    ///
    /// On Unix, a return from `main` meanwhile, or a call of `exit` on another thread, waits until the plan has
    /// ended the process.
    ///
    /// It may be called from anywhere:
    ///
    /// - From a task. Its worker does not return, so shutting down the task's own runtime times out.
    /// - From the destructor of a thread-local.
    /// - In a child that was forked without `exec`. The plan is its parent's: the child ends at once with this
    ///   code, and tears nothing down. A plan that it makes itself is its own.
    /// - From several threads at once, even with different plans. The first call decides for the
    ///   whole process. Every other call logs that it is not the first, and waits for the end.
    /// - From a teardown. The teardown then waits for itself and times out. One that calls `exit` on its own thread
    ///   has [failed](crate::ledger::Reason::Exited), on Unix, and the plan goes on.
    pub fn leave(&self, code: i32) -> ! {
        self.begin_to_leave(code).leave()
    }

    /// Runs the program on this thread and leaves with the code that it returns, or with 101 if it
    /// panics. What the program owns is dropped before the plan begins, so move the plan's resources
    /// into the plan.
    ///
    /// A program built with `panic = "abort"` ends at a panic, before the plan can begin.
    ///
    /// If the program exits the process by itself, the plan does not begin either: nothing is torn down, and
    /// on Unix a line on standard error names what was not. The loops of tao and of old versions of winit do
    /// that, and those of macOS when the user quits. Call [`leave`](Self::leave) in the last event of such a
    /// loop (`Event::LoopDestroyed` of tao, `ApplicationHandler::exiting` of winit):
    ///
    /// ```no_run
    /// # use {std::time::Duration, sundown::exit::plan::ExitPlan};
    /// # enum Event { Exiting, Other }
    /// # fn run_loop(handler: impl FnMut(Event)) -> ! { unimplemented!() }
    /// let plan = ExitPlan::builder(Duration::from_secs(3)).build();
    /// plan.run(|| {
    ///     run_loop(|event| match event {
    ///         Event::Exiting => plan.leave(0),
    ///         Event::Other => {}
    ///     })
    /// })
    /// ```
    pub fn run(&self, program: impl FnOnce() -> i32) -> ! {
        #[cfg(unix)]
        exits_by_itself::watch(self);
        let code = panic::catch_unwind(AssertUnwindSafe(program)).unwrap_or_else(|payload| {
            // The payload's destructor is foreign code. It could panic, or hang before the limit holds.
            mem::forget(payload);
            PANICKED
        });
        self.leave(code)
    }

    /// From now on the process leaves by this plan, unless it does so by another. Whoever calls this executes it.
    pub(crate) fn begin_to_leave(&self, code: i32) -> Leaving {
        execute::begin(self, code)
    }

    /// Takes the resources, each before those that it needs. From now on [`add`](Self::add) refuses.
    fn take_in_teardown_order(&self) -> Vec<Resource> {
        let mut registered = self.registered();
        registered.leaving = true;
        mem::take(&mut registered.resources).into_iter().rev().collect()
    }

    /// Takes the entries of the resources that were registered while leaving.
    fn take_late(&self) -> Vec<Entry> {
        mem::take(&mut self.registered().late)
    }

    fn registered(&self) -> MutexGuard<'_, Registered> {
        // No foreign code runs under the lock, so what it guards is always consistent.
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
    use super::*;
    use crate::resource::Policy;

    fn plan_with(names: &[&str]) -> ExitPlan {
        let plan = ExitPlan::builder(Duration::from_secs(1)).build();
        names.iter().for_each(|name| plan.add(resource(name)).unwrap());
        plan
    }

    fn resource(name: &str) -> Resource {
        Resource::new(name, Policy::Leak { why: "a test" }, |_| Ok(()))
    }

    /// `fn main() -> Result<(), Box<dyn Error>>` prints an error by `{:?}`.
    #[test]
    fn the_debug_of_each_error_is_its_text() {
        fn reads_well(error: impl std::error::Error) {
            assert_eq!(format!("{error:?}"), error.to_string());
        }
        let plan = plan_with(&["client"]);
        reads_well(plan.add(resource("client")).unwrap_err());
        reads_well(plan.add(resource("store").needs("pool")).unwrap_err());
        reads_well(plan.withdraw("pool").unwrap_err());
        reads_well(Reason::Error { message: "refused".to_owned() });
        reads_well(Reason::StillNeeded { by: "client".to_owned() });
        #[cfg(unix)]
        {
            use crate::signals::SignalError;
            reads_well(SignalError::AlreadyWatched);
            reads_well(SignalError::from(std::io::Error::other("no descriptor is left")));
        }
    }

    #[test]
    fn a_name_is_registered_once_and_the_second_resource_comes_back() {
        let plan = plan_with(&["client"]);
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
    fn a_needed_resource_is_registered_first_so_there_can_be_no_cycle() {
        let plan = plan_with(&[]);
        let refused = plan.add(resource("client").needs("runtime")).unwrap_err();
        let message = refused.to_string();
        assert!(message.ends_with("register `runtime` first"), "{message}");
        let client = refused.into_resource().unwrap();
        // In a cycle, the first to be registered needs one that is not there yet.
        for needed in ["client", "runtime"] {
            let runtime = plan.add(resource("runtime").needs(needed));
            assert!(matches!(runtime, Err(PlanError::NeedsUnregistered { .. })));
        }
        plan.add(resource("runtime")).unwrap();
        plan.add(client).unwrap();
    }

    #[test]
    fn a_name_that_is_not_registered_suggests_the_most_similar_one() {
        let plan = plan_with(&["runtime", "client"]);
        let refused = plan.add(resource("rooms").needs("runtmie")).unwrap_err().to_string();
        assert!(refused.contains("did you mean `runtime`?"), "{refused}");
        let refused = plan.withdraw("cleint").unwrap_err().to_string();
        assert!(refused.ends_with("`cleint`; did you mean `client`?"), "{refused}");
        let refused = plan.withdraw("database").unwrap_err().to_string();
        assert!(refused.ends_with("called `database`"), "{refused}");
    }

    #[test]
    fn a_needed_resource_is_not_withdrawn_and_a_withdrawn_one_can_be_added_again() {
        let plan = plan_with(&["runtime"]);
        plan.add(resource("client").needs("runtime")).unwrap();
        let refused = plan.withdraw("runtime").unwrap_err().to_string();
        assert!(refused.contains("`runtime`") && refused.contains("`client`"), "{refused}");
        assert!(matches!(plan.withdraw("room"), Err(PlanError::Unknown { .. })));

        let client = plan.withdraw("client").unwrap();
        let runtime = plan.withdraw("runtime").unwrap();
        plan.add(runtime).unwrap();
        plan.add(client).unwrap();
    }
}
