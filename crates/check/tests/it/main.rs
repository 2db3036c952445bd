//! The command as a user runs it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod bad_input;
mod command;
mod findings;
mod public;
mod trials;
mod trying;
