//! A set of tasks that end together: which tasks there are, which command they were given, and when all
//! of them have ended. [`TaskGroup`](crate::TaskGroup), [`BackgroundTask`](crate::BackgroundTask) and the
//! runtimes are built on this; a background task is a set of one.

mod current_task;
mod member;
mod registry;
pub mod stop;

#[cfg(not(loom))]
use std::time::{Duration, Instant};
use std::{
    any::Any,
    sync::{Arc, Weak},
};

#[cfg(not(loom))]
use crate::stop_then_abort::stop_then_abort;
use crate::{
    latch::Latch,
    panics,
    shutdown::{Panicked, StillRunning},
    sync::{AtomicU8, CacheLine, Mutex, Ordering, lock},
};
use registry::{Exit, Registry, Slot};

pub use member::{Member, Place};
pub use registry::{Count, Label};
pub use stop::Stop;

/// The command that tasks were given. It only ever becomes more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Command {
    /// Keep running.
    Run = 0,
    /// Finish and return.
    Stop = 1,
    /// Be dropped.
    Abort = 2,
}

/// A set of tasks that end together.
pub struct TaskSet {
    /// Every [`Stop`](stop::Stop) reads this in every turn of its loop, and it is written twice at
    /// most. So it is kept away from what changes with every task.
    command: CacheLine<AtomicU8>,
    closed: Latch,
    registry: Registry,
    tally: Mutex<Tally>,
    /// The set that this one is a member of, until this one has closed.
    parent: Option<(Arc<Self>, Slot)>,
    /// The sets that are members of this one. Some of them may be gone.
    children: Mutex<Vec<Weak<Self>>>,
}

/// How many tasks were refused, and which panicked.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many tasks came too late.
    pub refused: usize,
    /// The tasks that panicked.
    pub panicked: Vec<Panicked>,
}

/// The set refuses new tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// Who spawns a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpawnedBy {
    /// Code outside the set. It is refused from the stop on.
    Outsider,
    /// A running task of the set. It is refused only if the set has closed, which a set cannot while
    /// that task runs.
    Member,
}

