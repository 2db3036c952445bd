//! Where a task waits that does not end.
//!
//! A shutdown names the tasks that it had to abort. That does not say why they did not end: which of their `.await`s is
//! it that never returns? Switch this on, and it says so, on stable Rust and without `tokio_unstable`:
//!
//! ```
//! use std::time::Duration;
//! use sundown::TaskGroup;
//!
//! sundown::stuck::note_awaits(true);
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), sundown::SpawnError> {
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
//! where the task waits. At most 64 tasks of a group are asked. The thread that owns a runtime gives its tasks 20 ms for
//! that.
//!
//! A future must bear to be polled when nothing has happened, and a task could always have been polled a moment before it
//! is aborted. So this does nothing to a task that could not have happened without it. But a poll is a poll: the task
//! may go on in it, send something, or end, and then it counts as ended. That is why this is opt-in, and why it is done
//! at the time-out of a shutdown alone: not after [`abort`](crate::TaskGroup::abort), and not when a group is dropped.
//!
//! # What it does not say
//!
//! A task that does not yield is not polled again, so nothing is said of it: its *thread* is stuck, and a debugger shows
//! where. Neither is anything said of tasks that were spawned past the kit. A task that waits in `FuturesUnordered` waits where that is awaited, and not where its members are. Without
//! debug information there are functions and no lines; `debug = "line-tables-only"` in the profile is enough. Only the
//! program's own code counts as a place: what cargo got from a registry or from Git is passed over.

mod places;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use backtrace::Backtrace;
use cooked_waker::{IntoWaker as _, Wake, WakeRef};

use crate::{
    shutdown::Awaits,
    sync::{Mutex, lock},
};

/// How many places of one task are noted.
const MOST_PLACES: usize = 16;

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

/// A waker that notes where it is cloned, while a poll lasts. Otherwise it is the task's own.
struct Noting {
    waker: Waker,
    notes: Arc<Notes>,
}

struct Notes {
    are_open: AtomicBool,
    stacks: Mutex<Vec<Backtrace>>,
}

impl Clone for Noting {
    fn clone(&self) -> Self {
        // Relaxed: what counts is what this very thread clones during the poll.
        if self.notes.are_open.load(Ordering::Relaxed) {
            // Its functions are looked up later: this may be under somebody's lock.
            let stack = Backtrace::new_unresolved();
            let mut stacks = lock(&self.notes.stacks);
            if stacks.len() < MOST_PLACES {
                stacks.push(stack);
            }
        }
        Self { waker: self.waker.clone(), notes: Arc::clone(&self.notes) }
    }
}

impl WakeRef for Noting {
    fn wake_by_ref(&self) {
        self.waker.wake_by_ref();
    }
}

impl Wake for Noting {}

/// Polls something once more, and notes where it takes the waker.
pub(crate) fn poll<R>(
    context: &Context<'_>,
    poll: impl FnOnce(&mut Context<'_>) -> Poll<R>,
) -> (Poll<R>, Awaits) {
    let notes = Arc::new(Notes { are_open: AtomicBool::new(true), stacks: Mutex::default() });
    let noting = Noting { waker: context.waker().clone(), notes: Arc::clone(&notes) };
    let waker = Box::new(noting).into_waker();
    // What is outside of the task.
    let here = Backtrace::new_unresolved();
    let polled = poll(&mut Context::from_waker(&waker));
    notes.are_open.store(false, Ordering::Relaxed);
    let stacks = std::mem::take(&mut *lock(&notes.stacks));
    // A panic in there would be repeated by every print of the report.
    let find = move || catch_unwind(AssertUnwindSafe(|| places::of(stacks, &here)));
    (polled, Awaits::found_by(|| find().unwrap_or_default()))
}
