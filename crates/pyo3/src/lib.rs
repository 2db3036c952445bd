//! Rust futures for Python's `asyncio`, in an extension module that lets the interpreter exit.
//!
//! The functions have the names and signatures of *pyo3-async-runtimes*. There, a runtime in a static goes
//! on while the interpreter is finalized, and a thread of it that asks for the interpreter's lock at that
//! moment aborts the process (experiments 60 and 62). Here,
//!
//! - every poll of a future, its destructor, and the delivery of its result pass a
//!   [gate](sundown::gate::EntryGate), so that no thread enters Python behind the interpreter's back;
//! - a handler that is registered with `atexit` drops what is in flight, closes the gate, and waits, without
//!   the interpreter's lock, until every thread has left, within [one limit](set_exit_limit);
//! - after that a call raises an exception, instead of returning a future that never resolves.
//!
//! To move over, name this crate where `Cargo.toml` names the other:
//!
//! ```toml
//! [dependencies]
//! pyo3-async-runtimes = { package = "sundown-pyo3", path = "…", features = ["tokio-runtime"] }
//! ```
//!
//! # What it does not cover
//!
//! - What the extension spawns by itself and enters Python by `Python::attach`: a thread, a closure of `spawn_blocking`, a
//!   task of Tokio's `spawn` or of a `JoinSet`. Use [`attach`], which passes the gate, [`tokio::spawn`], or
//!   [`tokio::until_exit`].
//! - The module `generic`, which is that of the other crate: what is spawned through it passes no gate.
//! - A call that does not return within the limit. The handler says on standard error how many there are. If
//!   it is made by [`call`](call()), the thread stays in it; by `Python::attach`, it may abort the process.

#[cfg(all(feature = "attributes", feature = "testing"))]
pub use pyo3_async_runtimes::inventory;
#[cfg(feature = "testing")]
pub use pyo3_async_runtimes::testing;
pub use pyo3_async_runtimes::{TaskLocals, err, generic, get_running_loop};

pub use self::{
    awaitable::into_future_with_locals,
    call::{Then, call, call_method},
    closed::Closed,
    entry::{GATE, attach},
    exit::{install, set_exit_limit, wait},
    fork::install_for_forks,
};

mod awaitable;
mod awaited;
mod call;
mod closed;
mod compat;
mod delivery;
mod end;
mod entry;
mod exit;
mod fork;
mod outcome;
mod quiet;
mod runtime;
mod spawn;
mod states;
#[cfg(feature = "unstable-streams")]
mod streams;
pub mod tokio;
mod worker;
