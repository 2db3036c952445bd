//! The client, its services and the homeserver, over real TCP and on real database files. Nothing
//! here waits by sleeping.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod homeserver;
mod process;
mod send_queue;
mod setting;
mod sync;
