//! A small key-value store that can be watched, over loopback TCP: what a client of *etcd* does when
//! its runtime goes down, without etcd.
//!
//! *etcd-client-py* is tested at interpreter exit with puts, with watches that are never read to their
//! end, and with many of both at once. Experiment 54 does the same in Rust. As with the real client, a
//! task that the caller does not see drives each connection.
//!
//! The protocol is lines. A client sends `PUT key value` or `WATCH key`, where a key is one word and a
//! value one line. The server answers both with `OK revision`, and after a `WATCH` it sends each new
//! value of the key in a line.

mod client;
mod server;

pub use client::{Watch, WatchClient};
pub use server::WatchServer;
