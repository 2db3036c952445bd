//! What the rest of the application asks the user interface to do.

use sundown::oneshot;

use super::held::Held;
use crate::client::{Room, Timeline};

/// How much room there is on the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Rooms are opened in tabs, side by side.
    #[default]
    Desktop,
    /// One room at a time. The tabs of the desktop stay as they were, unseen.
    Mobile,
}

/// An open room.
#[derive(Clone, Debug)]
pub struct Tab {
    /// The room.
    pub room: Held<Room>,
    /// Its events.
    pub timeline: Held<Timeline>,
}

/// Something that the user interface does at its next frame.
#[derive(Debug)]
pub enum Action {
    /// Shows the rooms, with an empty cache. A desktop lays its tabs out anew and drops the old ones; a
    /// phone does not touch them.
    LoggedIn {
        /// Who has logged in.
        user: String,
    },
    /// Opens a tab on a desktop, and the one room on a phone.
    Open(Tab),
    /// The window got larger or smaller.
    SetMode(Mode),
    /// Does this, and confirms it.
    Confirmed(Confirmed, oneshot::Sender<()>),
    /// Shows the progress of a logout.
    LogoutProgress {
        /// In percent.
        percent: u8,
        /// The current step.
        message: String,
    },
    /// Shows the login screen after a logout.
    LogoutSuccess,
    /// Shows why a logout failed.
    LogoutFailure {
        /// Why.
        reason: String,
    },
    /// Shows that the worker has ended, and that nobody expected it.
    WorkerEnded {
        /// Why.
        reason: String,
    },
    /// Ends the event loop, as the user does by closing the window. Nothing is cleaned up, unless the
    /// loop [leaves by a plan](super::ui::EventLoop::run_and_leave).
    Quit,
}

/// The actions that are confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confirmed {
    /// Closes all tabs.
    CloseAllTabs,
    /// Drops everything that belongs to a session: the cache, the tabs, the open room.
    CleanAppState,
}
