//! sundown: take a Tokio runtime down without a panic, a hang or a lost row.
//!
//! What breaks when a runtime goes down before everything that depends on it, the experiments of
//! this workspace show; what does not break, and why, is built here.
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`evidence`] | what an outside look at the process says of something that should have ended |

pub mod evidence;
