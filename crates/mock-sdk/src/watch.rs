//! A small key-value store that can be watched, over loopback TCP: what a client of *etcd* does when
//! its runtime goes down, without etcd.
//!
//! *etcd-client-py* is tested at interpreter exit with a put or two, with watches that are never
//! read to their end, and with many of both at once. The same is done here in Rust, by the
//! experiments on owning a runtime. As with the real client, each connection is driven by a task that
//! the caller does not see.
//!
//! The protocol is lines: `PUT key value`, `GET key`, `WATCH key`, and `OK revision`,
//! `VALUE revision value`, `NONE`, `EVENT revision value`, `ERROR reason`. A key is one word, a value
//! one line.

mod client;
mod protocol;
mod server;

pub use client::{Watch, WatchClient, WatchError};
pub use protocol::{BadLine, Change};
pub use server::WatchServer;
