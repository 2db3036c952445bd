//! Where a task waits that does not end.
//!
//! A shutdown names the tasks that it had to abort. That does not say why they did not end: which of their `.await`s is
//! it that never returns? Switch this on, and it says so, on stable Rust and without `tokio_unstable`:
//!
//! ```
//! use std::time::Duration;
//! use sundown::TaskGroup;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), sundown::SpawnError> {
//! sundown::stuck::note_awaits(true);
//! let group = TaskGroup::new("connections");
//! group.spawn("connection", |_| async {
//!     std::future::pending::<()>().await;
//! })?;
//! let report = group.drain(Duration::from_millis(50)).await;
//! // … `connection` (spawned at src/main.rs:7:7), which waits at src/main.rs:8:34 (app::main)
//! println!("{report}");
//! # assert!(report.aborted_tasks[0].awaits.is_some());
//! # Ok(()) }
//! ```
//!
//! # How
//!
//! When the time of a shutdown is up, each task that is left is polled *once more* before it is dropped, with a waker
//! that notes the stack wherever it is cloned. A future that waits clones the waker and keeps it, so the stacks show
//! where the task waits. At most 64 tasks of a group are asked, and at most 16 places of a task are noted. The thread that
//! owns a runtime gives its tasks 20 ms for that.
//!
//! These polls have half of what is left of the limit when it is time to abort, at least 10 ms. When they have used that up,
//! the tasks that are left are dropped unasked, and the report says so. Nothing can interrupt a poll that blocks. Where the
//! caller of the shutdown needs the same thread, as on a runtime of one thread, one such poll makes it pass its limit.
//!
//! A future must bear to be polled when nothing has happened, and a task could always have been polled a moment before it
//! is aborted. So this does nothing to a task that could not have happened without it. But a poll is a poll: the task
//! may go on in it, send something, panic, or end, and then it counts as panicked or ended. That is why this is opt-in, and why it is done
//! at the time-out of a shutdown alone: not after [`abort`](crate::TaskGroup::abort), and not when a group is dropped.
//!
//! # What it does not say
//!
//! A task that does not yield is not polled again, so nothing is said of it: its *thread* is stuck, and a debugger shows
//! where. Neither is anything said of tasks that were spawned past the kit. A task that waits in `FuturesUnordered` waits
//! where that is awaited, and not where its members are. Without debug information there are functions and no lines;
//! `debug = "line-tables-only"` in the profile is enough. Only the program's own code counts as a place: what cargo got
//! from a registry or from Git is passed over.

mod places;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use backtrace::{Backtrace, BacktraceFrame};
use cooked_waker::{IntoWaker as _, Wake, WakeRef};

use crate::{
    shutdown::Awaits,
    sync::{Mutex, lock},
};

/// How many places of one task are noted, at most.
const MOST_PLACES: usize = 16;

/// How many stacks are taken in one poll. Each takes some 20 µs, and a poll may clone its waker any number of times.
const MOST_STACKS: usize = 1024;

static IS_ON: AtomicBool = AtomicBool::new(false);

/// Has every shutdown of this process note where tasks wait that did not end in time, from now on, or no longer. Off at
/// first. It costs nothing until a shutdown reaches its limit.
pub fn note_awaits(is_on: bool) {
    // Relaxed: nothing else depends on it.
    IS_ON.store(is_on, Ordering::Relaxed);
}

pub(crate) fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// A waker that notes where it is cloned or woken, while a poll lasts. Otherwise it is the task's own.
struct Noting {
    waker: Waker,
    notes: Arc<Notes>,
}

struct Notes {
    /// The one that polls. Others may have got hold of the waker.
    thread: ThreadId,
    are_open: AtomicBool,
    /// How many stacks have been taken.
    taken: AtomicUsize,
    stacks: Mutex<Stacks>,
}

#[derive(Default)]
struct Stacks {
    cloned: Vec<Backtrace>,
    /// Where the task woke itself, before it kept a waker.
    woken: Option<Backtrace>,
}

impl Notes {
    /// The stack, if the poll lasts and this is within it. Its functions are looked up later: this may be under somebody's
    /// lock.
    fn stack(&self) -> Option<Backtrace> {
        // Relaxed: what counts is what this very thread does during the poll.
        let is_within = self.are_open.load(Ordering::Relaxed)
            && thread::current().id() == self.thread
            && self.taken.fetch_add(1, Ordering::Relaxed) < MOST_STACKS;
        is_within.then(Backtrace::new_unresolved)
    }
}

/// Whether two stacks are of the same calls: `join_all` takes the waker once for each of its futures.
fn are_same(one: &Backtrace, other: &Backtrace) -> bool {
    let calls =
        |stack: &Backtrace| stack.frames().iter().map(BacktraceFrame::ip).collect::<Vec<_>>();
    calls(one) == calls(other)
}

impl Clone for Noting {
    fn clone(&self) -> Self {
        if let Some(stack) = self.notes.stack() {
            let cloned = &mut lock(&self.notes.stacks).cloned;
            if cloned.len() < MOST_PLACES && !cloned.iter().any(|other| are_same(other, &stack)) {
                cloned.push(stack);
            }
        }
        Self { waker: self.waker.clone(), notes: Arc::clone(&self.notes) }
    }
}

impl WakeRef for Noting {
    fn wake_by_ref(&self) {
        if let Some(stack) = self.notes.stack() {
            lock(&self.notes.stacks).woken.get_or_insert(stack);
        }
        self.waker.wake_by_ref();
    }
}

impl Wake for Noting {}

/// What became of a last poll.
pub(crate) struct Polled<R> {
    /// An error, if it panicked.
    pub(crate) polled: thread::Result<Poll<R>>,
    /// `None`, if it panicked before it took a waker.
    pub(crate) awaits: Option<Awaits>,
    pub(crate) took: Duration,
}

/// Polls something once more, and notes where it takes the waker.
pub(crate) fn poll<R>(
    context: &Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<R>,
) -> Polled<R> {
    let notes = Arc::new(Notes {
        thread: thread::current().id(),
        are_open: AtomicBool::new(true),
        taken: AtomicUsize::new(0),
        stacks: Mutex::default(),
    });
    let noting = Noting { waker: context.waker().clone(), notes: Arc::clone(&notes) };
    let waker = Box::new(noting).into_waker();
    // What is outside of the task.
    let here = Backtrace::new_unresolved();
    let began = Instant::now();
    let polled = catch_unwind(AssertUnwindSafe(|| poll(&mut Context::from_waker(&waker))));
    let took = began.elapsed();
    notes.are_open.store(false, Ordering::Relaxed);
    let Stacks { mut cloned, woken } = std::mem::take(&mut *lock(&notes.stacks));
    if cloned.is_empty() {
        cloned.extend(woken);
    }
    if polled.is_err() && cloned.is_empty() {
        return Polled { polled, awaits: None, took };
    }
    // A panic in there would be repeated by every print of the report.
    let find = move || catch_unwind(AssertUnwindSafe(|| places::of(cloned, &here)));
    let awaits =
        Awaits::found_by(|| find().unwrap_or_else(|_| vec![places::UNREADABLE.to_owned()]));
    Polled { polled, awaits: Some(awaits), took }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_that_clones_its_waker_without_end_takes_so_many_stacks_and_no_more() {
        let notes = Notes {
            thread: thread::current().id(),
            are_open: AtomicBool::new(true),
            taken: AtomicUsize::new(0),
            stacks: Mutex::default(),
        };
        assert!((0..MOST_STACKS).all(|_| notes.stack().is_some()));
        assert!(notes.stack().is_none());
    }
}
