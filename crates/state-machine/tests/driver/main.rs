//! The driver with a scripted application: every fault in every state, a drop at every await, and a
//! cancel in every state from another thread. No test sleeps to wait.
#![cfg(not(loom))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../by_effect/mod.rs"]
mod by_effect;
mod cancels;
mod drops;
mod faults;
mod limits;
mod recovery;
mod runs;
mod script;
