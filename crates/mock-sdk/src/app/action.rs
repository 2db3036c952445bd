//! What the rest of the application tells the user interface.

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

/// A room that is shown, with what was said in it.
#[derive(Clone, Debug)]
pub struct Tab {
    /// The room.
    pub room: Held<Room>,
    /// What was said.
    pub timeline: Held<Timeline>,
}

/// Something that the user interface does when it next comes to it: at its next frame.
#[derive(Debug)]
pub enum Action {
    /// Shows the rooms, with empty caches. On a desktop the tabs are laid out anew: those of before
    /// are dropped. On a phone nobody thinks of them.
    LoggedIn {
        /// Who did.
        user: String,
    },
    /// Opens a tab on a desktop, and the one room on a phone.
    Open(Tab),
    /// The window got larger, or smaller.
    SetMode(Mode),
    /// Closes all tabs, and confirms it.
    CloseAllTabs {
        /// Told when they are.
        confirm: oneshot::Sender<()>,
    },
    /// Lets go of everything that belongs to a session: caches, tabs, the room that is shown. Then
    /// confirms it.
    CleanAppState {
        /// Told when it is done.
        confirm: oneshot::Sender<()>,
    },
    /// Shows how far a logout has come.
    LogoutProgress {
        /// In percent.
        percent: u8,
        /// What is being done.
        message: String,
    },
    /// Shows that a logout succeeded, and with it the login screen.
    LogoutSuccess,
    /// Shows why a logout failed.
    LogoutFailure {
        /// Why.
        reason: String,
    },
    /// Shows that the worker has ended, and that nobody expected it.
    WorkerEnded {
        /// How.
        reason: String,
    },
    /// Ends the event loop, as the user does by closing the window. Nothing is cleaned up, unless the
    /// loop was to [leave by a plan](super::ui::EventLoop::run_and_leave).
    Quit,
}

/// The actions that are confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confirmed {
    /// [`Action::CloseAllTabs`].
    CloseAllTabs,
    /// [`Action::CleanAppState`].
    CleanAppState,
}
