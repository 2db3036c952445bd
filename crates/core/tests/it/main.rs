//! The kit on real runtimes, threads and processes. One program, so that it is linked once. What loom
//! explores in full (`tests/loom`) is not tried again here.
#![cfg(not(loom))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod blocking_wakers;
mod errors;
mod evidence;
mod fixtures;
mod goodbye;
mod not_covered;
mod primitives;
mod quiescence;
mod runtime;
mod session;
mod tasks;
mod teardown;
mod thread_locals;
mod wakers;
