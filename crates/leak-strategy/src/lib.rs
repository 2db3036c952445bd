//! Exiting the process: what to drop, what to leak, how long to try.
//!
//! An exit is not a logout. After a logout the process goes on, so everything must end; what does
//! not end leaks once per login (experiment 31). When a process ends, the system frees its memory,
//! threads and descriptors, and every committed row is in the database or its log (experiment 30). A
//! leak of those costs nothing there, but a destructor that hangs or panics costs the exit (experiments 32
//! and 33). Child processes, files and what is buffered the system does not take back ([`leftovers`],
//! experiment 37).
//!
//! Make an [`ExitPlan`](plan::ExitPlan) when the program starts. It knows what to tear down, in which
//! order, and how long to try. It ends the process with the given exit code within its limit, even if
//! everything hangs.
//!
//! ```
//! use std::time::Duration;
//! use sundown::exit::{plan::ExitPlan, resource::{Policy, Resource}};
//!
//! let plan = ExitPlan::builder(Duration::from_secs(3)).build();
//! let within = Duration::from_secs(1);
//! plan.add(Resource::new("runtime", Policy::Leak { why: "the system ends threads" }, |_| Ok(())))?;
//! plan.add(
//!     Resource::new("client", Policy::TearDownOrLeak { within }, |_exit| {
//!         println!("the store is closed");
//!         Ok(())
//!     })
//!     .needs("runtime"),
//! )?;
//! plan.run(|| {
//!     println!("the program");
//!     0
//! })
//! # ; #[allow(unreachable_code)] Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`plan`] | resources in dependency order, one limit for all of them, and how the process ends |
//! | [`resource`] | one thing to tear down or to leak, with its policy |
//! | [`exit_token`] | the token that a teardown receives; nothing can be leaked without it |
//! | [`ledger`] | what happened to every resource, written before the process ends |
//! | [`leftovers`] | what the system does not take back: child processes, files, buffered logs |
//! | [`app`] | the four resources of an application that embeds a client |
//! | [`signals`] | SIGINT and SIGTERM execute the plan; another signal later ends the process at once |

pub mod app;
pub mod exit_token;
pub mod ledger;
pub mod leftovers;
pub mod plan;
pub mod resource;
#[cfg(unix)]
pub mod signals;
