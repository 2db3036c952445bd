//! The hook that explains the panics of a shutdown, on real panics.
#![cfg(not(loom))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod hook;
mod situations;
