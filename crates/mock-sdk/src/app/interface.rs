//! What the user interface has in memory, and how an action changes it.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    mem,
    time::{Duration, Instant},
};

use sundown::oneshot;

use super::{
    action::{Action, Confirmed, Mode, Tab},
    held::Held,
};
use crate::client::Room;

/// What the user interface does instead of doing an action and confirming it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UiFault {
    /// Does it, and confirms it this much later.
    Late(Duration),
    /// Does it twice.
    Twice,
    /// Does it, and never says so.
    Silent,
    /// Neither does it nor says anything.
    Never,
    /// Does not do it, and drops the confirmation unsent, so that the caller knows.
    Abandoned,
    /// Does it when the caller has given up waiting, and not before.
    AfterGiveUp,
}

/// What the screen shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// The login screen.
    #[default]
    Login,
    /// The rooms of a user.
    Rooms {
        /// The user.
        user: String,
    },
    /// A logout in progress.
    LoggingOut {
        /// In percent.
        percent: u8,
        /// The current step.
        message: String,
    },
    /// Something that went wrong.
    Failure {
        /// Why.
        reason: String,
    },
}

/// The screen, as it was last drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// How much room there is.
    pub mode: Mode,
    /// What it shows.
    pub shown: Shown,
    /// The rooms in the tabs of the desktop, whether there is a desktop to see them or not.
    pub tabs: Vec<String>,
    /// The one room on a phone.
    pub room: Option<String>,
    /// How many rooms are in the cache of the thread that draws.
    pub cached_rooms: usize,
}

thread_local! {
    /// The rooms that were opened, by id. The cache belongs to the thread that draws, and the
    /// destructors of that thread's locals drop what is left in it: entering a runtime there can abort
    /// (experiment 07).
    static CACHE: RefCell<BTreeMap<String, Held<Room>>> = RefCell::default();
}

#[derive(Default)]
pub(super) struct Interface {
    mode: Mode,
    shown: Shown,
    /// The tabs of the desktop, which also exist while a phone does not show them.
    tabs: Vec<Tab>,
    /// The one room on a phone.
    room: Option<Tab>,
    unconfirmed: Vec<Unconfirmed>,
}

/// An action whose confirmation is held back.
struct Unconfirmed {
    action: Confirmed,
    confirm: oneshot::Sender<()>,
    until: Until,
}

enum Until {
    /// The action is done; this is when it is confirmed.
    Due(Instant),
    /// The action is done when nobody waits for it any more.
    GivenUp,
    /// The end of the user interface.
    End,
}

impl Interface {
    pub(super) fn handle(&mut self, action: Action, fault: impl Fn(Confirmed) -> Option<UiFault>) {
        match action {
            Action::LoggedIn { user } => {
                clear_cache();
                drop(self.room.take());
                if self.mode == Mode::Desktop {
                    drop(mem::take(&mut self.tabs));
                }
                self.shown = Shown::Rooms { user };
            }
            Action::Open(tab) => {
                let (id, room) = (tab.room.id().to_owned(), tab.room.clone());
                drop(CACHE.with_borrow_mut(|cache| cache.insert(id, room)));
                match self.mode {
                    Mode::Desktop => self.tabs.push(tab),
                    Mode::Mobile => drop(self.room.replace(tab)),
                }
            }
            Action::SetMode(mode) => self.mode = mode,
            Action::Confirmed(action, confirm) => self.confirm(action, confirm, fault(action)),
            Action::LogoutProgress { percent, message } => {
                self.shown = Shown::LoggingOut { percent, message };
            }
            Action::LogoutSuccess => self.shown = Shown::Login,
            Action::LogoutFailure { reason } | Action::WorkerEnded { reason } => {
                self.shown = Shown::Failure { reason };
            }
            // The event loop handles it.
            Action::Quit => {}
        }
    }

    fn confirm(&mut self, action: Confirmed, confirm: oneshot::Sender<()>, fault: Option<UiFault>) {
        let until = match fault {
            None | Some(UiFault::Twice) => {
                self.act(action);
                // The caller may have given up.
                let _ = confirm.send(());
                if fault.is_some() {
                    self.act(action);
                }
                return;
            }
            Some(UiFault::Abandoned) => return drop(confirm),
            Some(UiFault::Late(later)) => {
                self.act(action);
                Instant::now().checked_add(later).map_or(Until::End, Until::Due)
            }
            Some(UiFault::Silent) => {
                self.act(action);
                Until::End
            }
            Some(UiFault::Never) => Until::End,
            Some(UiFault::AfterGiveUp) => Until::GivenUp,
        };
        self.unconfirmed.push(Unconfirmed { action, confirm, until });
    }

    fn act(&mut self, action: Confirmed) {
        drop(mem::take(&mut self.tabs));
        if action == Confirmed::CleanAppState {
            drop(self.room.take());
            clear_cache();
        }
    }

    pub(super) fn has_unconfirmed(&self) -> bool {
        !self.unconfirmed.is_empty()
    }

    /// Looks at the confirmations that are held back, once per frame.
    pub(super) fn confirm_late(&mut self) {
        for Unconfirmed { action, confirm, until } in mem::take(&mut self.unconfirmed) {
            match until {
                Until::Due(due) if due <= Instant::now() => drop(confirm.send(())),
                Until::GivenUp if confirm.is_unwanted() => self.act(action),
                until => self.unconfirmed.push(Unconfirmed { action, confirm, until }),
            }
        }
    }

    pub(super) fn draw(&self) -> Screen {
        let id = |tab: &Tab| tab.room.id().to_owned();
        Screen {
            mode: self.mode,
            shown: self.shown.clone(),
            tabs: self.tabs.iter().map(id).collect(),
            room: self.room.as_ref().map(id),
            cached_rooms: CACHE.with_borrow(BTreeMap::len),
        }
    }
}

fn clear_cache() {
    // The rooms are dropped when the cache can be borrowed again: their destructors may take long.
    drop(CACHE.with_borrow_mut(mem::take));
}
