//! What the experiments rely on: the store, the client and its tasks, the homeserver and its faults,
//! and the application with its logout and its exit. Real TCP, real database files; nothing here
//! waits by sleeping.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod exit;
mod explain;
mod homeserver;
mod logout;
mod owners;
mod send_queue;
mod setting;
mod store;
mod sync;
mod ui;
mod watch;
mod worker;
