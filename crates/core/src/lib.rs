//! sundown: take a Tokio runtime down without a panic, a hang or a lost row.
//!
//! What breaks when a runtime goes down before everything that depends on it, the experiments of
//! this workspace show; what does not break, and why, is built here.
//!
//! The first five need no runtime: they work in async code of any executor, and on plain threads
//! with a limit. Their every interleaving is checked by loom, from this source (`tests/loom`).
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`flag`] | a flag that goes up once |
//! | [`gate`] | the point of no return: cancelled or committed, never both; and a gate that many pass at once, until it is closed |
//! | [`oneshot`] | a channel by which one party confirms something to another |
//! | [`latch`] | a signal that is given once, to any number of waiters |
//! | [`limit`] | a limit on a future, under any executor |
//! | [`stop`] | the signal that a task holds, cheap enough for every turn of a hot loop |
//! | [`task`] | a background task that is asked to stop, dropped if that does not help, never leaked |
//! | [`group`] | the same for a million tasks |
//! | [`shutdown`] | what every shutdown returns, and shutting down a list of things in order |
//! | [`runtime`] | a runtime on a thread of its own, whose shutdown can fail, and says so |
//! | [`mod@teardown`] | drop a value where its destructor can run, and return when all that it started has ended |
//! | [`session`] | many owners of one resource, torn down once, wherever the last of them dies |
//! | [`evidence`] | what an outside look at the process says of something that should have ended |
//! | `explain` | (feature) a panic hook that explains the panics of a shutdown |

mod blocking;
mod crew;
pub mod evidence;
#[cfg(all(feature = "explain", not(loom)))]
pub mod explain;
pub mod flag;
pub mod gate;
#[cfg(not(loom))]
pub mod group;
pub mod latch;
mod life;
#[cfg(not(loom))]
pub mod limit;
mod member;
/// The crew by itself, for the models: under loom there is no Tokio to spawn on.
#[cfg(loom)]
#[doc(hidden)]
pub mod modelled;
#[cfg(not(loom))]
mod observe;
pub mod oneshot;
mod polled;
#[cfg(not(loom))]
mod reaper;
mod registry;
mod roster;
#[cfg(not(loom))]
pub mod runtime;
#[cfg(not(loom))]
pub mod session;
#[cfg(not(loom))]
pub mod shutdown;
pub mod stop;
mod sync;
#[cfg(not(loom))]
pub mod task;
#[cfg(not(loom))]
pub mod teardown;
#[cfg(all(feature = "tokio-util", not(loom)))]
mod token;

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
#[cfg(not(loom))]
pub use shutdown::{
    GracefulShutdown, ShutdownError, ShutdownErrorKind, ShutdownReport, shutdown_in_order,
};
pub use stop::Stop;
#[cfg(not(loom))]
pub use task::BackgroundTask;
#[cfg(not(loom))]
pub use teardown::{TeardownError, TeardownReport, teardown, teardown_blocking};

/// What the README shows is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
