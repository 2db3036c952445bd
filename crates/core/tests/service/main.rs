//! Services. Those that get signals, and those in which something never ends, run in a process of their own:
//! [`process::start`] starts the current test again in a child process, which runs the service there and exits
//! as a return from `main` does, with 1 if there is an error, which it prints.
#![cfg(all(unix, feature = "service"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::incompatible_msrv, reason = "only the kit builds with the oldest Rust")]

mod ending;
mod look_up;
mod process;
mod signals;
