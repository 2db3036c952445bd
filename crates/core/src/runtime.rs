//! A runtime on a thread of its own, whose shutdown can fail, report and time out.
//!
//! Tokio's ways to shut a runtime down return nothing. `shutdown_timeout` does not say whether
//! anything is left, `shutdown_background` does not wait, and a drop waits for ever or, in async code,
//! panics (experiments 09, 10). The usual repair, a thread that is told to stop and joined, hides a
//! panic of that thread and hangs if it does not end (experiments 51, 52; claims E1–E3). A runtime in a
//! static is never shut down at all (experiment 50, claim C4).
//!
//! Here one thread owns the runtime and drops it, which waits for all of its threads for as long as
//! that takes. A caller of `shutdown` waits for that thread, until the caller's limit. A wait that is
//! given up leaves nothing behind.
//!
//! [`RuntimeOwner`] is for a program that passes its runtime around, [`RuntimeCell`] for one that has it
//! in a static.

mod builder;
mod cell;
mod generation;
mod handle;
mod owner;
mod owner_thread;
mod restartable;
mod threads;

use thiserror::Error;

pub use builder::{RuntimeBuilder, StartError};
pub use cell::RuntimeCell;
pub use handle::RuntimeHandle;
pub use owner::RuntimeOwner;

/// Why a runtime cannot be used. What was passed in was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// It has been told to stop, or has ended otherwise.
    #[error(
        "`{component}` has been shut down (generation {generation}); restart it, and ask its owner for the new one"
    )]
    ShutDown {
        /// The name of the runtime.
        component: String,
        /// Its generation, counted from 1; 0 if it was shut down before the first.
        generation: u64,
    },
    /// This is a forked child of the process that has its threads.
    #[error(
        "`{component}` runs in process {owner}, which this one was forked from; start a runtime of this process's own"
    )]
    Forked {
        /// The name of the runtime.
        component: String,
        /// The process that has the threads.
        owner: u32,
    },
    /// This thread is about to end. Its thread-locals have been destroyed, and Tokio needs them.
    #[error(
        "`{component}` cannot be used by a thread whose thread-locals have been destroyed; use it before the thread ends, or from another one"
    )]
    ThreadEnding {
        /// The name of the runtime.
        component: String,
    },
    /// This is the only thread that can poll the runtime's tasks, and it would block them.
    #[error(
        "a task of `{component}` cannot block its own runtime; await the future, or block in spawn_blocking"
    )]
    OwnThread {
        /// The name of the runtime.
        component: String,
    },
}

/// What a runtime is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It was never started.
    NotStarted,
    /// It runs.
    Running,
    /// It was told to end, and has not ended.
    Stopping,
    /// It has ended, and so have its threads.
    Ended,
    /// It belongs to the process that this one was forked from.
    Forked,
}

/// What a runtime is doing, in numbers. All are of some moment that has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// In one word.
    pub state: State,
    /// How often it has been started.
    pub generation: u64,
    /// How many tasks are alive, by Tokio's count.
    pub tasks: usize,
    /// How many tasks and calls of `block_on` run that are known by name.
    pub named: usize,
    /// How many threads it has besides its owner thread: its workers, if it has any, and those for
    /// blocking work, idle or not.
    pub threads: usize,
}

impl Stats {
    const fn empty(state: State) -> Self {
        Self { state, generation: 0, tasks: 0, named: 0, threads: 0 }
    }
}
