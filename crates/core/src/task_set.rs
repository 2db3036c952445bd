//! A set of tasks that end together: which tasks there are, which command they were given, and when all
//! of them have ended. [`TaskGroup`](crate::TaskGroup), [`BackgroundTask`](crate::BackgroundTask) and the
//! runtimes are built on this; a background task is a set of one.

mod current_task;
#[cfg(not(loom))]
mod failures;
#[cfg(not(loom))]
pub mod large;
mod member;
mod padded;
mod registry;
#[cfg(not(loom))]
mod runtimes;
pub mod stop;

use std::{
    any::Any,
    collections::BTreeMap,
    iter, mem, ptr,
    sync::{Arc, Weak},
    time::Instant,
};
#[cfg(not(loom))]
use std::{pin::pin, thread, time::Duration};

use smallvec::SmallVec;

use crate::{
    callers::{AbortAt, Callers},
    latch::Latch,
    newer_std::floor_char_boundary,
    panics,
    shutdown::{Awaits, Panicked, StillRunning},
    sync::{AtomicU8, Mutex, Ordering, lock},
    waker::{self, Helpers, ToWake, Wakers},
};
#[cfg(not(loom))]
use crate::{
    limit::until,
    stop_then_abort::{Waited, stop_then_abort, yield_once},
};
use registry::{Exit, Registry, Slot};
#[cfg(not(loom))]
use runtimes::Runtimes;

#[cfg(not(loom))]
use failures::Failures;
use padded::Padded;

pub use member::{Member, Place};
pub use registry::{Count, Label};
pub use stop::Stop;

/// Whether this thread is in the middle of a poll of a task of the kit.
#[cfg(not(loom))]
pub fn is_polling_here() -> bool {
    current_task::is_any()
}

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
    command: Padded<AtomicU8>,
    closed: Latch,
    registry: Registry,
    tally: Mutex<Tally>,
    callers: Callers,
    /// The set that this one is a member of, and its slot there.
    parent: Option<(Arc<Self>, Slot)>,
    /// The sets that are members of this one and have not closed, by their slots here.
    children: Mutex<BTreeMap<Slot, Weak<Self>>>,
    /// The sets below this one that an abort of this one has spared.
    spared: Mutex<Vec<Weak<Self>>>,
    helpers: Arc<Helpers>,
    /// The time for the last polls of tasks, after an abort at the end of a shutdown's time.
    #[cfg(all(feature = "stuck", not(loom)))]
    last_polls: Mutex<Option<LastPolls>>,
    #[cfg(not(loom))]
    failures: Failures,
    #[cfg(not(loom))]
    runtimes: Runtimes,
}

/// How many tasks were refused, and which panicked. All but the refusals are of the sets below, too.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many tasks came too late.
    pub refused: usize,
    /// The first [`MOST_NAMED`] tasks that were aborted.
    pub aborted: Vec<StillRunning>,
    /// Where tasks wait that are about to leave, aborted.
    awaits: BTreeMap<Slot, Awaits>,
    /// How many were aborted in the sets below this one.
    pub aborted_below: usize,
    /// How many ended by themselves in the sets below this one that have closed.
    pub ended_below: usize,
    /// How many tasks panicked.
    pub panics: usize,
    /// The first [`MOST_NAMED`] tasks that panicked.
    pub panicked: Vec<Panicked>,
}

/// The time for the last polls of tasks whose time is up: see the module `stuck`. What takes longer would move the end of the
/// shutdown where one thread polls the tasks and the caller.
#[cfg(all(feature = "stuck", not(loom)))]
#[derive(Clone, Copy, Debug, Default)]
struct LastPolls {
    time: Duration,
    spent: Duration,
}

#[cfg(all(feature = "stuck", not(loom)))]
impl LastPolls {
    /// What there is if the limit has passed, because the machine is busy.
    const LEAST: Duration = Duration::from_millis(10);

