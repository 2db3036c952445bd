//! The application: its user interface, its worker, its files, and what they hold. Nothing here waits
//! by sleeping.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod exit;
mod files;
mod holding;
mod setting;
mod ui;
mod worker;
