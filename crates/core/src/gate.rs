//! Two gates. [`CommitGate`] decides whether an operation is cancelled or committed. [`EntryGate`]
//! lets many threads in until it is closed, and reports when the last of them has left.

mod commit;
mod entry;

pub use commit::{Cancel, Cancelled, CommitGate};
pub use entry::{Closed, Entry, EntryGate, StillInside};
