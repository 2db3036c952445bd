//! A runtime owned by a dedicated thread. Its shutdown returns a result and accepts a limit.
//!
//! Tokio's ways to shut a runtime down return nothing. `shutdown_timeout` does not say whether
//! anything is left, `shutdown_background` does not wait, and a drop waits for ever or, in async code,
//! panics (experiments 09, 10). The usual repair is a thread that is signalled to stop and then joined.
//! It hides a panic of that thread and hangs if the thread does not end (experiments 51, 52; claims
//! E1–E3). A runtime in a static is never shut down at all (experiment 50, finding C4a).
//!
//! Here one thread owns and drops the runtime; that drop waits for all runtime threads. `shutdown` waits
//! for the owner thread up to its limit. Abandoning the wait is safe.
//!
//! A shutdown goes like this. The kit's own tasks are asked to stop. When they have ended, *foreign* tasks,
//! which a library spawned on the Tokio handle, get some time to end by themselves. What is left is cut off,
//! and the report counts it. Tokio's drop of a multi-thread runtime lets tasks poll when `spawn_blocking` is
//! refused already, which makes deadpool panic (experiment 11). Here a runtime is brought to rest before that:
//! no task is polled from the moment when blocking work is refused. This costs nothing while the runtime
//! runs. If it does not succeed in time, the report says so ([`CutOff`](crate::shutdown::CutOff), which also
//! says when that happens). With [`current_thread`](RuntimeBuilder::current_thread) it always succeeds,
//! because one thread polls the tasks and cuts them off.
//!
//! [`RuntimeOwner`] is for a program that passes its runtime around, [`RuntimeCell`] for one that has it
//! in a static.

mod builder;
mod cell;
mod cut_off;
mod enlisted;
mod foreign;
mod generation;
mod handle;
mod owner;
mod owner_thread;
mod panic_watch;
mod rest;
mod restartable;
mod threads;

use thiserror::Error;

pub use builder::{RuntimeBuilder, StartError};
pub use cell::RuntimeCell;
pub use handle::RuntimeHandle;
pub use owner::RuntimeOwner;
pub(crate) use {cut_off::CutOffWatch, enlisted::Enlisted, foreign::default_time};

/// Why a runtime cannot be used. The future or closure you passed has been dropped.
#[derive(Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The runtime is stopping or has stopped.
    #[error(
        "`{component}` has been shut down (generation {generation}); restart it and get a new handle from its owner"
    )]
    ShutDown {
        /// The name of the runtime.
        component: String,
        /// Its generation, counted from 1; 0 if it was shut down before the first.
        generation: u64,
    },
    /// This is a forked child of the process that has the runtime's threads.
    #[error(
        "`{component}` runs in process {owner}, which this one was forked from; start a runtime of this process's own"
    )]
    Forked {
        /// The name of the runtime.
        component: String,
        /// The process that has the threads.
        owner: u32,
    },
    /// The thread-locals of this thread have been destroyed, and Tokio needs them. The thread is about to
    /// end.
    #[error(
        "`{component}` cannot be used by a thread whose thread-locals have been destroyed; use it before the thread ends, or from another one"
    )]
    ThreadEnding {
        /// The name of the runtime.
        component: String,
    },
    /// This call would block the only thread that polls the runtime's tasks.
    #[error(
        "a task of `{component}` cannot block its own runtime; await the future, or block in spawn_blocking"
    )]
    OwnThread {
        /// The name of the runtime.
        component: String,
    },
}

crate::debug_as_text!(RuntimeError);

/// The state of a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It was never started.
    NotStarted,
    /// It runs.
    Running,
    /// It is shutting down.
    Stopping,
    /// It has ended, and so have its threads.
    Ended,
    /// It belongs to the process that this one was forked from.
    Forked,
}

/// The state of a runtime in numbers. A snapshot; values may be stale.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The current state.
    pub state: State,
    /// How often it has been started.
    pub generation: u64,
    /// How many tasks are alive, by Tokio's count.
    pub tasks: usize,
    /// How many named tasks and `block_on` calls are running.
    pub named: usize,
    /// How many threads it has besides its owner thread: workers, if any, and threads for blocking work,
    /// idle or not.
    pub threads: usize,
}

impl Stats {
    const fn empty(state: State) -> Self {
        Self { state, generation: 0, tasks: 0, named: 0, threads: 0 }
    }
}