    /// Half of the time until the caller gives up. The other half is for the destructors.
    fn more_until(&mut self, give_up: Option<Instant>) {
        let left =
            give_up.map_or(Duration::ZERO, |end| end.saturating_duration_since(Instant::now()));
        self.time = self.time.max(self.spent + Self::LEAST.max(left / 2));
    }

    fn has_time(&self) -> bool {
        self.spent < self.time
    }
}

/// How many tasks that panicked, and that were aborted, are kept by name. A set may run for months, and must
/// not grow with each request that panics; the first ones usually show the cause.
pub const MOST_NAMED: usize = 64;

/// How many bytes of the message of a panic are kept.
const LONGEST_MESSAGE: usize = 4096;

/// How often in a row the number of foreign tasks must be the same to be believed.
#[cfg(not(loom))]
const SETTLED: usize = 4;

/// Those to be woken after sets have closed, usually one.
type Closed<'a> = SmallVec<[ToWake<'a>; 1]>;

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
        lock(&self.children).insert(slot, Arc::downgrade(&child));
        // The child can be told from here on. Only now look: a command from before is not missed.
        child.give(self.command(), |_| false);
        Ok(child)
    }

    fn with(registry: Registry, parent: Option<(Arc<Self>, Slot)>) -> Self {
        let above = parent.as_ref().map(|(parent, _)| &parent.helpers);
        let helpers = Arc::new(above.map_or_else(Helpers::default, Helpers::below));
        Self {
            command: Padded::new(AtomicU8::new(Command::Run as u8)),
            closed: Latch::of(&helpers),
            registry,
            tally: Mutex::default(),
            callers: Callers::of(&helpers),
            parent,
            children: Mutex::default(),
            spared: Mutex::default(),
            helpers,
            #[cfg(all(feature = "stuck", not(loom)))]
            last_polls: Mutex::default(),
            #[cfg(not(loom))]
            failures: Failures::default(),
            #[cfg(not(loom))]
            runtimes: Runtimes::default(),
        }
    }

    /// The current command.
    #[inline]
    pub fn command(&self) -> Command {
        // Acquire pairs with the release in `give`: a task that sees the command sees what was done
        // before it was given.
        match self.command.load(Ordering::Acquire) {
            0 => Command::Run,
            1 => Command::Stop,
            _ => Command::Abort,
        }
    }

    /// Asks every task to stop, and refuses new tasks from outside.
    pub fn stop(&self) {
        self.give(Command::Stop, |_| false);
    }

    /// Aborts every task: it is dropped when it next yields to its runtime.
    pub fn abort(&self) {
        self.give(Command::Abort, |_| false);
    }

    /// Aborts the tasks for a caller whose time has come, except those for which another caller is more
    /// patient: one that waits for this set, for one above it, or for one below it. Returns whether
    /// there are any. The caller gives up at `give_up`.
    pub fn abort_at(&self, moment: AbortAt, give_up: Option<Instant>) -> bool {
        let is_spared = |set: &Self| set.callers.are_more_patient(moment);
        if iter::successors(Some(self), |set| set.parent()).any(is_spared) {
            return true;
        }
        self.time_has_passed(give_up);
        self.give(Command::Abort, is_spared)
    }

    /// Says that the abort that follows comes at the end of a shutdown's time, and when the caller gives up.
    pub fn time_has_passed(&self, give_up: Option<Instant>) {
        #[cfg(all(feature = "stuck", not(loom)))]
        lock(&self.last_polls).get_or_insert_default().more_until(give_up);
        let _ = give_up;
    }

    fn parent(&self) -> Option<&Self> {
        self.parent.as_ref().map(|(parent, _)| &**parent)
    }

    /// Gives a command to this set and to those below it, except those that are spared. Returns whether
    /// any was. Where a more urgent command was given before, nothing changes.
    fn give(&self, command: Command, is_spared: impl Fn(&Self) -> bool) -> bool {
        if command == Command::Run {
            return false;
        }
        // Not by recursion: the stack is too small for groups that nest a hundred thousand deep.
        let mut below = Vec::new();
        // If it has closed, so has everything below it.
        let Some(own) = self.take(command, &mut below) else { return false };
        let (mut told, mut spared) = (Vec::new(), false);
        while let Some(set) = below.pop() {
            if is_spared(&set) {
                spared = true;
                // Those between here and there have the command and do not pass it on again.
                let above = iter::successors(set.parent(), |above| above.parent());
                for above in above.take_while(|above| !ptr::eq(*above, self)).chain([self]) {
                    above.remember_spared(&set);
                }
            } else if let Some(signals) = set.take(command, &mut below) {
                told.push((set, signals));
            }
        }
        let (mut closed, mut signals) = (Closed::new(), Closed::new());
        let told = told.iter_mut().map(|(set, it)| (&**set, mem::take(it)));
        for (set, of_set) in iter::once((self, own)).chain(told) {
            if !of_set.is_empty() {
                signals.push(ToWake::new(Some(&set.helpers), of_set));
            }
            // Now it may close: whoever sees it sees that signals may be called.
            if set.registry.release() {
                set.close(&mut closed);
            }
        }
        // Only after every task knows, and every set has closed that could: these may be foreign.
        if !closed.is_empty() || !signals.is_empty() {
            waker::wake(closed.into_iter().chain(signals));
        }
        spared
    }

    /// The threads that call wakers of signals and of callers, of this set and of those below it.
    pub const fn helpers(&self) -> &Arc<Helpers> {
        &self.helpers
    }

    #[cold]
    fn remember_spared(&self, set: &Arc<Self>) {
        let mut spared = lock(&self.spared);
        spared.retain(|other| other.strong_count() > 0 && other.as_ptr() != Arc::as_ptr(set));
        spared.push(Arc::downgrade(set));
    }

    /// Takes a command, wakes the tasks for it, and says which sets must be given it next. Returns the
    /// wakers of the signals, and holds the set open; `None` if it has closed.
    fn take(&self, command: Command, below: &mut Vec<Arc<Self>>) -> Option<Wakers> {
        if !self.registry.hold() {
            return None;
        }
        // Release: see `command`. Acquire: a caller who comes too late sees what the first did before.
        let before = self.command.fetch_max(command as u8, Ordering::AcqRel);
        // After the command, which turns outsiders away. One that came in before is waited for.
        self.registry.begin_to_close();
        if before < command as u8 {
            let signals = self.registry.wake_tasks();
            below.extend(lock(&self.children).values().filter_map(Weak::upgrade));
            return Some(signals);
        }
        if command == Command::Abort {
            below.extend(lock(&self.spared).drain(..).filter_map(|spared| spared.upgrade()));
        }
        Some(Wakers::new())
    }

    /// Shuts the tasks down, as [`stop_then_abort`] says. The limit counts from `entered`.
    #[cfg(not(loom))]
    pub async fn shut_down(&self, entered: Instant, limit: Duration) -> Waited {
        let ended = || self.closed.wait();
        let abort = |moment| self.abort_at(moment, entered.checked_add(limit));
        let waited = stop_then_abort(
            &self.callers,
            entered,
            limit,
            || self.stop(),
            abort,
            ended,
            || self.helpers.are_alive(),
        )
        .await;
        if self.closed.has_fired() {
            until(entered.checked_add(limit), pin!(self.settle())).await;
        }
        waited
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
        if exit == Exit::Aborted {
            self.aborted(slot);
        }
        if self.registry.remove(slot, exit) {
            self.close_and_wake();
        }
    }

    #[cold]
    fn close_and_wake(&self) {
        let mut wakers = Closed::new();
        self.close(&mut wakers);
        waker::wake(wakers);
    }

    /// This set, the set that it is a member of, and so on.
    fn with_those_above(&self) -> impl Iterator<Item = &Self> {
        iter::successors(Some(self), |set| set.parent())
    }

    /// Keeps the name of a task that is aborted. Before it leaves its place: everyone who sees the set
    /// closed sees the name.
    #[cold]
    fn aborted(&self, slot: Slot) {
        let label = self.registry.label_of_aborted(slot, MOST_NAMED);
        let awaits = lock(&self.tally).awaits.remove(&slot);
        let aborted = label.map(|label| StillRunning { awaits, ..label.into() });
        for (above, set) in self.with_those_above().enumerate() {
            if above == 0 && aborted.is_none() {
                continue;
            }
            let mut tally = lock(&set.tally);
            tally.aborted_below += usize::from(above > 0);
            if tally.aborted.len() < MOST_NAMED {
                tally.aborted.extend(aborted.clone());
            }
        }
    }

    /// Whether it shall be noted where a task waits that is aborted now.
    #[cfg(all(feature = "stuck", not(loom)))]
    pub(crate) fn notes_awaits(&self) -> bool {
        let has_timed_out = |set: &Self| lock(&set.last_polls).is_some();
        crate::stuck::is_on() && self.with_those_above().any(has_timed_out) && {
            let tally = lock(&self.tally);
            tally.aborted.len() + tally.awaits.len() < MOST_NAMED
        }
    }

    /// Whether there is time to poll one more task for that.
    #[cfg(all(feature = "stuck", not(loom)))]
    fn has_time_for_a_last_poll(&self) -> bool {
        let has_time = |set: &Self| lock(&set.last_polls).is_some_and(|polls| polls.has_time());
        self.with_those_above().any(has_time)
    }

    /// A last poll took so long. Returns whether that has used up the time.
    #[cfg(all(feature = "stuck", not(loom)))]
    fn spend_on_last_poll(&self, took: Duration) -> bool {
        let polled = self.with_those_above().filter_map(|set| {
            let mut polls = lock(&set.last_polls);
            polls.as_mut().map(|polls| {
                polls.spent += took;
                polls.has_time()
            })
        });
        !polled.fold(false, |has_time, of_set| has_time | of_set)
    }

    /// Notes where a task waits that is about to be dropped.
    #[cfg(all(feature = "stuck", not(loom)))]
    fn note_awaits(&self, slot: Slot, awaits: Awaits) {
        lock(&self.tally).awaits.insert(slot, awaits);
    }

    /// Records that a task panicked.
    #[cold]
    fn panicked(&self, slot: Slot, payload: Box<dyn Any + Send>) {
        let mut message = panics::text(&*payload);
        message.truncate(floor_char_boundary(&message, LONGEST_MESSAGE));
        let label = self.registry.label(slot);
        // If it waited, it was polled once more then. Its slot may be another task's soon.
        let awaits = lock(&self.tally).awaits.remove(&slot);
        for set in self.with_those_above() {
            let mut tally = lock(&set.tally);
            tally.panics += 1;
            if tally.panicked.len() < MOST_NAMED {
                tally.panicked.extend(label.clone().map(|Label { name, spawned_at }| Panicked {
                    name: name.into_owned(),
                    spawned_at,
                    message: message.clone(),
                    awaits: awaits.clone(),
                }));
            }
        }
        // Only now: its destructor may block, and must not keep the panic from a report.
        panics::discard(payload);
        #[cfg(not(loom))]
        self.stop_if_a_failure_stops();
    }

    /// Must be called once, by the caller that closed the registry. Closes the sets above, too, if this
    /// one was their last member. Adds the wakers of those who wait, to be woken after all that.
    #[cold]
    fn close<'a>(&'a self, wakers: &mut Closed<'a>) {
        let mut set = self;
        loop {
            if let Some(waiters) = set.closed.set_fired() {
                wakers.push(waiters);
            }
            let Some((parent, slot)) = &set.parent else { break };
            let ended = set.registry.count().completed + lock(&set.tally).ended_below;
            lock(&parent.tally).ended_below += ended;
            // Before the slot is free: the next child may get the same.
            let child = lock(&parent.children).remove(slot);
            drop(child);
            if !parent.registry.remove(*slot, Exit::Uncounted) {
                break;
            }
            set = parent;
        }
    }

    /// The runtimes on which tasks of this set were spawned.
    #[cfg(not(loom))]
    pub const fn runtimes(&self) -> &Runtimes {
        &self.runtimes
    }

    /// Remembers a runtime on which a task is spawned, for the report of this set and of those above it.
    #[cfg(not(loom))]
    #[inline]
    pub fn remember_runtime(&self, runtime: &tokio::runtime::Handle) {
        if self.runtimes.remember(runtime) {
            // Where it is known, it is known above.
            let above = iter::successors(self.parent(), |set| set.parent());
            let _ = above.take_while(|set| set.runtimes.remember(runtime)).count();
        }
    }

    /// How many tasks are alive on those runtimes that are neither tasks of this set, or of a set below
    /// it, nor the caller. Tokio may still count a task for a moment after it has ended.
    #[cfg(not(loom))]
    pub fn foreign_tasks(&self) -> usize {
        let alive = self.runtimes.alive_tasks();
        if alive == 0 {
            return 0;
        }
        // The caller's runtime, if the caller is a task of it. (A closure of `spawn_blocking` has an
        // identity, too, and is then taken for a task.)
        let is_alive = tokio::task::try_id().is_some()
            && tokio::runtime::Handle::try_current().is_ok_and(|here| self.runtimes.include(&here));
        let members = if self.closed.has_fired() { 0 } else { self.members() };
        alive.saturating_sub(members + usize::from(is_alive))
    }

    /// How many tasks of this set and of those below it have not ended.
    #[cfg(not(loom))]
    fn members(&self) -> usize {
        let children =
            |set: &Self| lock(&set.children).values().filter_map(Weak::upgrade).collect::<Vec<_>>();
        let (mut below, mut members) = (children(self), self.registry.count().running);
        members -= below.len().min(members);
        while let Some(set) = below.pop() {
            let children = children(&set);
            let running = set.registry.count().running;
            members += running - children.len().min(running);
            below.extend(children);
        }
        members
    }

    /// Waits a moment for Tokio to notice that the tasks of this set have ended. It goes by what Tokio does
    /// today: a task is alive to it until shortly after its future was dropped, on the same thread.
    #[cfg(not(loom))]
    async fn settle(&self) {
        let (mut alive, mut same) = (self.foreign_tasks(), 0);
        while alive > 0 && same < SETTLED {
            // A thread that was preempted between the two may need this processor.
            thread::yield_now();
            yield_once().await;
            let now = self.foreign_tasks();
            same = if now == alive { same + 1 } else { 0 };
            alive = now;
        }
    }

    /// The tasks that returned an error.
    #[cfg(not(loom))]
    pub const fn failures(&self) -> &Failures {
        &self.failures
    }

    /// The callers that wait for the end.
    pub const fn callers(&self) -> &Callers {
        &self.callers
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

/// A chain of parents is dropped from below, and not by recursion.
impl Drop for TaskSet {
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some((set, _)) = parent {
            parent = Arc::into_inner(set).and_then(|mut set| set.parent.take());
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_parent_reaches_every_child_and_forgets_those_that_have_closed() {
        let parent = TaskSet::new();
        let child = || parent.child(Label::new("child")).unwrap();
        let children: Vec<_> = (0..10).map(|_| child()).collect();
        (0..1000).for_each(|_| child().stop());
        assert_eq!(lock(&parent.children).len(), children.len());
        parent.stop();
        assert!(children.iter().all(|child| child.command() == Command::Stop));
        assert!(parent.closed().has_fired());
    }
}