impl TaskSet {
    /// An empty set for many tasks.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::with(Registry::for_many(), None))
    }

    /// An empty set for one task, and a few that it may spawn.
    #[cfg(not(loom))]
    pub fn for_one() -> Arc<Self> {
        Arc::new(Self::with(Registry::with_shards(1), None))
    }

    /// An empty set with two shards, for threads of a model that do not meet.
    #[cfg(loom)]
    #[must_use]
    pub fn with_two_shards() -> Arc<Self> {
        Arc::new(Self::with(Registry::with_shards(2), None))
    }

    /// Makes a set that is a member of this one. It gets every command that this set gets, and this set
    /// waits for it.
    ///
    /// # Errors
    ///
    /// [`Refused`], if this set is stopping.
    pub fn child(self: &Arc<Self>, label: Label) -> Result<Arc<Self>, Refused> {
        let slot = self.insert(label, SpawnedBy::Outsider)?;
        let parent = Some((Arc::clone(self), slot));
        let child = Arc::new(Self::with(Registry::for_many(), parent));
        let mut children = lock(&self.children);
        if children.len() == children.capacity() {
            // Before it grows, so that it is at most twice as large as needed.
            children.retain(|child| child.strong_count() > 0);
        }
        children.push(Arc::downgrade(&child));
        drop(children);
        // The child can be told from here on. Only now look: a command from before is not missed.
        child.give(self.command());
        Ok(child)
    }

    fn with(registry: Registry, parent: Option<(Arc<Self>, Slot)>) -> Self {
        Self {
            command: CacheLine(AtomicU8::new(Command::Run as u8)),
            closed: Latch::new(),
            registry,
            tally: Mutex::default(),
            parent,
            children: Mutex::default(),
        }
    }

    /// The current command.
    #[inline]
    pub fn command(&self) -> Command {
        // Acquire pairs with the release in `give`: a task that sees the command sees what was done
        // before it was given.
        match self.command.0.load(Ordering::Acquire) {
            0 => Command::Run,
            1 => Command::Stop,
            _ => Command::Abort,
        }
    }

    /// Asks every task to stop, and refuses new tasks from outside.
    pub fn stop(&self) {
        self.give(Command::Stop);
    }

    /// Aborts every task: it is dropped when it next yields to its runtime.
    pub fn abort(&self) {
        self.give(Command::Abort);
    }

    /// Gives a command, unless a more urgent one was given before.
    fn give(&self, command: Command) {
        if command == Command::Run {
            return;
        }
        // Release: see `command`. Acquire: a caller who comes too late sees what the first did before.
        let before = self.command.0.fetch_max(command as u8, Ordering::AcqRel);
        // After the command, which turns outsiders away. One that came in before is waited for.
        self.registry.begin_to_close();
        if before < command as u8 {
            self.registry.wake_all();
            let children = lock(&self.children).clone();
            children.iter().filter_map(Weak::upgrade).for_each(|child| child.give(command));
        }
        if self.registry.close_if_empty() {
            self.close();
        }
    }

    /// Shuts the tasks down, as [`stop_then_abort`] says. The limit counts from `entered`.
    #[cfg(not(loom))]
    pub async fn shut_down(&self, entered: Instant, limit: Duration) {
        let ended = || self.closed.wait();
        stop_then_abort(entered, limit, || self.stop(), || self.abort(), ended).await;
    }

    /// Takes a task in.
    #[inline]
    fn insert(&self, label: Label, spawned_by: SpawnedBy) -> Result<Slot, Refused> {
        let is_welcome = spawned_by == SpawnedBy::Member || self.command() == Command::Run;
        // If an outsider still gets in during a stop, it sees the stop: the command was stored first.
        let slot = if is_welcome { self.registry.insert(label) } else { None };
        slot.ok_or_else(|| self.refused())
    }

    #[cold]
    fn refused(&self) -> Refused {
        lock(&self.tally).refused += 1;
        Refused
    }

    /// Lets a task go.
    #[inline]
    fn remove(&self, slot: Slot, exit: Exit) {
        if self.registry.remove(slot, exit) {
            self.close();
        }
    }

    /// Records that a task panicked.
    #[cold]
    fn panicked(&self, slot: Slot, payload: Box<dyn Any + Send>) {
        let message = panics::text(&*payload);
        if let Some(Label { name, spawned_at }) = self.registry.label(slot) {
            let panicked = Panicked { name: name.into_owned(), spawned_at, message };
            lock(&self.tally).panicked.push(panicked);
        }
        // Only now: its destructor may block, and must not keep the panic from a report.
        panics::discard(payload);
    }

    /// Must be called once, by the caller that closed the registry.
    #[cold]
    fn close(&self) {
        self.closed.fire();
        if let Some((parent, slot)) = &self.parent {
            parent.remove(*slot, Exit::Uncounted);
        }
    }

    /// Fires when every task has ended and no more are taken, which is only after a command.
    pub const fn closed(&self) -> &Latch {
        &self.closed
    }

    /// Which tasks were refused and which panicked, so far.
    pub fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// The tasks themselves.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The tasks that have not ended, by name.
    pub fn still_running(&self) -> Vec<StillRunning> {
        self.registry.labels().into_iter().map(StillRunning::from).collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_parent_reaches_every_child_and_forgets_those_that_are_gone() {
        let parent = TaskSet::new();
        let child = || parent.child(Label::new("child")).unwrap();
        let children: Vec<_> = (0..10).map(|_| child()).collect();
        (0..1000).for_each(|_| child().stop());
        assert!(lock(&parent.children).len() <= 2 * children.len());
        parent.stop();
        assert!(children.iter().all(|child| child.command() == Command::Stop));
        assert!(parent.closed().has_fired());
    }
}
