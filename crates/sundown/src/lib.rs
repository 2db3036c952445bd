//! Take a Tokio runtime down without a panic, a hang or a lost row.
//!
//! Pools and clients often have a destructor that needs a runtime context. Drop the last handle on a thread that has
//! none, such as a GUI's or an interpreter's, and it panics. Keep a handle in a task, and the files stay open. Let a
//! task not yield, and the process does not end. This crate drops such values where their destructors can run, says
//! when everything has ended, and keeps the limit that you set.
//!
//! ```
//! use std::{thread, time::Duration};
//! use sundown::Session;
//! # use std::error::Error;
//! # /// As in many pools.
//! # struct Client;
//! # impl Drop for Client {
//! #     fn drop(&mut self) {
//! #         drop(tokio::runtime::Handle::current().spawn_blocking(|| {}));
//! #     }
//! # }
//! # let client = Client;
//!
//! let session = Session::new("login")?;
//! let client = session.guard(client)?; // use it as before, clone it, drop it anywhere
//! let tab = client.clone();
//! thread::spawn(move || drop(tab)); // no context here: a bare client, dropped last, would panic
//! drop(client);
//! let report = session.close_blocking(Duration::from_secs(5))?; // Err: names the handles that are left
//! println!("{report}");
//! # Ok::<(), Box<dyn Error>>(())
//! ```
//!
//! # What to use
//!
//! | I have | use | it |
//! | --- | --- | --- |
//! | a client or a pool with many owners | [`Session`] | tears it down once, wherever the last handle is dropped, and waits for what that starts |
//! | one value, at a known place | [`teardown()`], [`teardown_blocking()`] | drops it where its destructor can run, and waits for everything that this starts |
//! | a need for proof that it is gone | [`evidence`] | checks from outside whether files, sockets, threads or processes are gone |
//! | a runtime inside something that outlives it | [`RuntimeOwner`], [`RuntimeCell`] | owns it on a thread of its own, so that its shutdown has a limit and a result |
//! | many tasks | [`TaskGroup`] | asks them to stop, aborts what does not, and names it |
//! | one task of a component | [`BackgroundTask`] | does the same for one |
//! | several of these | [`shutdown_in_order`] | shuts them down in order, within one limit |
//! | a service | `Service` | (feature `service`) owns the runtime and the signals, from `main` to the exit of the process |
//! | a process that must end in time | `exit` | (feature) tears down and leaks by plan, within one limit |
//! | a logout that a server can lose | `logout` | (feature) is a state machine with a point of no return |
//! | a panic that you do not understand | `explain` | (feature) is a panic hook that explains the panics of a shutdown |
//! | a task that does not end | `stuck` | (feature) has the report of a shutdown name the `.await` that it waits at |
//! | a test that should notice what it leaves behind | `#[sundown::test]` | (feature `testing`) fails if a task, a thread, a descriptor or a process is left |
//! | code that may no longer be called | [`CommitGate`], [`EntryGate`] | is a point of no return; a gate that many threads pass until it is closed |
//! | an event, a flag, a reply, a limit without a runtime | [`Latch`], [`Flag`], [`oneshot`], [`within()`] | works under any executor and, with a limit, on plain threads |
//! | a hot loop that must stop | [`Stop`] | is a stop signal that is cheap to ask in every iteration |
//!
//! # When you need none of it
//!
//! If `#[tokio::main]` owns everything, you need none of this: values are dropped inside of the runtime, where their
//! destructors can run. There are two exceptions: a static or a thread-local that has a value whose destructor needs a
//! runtime, and a closure of `spawn_blocking` that may never return, such as a read of standard input. If your tasks end
//! when they are asked to, `CancellationToken` and `TaskTracker` of tokio-util are enough. If a process may simply die, let it: committed rows are on disk, and
//! the system frees the rest.
//!
//! # What an `Ok` says
//!
//! An `Ok` says that everything it covers has ended; [`NotCovered`] lists what it does not cover. Each report and each
//! error prints as one sentence (`{}`, and an error also by `{:?}`), so `fn main() -> Result<(), Box<dyn Error>>` says
//! what is left and what to do. A call that reached its limit can be repeated. No public function panics, unless code of yours
//! that it runs does, and no destructor of this crate blocks a worker of a runtime.
//!
//! Asynchronous forms have the plain name (`close`), blocking ones end in `_blocking` (`close_blocking`).
//!
//! # Features
//!
//! | feature | on by default | adds |
//! | --- | --- | --- |
//! | `tracing` | yes | an event for every shutdown, with the target `sundown` |
//! | `metrics` | yes | `sundown_shutdown_total` and `sundown_shutdown_seconds` for the `metrics` facade |
//! | `service` | yes | `Service`, on Unix alone |
//! | `exit` | no | the module `exit`; switches the three above on |
//! | `logout` | no | the module `logout` |
//! | `explain` | no | the module `explain` |
//! | `stuck` | no | the module `stuck`; needs cooked-waker, whose licence is MPL-2.0 |
//! | `testing` | no | `#[sundown::test]` and the module `testing` |
//! | `hyper` | no | a stop signal is an executor of hyper 1, so what a connection spawns is a task of the group |
//! | `tokio-util` | no | a `CancellationToken` stops a group, and the other way round |
//!
//! # Platforms
//!
//! Everything else is for every platform of Tokio. `service` and `exit::signals` exist on Unix alone, as do the parts of
//! `exit` that signal child processes. [`evidence`] asks the system: on Linux about everything, on macOS about open
//! files; elsewhere it answers that it does not know.
//!
//! # Peers
//!
//! | crate | choose it for |
//! | --- | --- |
//! | tokio-util | the smallest dependency: a token that cancels, a tracker that waits |
//! | tokio-graceful-shutdown | a tree of nested subsystems in which an error of one stops the others |
//! | async-shutdown | a shutdown that carries a value, under any executor |
//! | swansong | streams and futures that are interrupted, under any executor |
//!
//! These ask tasks to stop and wait for them. None of them drops a value where its destructor can run, takes a runtime
//! down from outside, or checks that what it held is gone.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(docsrs, doc(auto_cfg(hide(loom))))]

// Whatever features `core` has: its own tests switch some on that this crate does not know of.
#[doc(inline)]
pub use sundown_core::*;

// Again, for the documentation to say which feature they need.
#[cfg(all(feature = "explain", not(loom)))]
#[doc(inline)]
pub use sundown_core::explain;
#[cfg(all(feature = "stuck", not(loom)))]
#[doc(inline)]
pub use sundown_core::stuck;
#[cfg(all(feature = "service", unix, not(loom)))]
#[doc(inline)]
pub use sundown_core::{Service, service};
#[cfg(all(feature = "testing", not(loom)))]
#[doc(inline)]
pub use sundown_core::{test, testing};

#[cfg(all(feature = "exit", not(loom)))]
#[doc(inline)]
pub use leak_strategy as exit;
#[cfg(feature = "logout")]
#[doc(inline)]
pub use state_machine as logout;
