//! The hook that explains the panics of a shutdown: on real panics, on the texts of other crates, and
//! whether its advice helps.
#![cfg(not(loom))]
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod advice;
mod corpus;
mod hook;
mod situations;
