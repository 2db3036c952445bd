//! The primitives of `sundown`, which re-exports everything here. Applications depend on that package; its front page says
//! what to use for what.
//!
//! The modules `flag`, `gate`, `oneshot`, `latch`, `limit` and `stop` need no runtime. They work in async code under any
//! executor and, with a limit, on plain threads. Loom explores every interleaving of the first four on this source
//! (`tests/loom`).

#[cfg(not(loom))]
mod call_sites;
#[cfg(not(loom))]
mod callers;
#[doc(hidden)]
pub mod errors;
pub mod evidence;
#[cfg(all(feature = "explain", not(loom)))]
pub mod explain;
pub mod flag;
#[cfg(not(loom))]
mod fork;
#[cfg(not(loom))]
mod forked_child;
pub mod gate;
#[cfg(not(loom))]
pub mod group;
#[cfg(not(loom))]
mod handle_count;
#[doc(hidden)]
pub mod joinable;
pub mod latch;
#[cfg(not(loom))]
mod lifecycle;
#[cfg(not(loom))]
pub mod limit;
mod newer_std;
#[cfg(not(loom))]
mod observe;
pub mod oneshot;
#[doc(hidden)]
pub mod panics;
mod park;
#[cfg(not(loom))]
mod quiet;
#[cfg(not(loom))]
mod roll_call;
#[cfg(not(loom))]
pub mod runtime;
#[cfg(all(feature = "service", unix, not(loom)))]
pub mod service;
#[cfg(not(loom))]
pub mod session;
pub mod shutdown;
#[cfg(all(feature = "service", unix, not(loom)))]
#[doc(hidden)]
pub mod signals;
#[cfg(not(loom))]
mod spawn;
#[cfg(not(loom))]
mod stop_then_abort;
#[cfg(all(feature = "stuck", not(loom)))]
pub mod stuck;
mod sync;
#[cfg(not(loom))]
pub mod task;
#[cfg(not(loom))]
mod task_set;
#[cfg(not(loom))]
pub mod teardown;
#[cfg(all(feature = "testing", not(loom)))]
pub mod testing;
#[cfg(not(loom))]
mod this_thread;
mod waker;

// The models use these as they are. Nobody else sees them.
#[cfg(loom)]
pub mod call_sites;
#[cfg(loom)]
pub mod callers;
#[cfg(loom)]
#[path = "limit/clock.rs"]
pub mod clock;
#[cfg(loom)]
pub mod fork;
#[cfg(loom)]
#[path = "teardown/grace.rs"]
pub mod grace;
#[cfg(loom)]
pub mod handle_count;
#[cfg(loom)]
pub mod lifecycle;
#[cfg(loom)]
pub mod quiet;
#[cfg(loom)]
pub mod roll_call;
#[cfg(loom)]
#[path = "teardown/schedule.rs"]
pub mod schedule;
#[cfg(loom)]
#[path = "teardown/slot.rs"]
pub mod slot;
#[cfg(loom)]
pub mod task_set;
#[cfg(loom)]
pub mod this_thread;

pub use flag::Flag;
#[cfg(not(loom))]
pub use forked_child::forked_child;
pub use gate::{CommitGate, EntryGate};
#[cfg(not(loom))]
pub use group::{GroupReport, TaskGroup};
pub use latch::Latch;
#[cfg(not(loom))]
pub use limit::within;
#[cfg(not(loom))]
pub use runtime::{RuntimeCell, RuntimeError, RuntimeHandle, RuntimeOwner};
#[cfg(all(feature = "service", unix, not(loom)))]
pub use service::Service;
#[cfg(not(loom))]
pub use session::{CloseError, CloseErrorKind, CloseReport, Guarded, GuardedWeak, Session};
pub use shutdown::{
    GracefulShutdown, MemberFailed, NotCovered, ShutdownError, ShutdownErrorKind, ShutdownReport,
    shutdown_in_order,
};
#[cfg(not(loom))]
pub use spawn::SpawnError;
pub use stop::Stop;
#[cfg(all(feature = "testing", not(loom)))]
pub use sundown_macros::test;
#[cfg(not(loom))]
pub use task::BackgroundTask;
pub use task_set::stop;
#[cfg(not(loom))]
pub use teardown::{TeardownError, TeardownReport, teardown, teardown_blocking};

/// The listings of the README are compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
