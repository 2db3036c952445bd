//! How the generations of a runtime begin and end: who may begin one, who ends it, and what a caller that
//! waits for the end learns. [`RuntimeOwner`](crate::RuntimeOwner) and
//! [`RuntimeCell`](crate::RuntimeCell) are built on this.
//!
//! There is no Tokio in here. A runtime has a thread of its own, the *owner thread*, and only that
//! thread touches it: it waits until it is released, drops the runtime, records how that went, and
//! ends. All others only ever wait for the owner thread.

mod users;

use std::{
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use crate::{
    latch::Latch,
    shutdown::StillRunning,
    sync::{Mutex, lock},
    task_set::{Command, TaskSet},
};

pub use users::Users;

/// The life of one generation.
pub struct Lifecycle {
    /// What runs on it and is known by name.
    tasks: Arc<TaskSet>,
    /// Fires when the owner thread should not wait for the tasks any longer.
    released: Latch,
    /// How it ended. Recorded once, before `gone` fires.
    end: Mutex<Option<End>>,
    /// Fires when the owner thread has nothing left to do.
    gone: Latch,
}

/// How a generation ended.
#[derive(Clone, Debug)]
pub enum End {
    /// The owner thread was asked to end it, and dropped the runtime.
    Told,
    /// The owner thread panicked, and dropped the runtime after that.
    Panicked {
        /// The message of the panic.
        message: String,
        /// What ran at that moment, by name.
        still_running: Vec<StillRunning>,
        /// How many tasks that were in all.
        tasks: usize,
    },
    /// The owner thread ended without recording anything, so nothing here ended it. What ran on the
    /// runtime was not dropped, and never will be.
    Lost,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// The life of a generation that begins now.
    #[must_use]
    pub fn new() -> Self {
        let tasks = TaskSet::new();
        // Only callers wait until it is gone.
        let gone = Latch::of(tasks.helpers());
        Self { tasks, released: Latch::new(), end: Mutex::default(), gone }
    }

    /// What runs on it and is known by name.
    pub const fn tasks(&self) -> &Arc<TaskSet> {
        &self.tasks
    }

    /// Asks the tasks to stop. When they have ended, the owner thread ends.
    pub fn stop(&self) {
        self.tasks.stop();
    }

    /// Aborts the tasks, and makes the owner thread drop the runtime without waiting for them.
    pub fn abort(&self) {
        self.tasks.abort();
        self.released.fire();
    }

    /// Whether nothing has told it to end, and it has not ended otherwise.
    pub fn is_running(&self) -> bool {
        self.tasks.command() == Command::Run
    }

    /// What the owner thread waits for: that all tasks have ended after a stop, or an abort.
    pub async fn until_released(&self) {
        let (mut closed, mut released) = (self.tasks.closed().wait(), self.released.wait());
        poll_fn(|context| {
            let closed = Pin::new(&mut closed).poll(context);
            let released = Pin::new(&mut released).poll(context);
            if closed.is_ready() || released.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Waits for an abort.
    pub async fn until_aborted(&self) {
        self.released.wait().await;
    }

    /// Whether it was aborted.
    pub fn is_aborted(&self) -> bool {
        self.released.has_fired()
    }

    /// Records how it ended. The first record counts.
    pub fn record(&self, end: End) {
        lock(&self.end).get_or_insert(end);
    }

    /// The last thing that the owner thread does, whatever ended it. It wakes all waiters, and they find
    /// how it ended: recorded before, or now.
    pub fn gone(&self) {
        self.record(End::Lost);
        // Even if nobody has asked for a stop, the set must take no more tasks. This also reaches what
        // runs inside `block_on`, on a thread of the caller.
        self.abort();
        self.gone.fire();
    }

    /// Waits until it has ended: the owner thread has gone, and all tasks have ended.
    pub async fn ended(&self) {
        self.gone.wait().await;
        if !self.is_lost() {
            // The tasks on it were dropped with the runtime. What is left runs on other threads.
            self.tasks.closed().wait().await;
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.gone.has_fired() && (self.is_lost() || self.tasks.closed().has_fired())
    }

    /// How the owner thread ended; `None` until it has.
    pub fn end(&self) -> Option<End> {
        self.gone.has_fired().then(|| lock(&self.end).clone()).flatten()
    }

    /// Whether the owner thread ended without a record. Some tasks may then never end.
    fn is_lost(&self) -> bool {
        matches!(*lock(&self.end), Some(End::Lost))
    }
}

impl AsRef<Self> for Lifecycle {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// Generations that follow one another, at most one at a time.
pub struct Generations<T> {
    latest: Mutex<Latest<T>>,
}

enum Latest<T> {
    /// None has begun.
    None,
    /// None has begun, and none begins by itself any more.
    Closed,
    /// The latest, ended or not, and its number, counted from 1.
    Begun { number: u64, generation: Arc<T> },
    /// The next is being made.
    Beginning(Beginning<T>),
}

struct Beginning<T> {
    /// The latest that has begun, if one has, and its number.
    before: Option<(u64, Arc<T>)>,
    /// A shutdown had come before the first.
    was_closed: bool,
    /// A shutdown has come meanwhile.
    is_closed: bool,
    /// Fires when this is over.
    over: Arc<Latch>,
}

/// Which generation should begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// The first. If it has begun already, that is the one, ended or not.
    First,
    /// A new one, after all before it have ended.
    Next,
}

/// Why no generation has begun.
#[derive(Debug)]
pub enum NotBegun<E> {
    /// A shutdown came before the first one began.
    Closed,
    /// The one before has not ended.
    NotEnded,
    /// It could not be made.
    Failed(E),
}

impl<T: AsRef<Lifecycle>> Generations<T> {
    /// None has begun.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self { latest: Mutex::new(Latest::None) }
    }

    /// None has begun.
    #[cfg(loom)]
    #[must_use]
    pub fn new() -> Self {
        Self { latest: Mutex::new(Latest::None) }
    }

    /// Begins a generation. `make` gets its number.
    ///
    /// Nothing is locked while `make` runs, which may take long. Of two concurrent callers, the second waits
    /// and gets the generation of the first. A shutdown that comes meanwhile stops the new generation.
    pub fn begin<E>(
        &self,
        which: Begin,
        make: impl FnOnce(u64) -> Result<Arc<T>, E>,
    ) -> Result<Arc<T>, NotBegun<E>> {
        let (number, over) = loop {
            let mut latest = lock(&self.latest);
            let before = match &*latest {
                Latest::Beginning(beginning) => {
                    let over = Arc::clone(&beginning.over);
                    drop(latest);
                    let _ = over.wait_blocking(Duration::MAX);
                    continue;
                }
                Latest::Begun { generation, .. } if which == Begin::First => {
                    return Ok(Arc::clone(generation));
                }
                Latest::Begun { generation, .. } if !(**generation).as_ref().has_ended() => {
                    return Err(NotBegun::NotEnded);
                }
                Latest::Begun { number, generation } => Some((*number, Arc::clone(generation))),
                Latest::Closed if which == Begin::First => return Err(NotBegun::Closed),
                Latest::Closed | Latest::None => None,
            };
            let number = before.as_ref().map_or(1, |(number, _)| number + 1);
            let (was_closed, over) = (matches!(&*latest, Latest::Closed), Arc::new(Latch::new()));
            *latest = Latest::Beginning(Beginning {
                before,
                was_closed,
                is_closed: false,
                over: Arc::clone(&over),
            });
            break (number, over);
        };
        // Its drop ends it, also if `make` panics.
        let mut attempt = Attempt { generations: self, begun: None, over };
        let made = make(number);
        attempt.begun = made.as_ref().ok().map(|generation| (number, Arc::clone(generation)));
        drop(attempt);
        made.map_err(NotBegun::Failed)
    }

    /// Ends an attempt to begin one, which nothing else does.
    fn end(&self, begun: Option<(u64, Arc<T>)>) {
        let mut latest = lock(&self.latest);
        let Latest::Beginning(attempt) = mem::replace(&mut *latest, Latest::None) else { return };
        let is_new = begun.is_some();
        let (now, before) = match begun {
            Some(_) => (begun, attempt.before),
            None => (attempt.before, None),
        };
        let told = match &now {
            Some((_, generation)) if is_new && attempt.is_closed => Some(Arc::clone(generation)),
            _ => None,
        };
        *latest = match now {
            Some((number, generation)) => Latest::Begun { number, generation },
            None if attempt.was_closed || attempt.is_closed => Latest::Closed,
            None => Latest::None,
        };
        drop(latest);
        if let Some(told) = told {
            (*told).as_ref().stop();
        }
        // Its destructor is foreign code: not under the lock.
        drop(before);
    }

    /// The latest generation that has begun, ended or not.
    pub fn latest(&self) -> Option<Arc<T>> {
        match &*lock(&self.latest) {
            Latest::Begun { generation, .. } => Some(Arc::clone(generation)),
            Latest::Beginning(Beginning { before, .. }) => {
                before.as_ref().map(|(_, generation)| Arc::clone(generation))
            }
            Latest::None | Latest::Closed => None,
        }
    }

    /// The latest generation, for a caller who is about to end it. If none has begun, none begins by
    /// itself from here on: a shutdown before the first use is meant to prevent that use.
    ///
    /// # Errors
    ///
    /// If one is being made: when this latch fires, ask again. That one will be told to stop.
    pub fn close(&self) -> Result<Option<Arc<T>>, Arc<Latch>> {
        let mut latest = lock(&self.latest);
        match &mut *latest {
            Latest::Begun { generation, .. } => Ok(Some(Arc::clone(generation))),
            Latest::Beginning(beginning) => {
                beginning.is_closed = true;
                Err(Arc::clone(&beginning.over))
            }
            Latest::None | Latest::Closed => {
                *latest = Latest::Closed;
                Ok(None)
            }
        }
    }
}

/// An attempt to begin a generation, and what has begun. Its drop ends it.
struct Attempt<'a, T: AsRef<Lifecycle>> {
    generations: &'a Generations<T>,
    begun: Option<(u64, Arc<T>)>,
    over: Arc<Latch>,
}

impl<T: AsRef<Lifecycle>> Drop for Attempt<'_, T> {
    fn drop(&mut self) {
        self.generations.end(self.begun.take());
        self.over.fire();
    }
}
