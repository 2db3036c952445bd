//! Where a thread may be held.

use serde::{Deserialize, Serialize};

/// A place at which a thread may be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A new thread, before its first instruction.
    Start,
    /// A thread that has run its last instruction.
    End,
    /// A process that is about to exit.
    Exit,
    /// A lock, a condition, a join: a thread waits for others, or wakes them.
    Futex,
    /// A descriptor is closed, or a connection shut down.
    Close,
    /// Memory is unmapped: a thread's stack, or a library that is unloaded.
    Unmap,
    /// A file is written, synchronized, renamed, shortened, unlinked.
    File,
    /// A pipe, an event or a socket is written or read.
    Message,
    /// A thread waits for events of its descriptors, or sleeps.
    Wait,
    /// A signal is sent to a process or a thread.
    Signal,
}

impl Place {
    /// Every place.
    pub const ALL: [Self; 10] = [
        Self::Start,
        Self::End,
        Self::Exit,
        Self::Futex,
        Self::Close,
        Self::Unmap,
        Self::File,
        Self::Message,
        Self::Wait,
        Self::Signal,
    ];

    /// Whether a thread that comes to it gets on, and does not only wait or wake another.
    pub(crate) const fn is_progress(self) -> bool {
        !self.is_once() && !matches!(self, Self::Futex | Self::Wait)
    }

    /// Whether a thread comes to it at most once.
    pub(crate) const fn is_once(self) -> bool {
        matches!(self, Self::Start | Self::End | Self::Exit)
    }
}
