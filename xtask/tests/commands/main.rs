//! The commands as they are typed, in workspaces whose cargo and whose experiments are stand-ins.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_input;
mod book;
mod census;
mod console;
mod experiments;
mod explain;
mod first_contact;
mod fixture;
mod interruption;
mod loom;
mod notebooks;
mod probe;
mod servers;
mod shards;
mod skipped;
