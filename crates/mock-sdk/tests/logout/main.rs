//! The application's logout by the state machine, and the login after it: over real HTTP, on real
//! stores, with both runtime policies. Nothing here waits by sleeping.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod fails;
mod goes_well;
mod setting;
