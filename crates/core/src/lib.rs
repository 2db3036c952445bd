//! sundown: take a Tokio runtime down without a panic, a hang or a lost row.
//!
//! What breaks when a runtime goes down before everything that depends on it, the experiments of
//! this workspace show; what does not break, and why, is built here.
//!
//! The first four need no runtime: they work in async code of any executor, and on plain threads
//! with a limit. Their every interleaving is checked by loom, from this source (`tests/loom.rs`).
//!
//! | module | what it gives |
//! | --- | --- |
//! | [`flag`] | a flag that goes up once |
//! | [`gate`] | the point of no return: cancelled or committed, never both |
//! | [`oneshot`] | a channel by which one party confirms something to another |
//! | [`latch`] | a signal that is given once, to any number of waiters |
//! | [`evidence`] | what an outside look at the process says of something that should have ended |

mod blocking;
pub mod evidence;
pub mod flag;
pub mod gate;
pub mod latch;
pub mod oneshot;
mod sync;
