//! Leaving the process: what to drop, what to leak, how long to try.
//!
//! Leaving is not logging out. At a logout the process goes on, so everything must end, and whatever
//! does not is leaked once per login (experiment 31). At the end of the process the system takes
//! back memory, threads and descriptors by itself, and every committed row is in the database or its
//! log (experiment 30): there a leak costs nothing, and a destructor that hangs or panics costs the
//! exit (experiments 32 and 33). What is left to do is little, has an order, and has no time.
//!
//! An [`ExitPlan`](plan::ExitPlan) is made when the program starts. It knows what has to be torn
//! down, in which order, and for how long to try; and then it leaves, with the exit code that it was
//! given, within its limit, even if everything hangs.
//!
//! ```
//! use std::time::Duration;
//! use leak_strategy::{plan::ExitPlan, resource::{Policy, Resource}};
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
//! | [`plan`] | the plan: resources in dependency order, a limit for all together, and the way out |
//! | [`resource`] | one thing that has to be torn down or leaked, and the policy for it |
//! | [`token`] | what only the exit path has, and without which nothing can be leaked |
//! | [`ledger`] | what became of every resource, written down before the process ends |
//! | [`app`] | the four resources of an application that embeds a client |
//! | [`signals`] | SIGINT and SIGTERM turned into the plan, and a second one into the immediate end |

pub mod app;
mod departure;
pub mod ledger;
pub mod plan;
pub mod resource;
#[cfg(unix)]
pub mod signals;
pub mod token;
