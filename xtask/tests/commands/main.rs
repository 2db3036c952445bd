//! The commands, as they are typed, in workspaces whose cargo and whose experiments are stand-ins.

mod bad_input;
mod experiments;
mod fixture;
mod interruption;
mod notebooks;
mod shards;
