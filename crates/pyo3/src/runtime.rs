//! The runtime of the library: one for each process, made when it is first needed.

use std::{
    io, iter,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use sundown::group::TaskGroup;
use tokio::runtime::{Builder, Runtime};

use crate::fork::Process;

/// The runtime of one process, and its tasks. It is never freed, because callers have a `&'static Runtime`
/// of it.
pub(crate) struct OfProcess {
    process: Process,
    pub(crate) runtime: &'static Runtime,
    pub(crate) tasks: TaskGroup,
    /// That of a child that was forked from this process: the threads of this one do not exist there.
    child: OnceLock<Box<Self>>,
}

/// Each is set under the lock of the source, and so not at the moment of a fork.
static FIRST: OnceLock<Box<OfProcess>> = OnceLock::new();

/// How the runtime of a process is made.
pub(crate) enum Source {
    Build(Box<Builder>),
    Given(&'static Runtime),
}

static SOURCE: Mutex<Option<Source>> = Mutex::new(None);

/// The lock under which a runtime is made. A fork waits for it.
pub(crate) fn source() -> MutexGuard<'static, Option<Source>> {
    SOURCE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the runtimes that are made from now on built like this.
pub(crate) fn build_with(builder: Builder) {
    *source() = Some(Source::Build(Box::new(builder)));
}

/// Uses this runtime. Returns whether this process had none yet.
pub(crate) fn use_this(runtime: &'static Runtime) -> bool {
    let mut source = source();
    let is_first = find().is_none();
    if is_first {
        *source = Some(Source::Given(runtime));
    }
    is_first
}

/// The runtime of this process, if it has been made.
pub(crate) fn find() -> Option<&'static OfProcess> {
    let this = Process::this();
    chain().find(|generation| generation.process == this)
}

fn chain() -> impl Iterator<Item = &'static OfProcess> {
    iter::successors(FIRST.get(), |generation| generation.child.get()).map(Box::as_ref)
}

/// The runtime of this process, which is made if there is none.
///
/// # Errors
///
/// Tokio cannot build it.
pub(crate) fn get() -> io::Result<&'static OfProcess> {
    if let Some(made) = find() {
        return Ok(made);
    }
    let mut source = source();
    // Another thread may have made it.
    if let Some(made) = find() {
        return Ok(made);
    }
    let runtime: &'static Runtime = match &mut *source {
        Some(Source::Build(builder)) => Box::leak(Box::new(build(builder)?)),
        // In a child, a runtime that was given has no threads.
        Some(Source::Given(runtime)) if FIRST.get().is_none() => runtime,
        _ => Box::leak(Box::new(build(Builder::new_multi_thread().enable_all())?)),
    };
    let made = Box::new(OfProcess {
        process: Process::this(),
        runtime,
        tasks: TaskGroup::new("python"),
        child: OnceLock::new(),
    });
    let place = chain().last().map_or(&FIRST, |parent| &parent.child);
    Ok(place.get_or_init(|| made))
}

/// Builds a runtime. Tokio panics if the system refuses it a thread.
fn build(builder: &mut Builder) -> io::Result<Runtime> {
    catch_unwind(AssertUnwindSafe(|| builder.build()))
        .unwrap_or_else(|_| Err(io::Error::other("the system refuses a thread")))
}
