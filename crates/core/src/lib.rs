//! sundown: take a Tokio runtime down without a panic, a hang or a lost row.
//!
//! The experiments of this workspace show what breaks when a runtime goes down before everything that
//! depends on it. This crate is what an application uses so that it does not.
//!
//! The first four modules need no runtime. They work in async code under any executor and, with a limit,
//! on plain threads. Loom explores every interleaving of them on this source (`tests/loom`).
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`flag`] | a flag that is raised once |
//! | [`gate`] | a point of no return: cancelled or committed, never both; and a gate that many pass at once, until it is closed |
//! | [`oneshot`] | a channel by which one party confirms something to another |
//! | [`latch`] | a signal that is given once, to any number of waiters |
//! | [`limit`] | a limit for a future, under any executor |
//! | [`stop`] | the signal that a task holds, cheap enough for every turn of a hot loop |
//! | [`task`] | a background task that is asked to stop, dropped if that does not help, and never leaked |
//! | [`group`] | the same for a million tasks |
//! | [`shutdown`] | what every shutdown returns, and how to shut a list of things down in order |
//! | [`runtime`] | a runtime on a thread of its own, whose shutdown can fail and says so |
//! | [`mod@teardown`] | drop a value where its destructor can run, and return when everything it started has ended |
//! | [`session`] | many owners of one resource, torn down once, wherever the last of them is dropped |
//! | [`evidence`] | an outside look at whether something has ended |
//! | `explain` | (feature) a panic hook that explains the panics of a shutdown |
//!
//! Asynchronous forms have the plain name (`close`), blocking ones end in `_blocking` (`close_blocking`).

mod blocking;
pub mod evidence;
#[cfg(all(feature = "explain", not(loom)))]
pub mod explain;
pub mod flag;
pub mod gate;
#[cfg(not(loom))]
pub mod group;
#[cfg(not(loom))]
mod handle_count;
pub mod latch;
#[cfg(not(loom))]
mod lifecycle;
#[cfg(not(loom))]
pub mod limit;
#[cfg(not(loom))]
mod observe;
pub mod oneshot;
#[doc(hidden)]
pub mod panics;
#[cfg(not(loom))]
mod process;
#[cfg(not(loom))]
pub mod runtime;
#[cfg(not(loom))]
pub mod session;
pub mod shutdown;
mod sync;
#[cfg(not(loom))]
pub mod task;
#[cfg(not(loom))]
mod tasks;
#[cfg(not(loom))]
pub mod teardown;
#[cfg(not(loom))]
mod this_thread;

// The models use these as they are. Nobody else sees them.
#[cfg(loom)]
pub mod handle_count;
#[cfg(loom)]
pub mod lifecycle;
#[cfg(loom)]
pub mod tasks;
#[cfg(loom)]
pub mod this_thread;

pub use flag::Flag;
pub use gate::{CommitGate, EntryGate};
#[cfg(not(loom))]
pub use group::{GroupReport, TaskGroup};
pub use latch::Latch;
#[cfg(not(loom))]
pub use limit::within;
#[cfg(not(loom))]
pub use runtime::{RuntimeCell, RuntimeError, RuntimeHandle, RuntimeOwner};
#[cfg(not(loom))]
pub use session::{CloseError, CloseErrorKind, CloseReport, Guarded, Session};
pub use shutdown::{
    GracefulShutdown, ShutdownError, ShutdownErrorKind, ShutdownReport, shutdown_in_order,
};
pub use stop::Stop;
#[cfg(not(loom))]
pub use task::BackgroundTask;
pub use tasks::stop;
#[cfg(not(loom))]
pub use teardown::{TeardownError, TeardownReport, teardown, teardown_blocking};

/// The listings of the README are compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
