//! The user interface: one thread, an event loop, and a frame at a time.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use sundown::oneshot;
use tokio::sync::watch;

pub use super::interface::{Screen, Shown, UiFault};
use super::{
    action::{Action, Confirmed},
    interface::Interface,
};

/// How often the event loop looks at late confirmations if no frame is due.
const LATE: Duration = Duration::from_millis(1);

/// The user interface has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the user interface has ended, and takes no more actions")]
pub struct UiGone;

/// The thread of the user interface panicked. The panic hook has reported why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the user interface panicked")]
pub struct UiPanicked;

/// The faults that are due, by action.
type Faults = Mutex<BTreeMap<Confirmed, VecDeque<UiFault>>>;

/// Sends actions to the user interface, from any thread. Clones belong to the same one.
#[derive(Clone)]
pub struct Ui {
    actions: mpsc::Sender<Action>,
    screen: watch::Receiver<Screen>,
    faults: Arc<Faults>,
}

/// The event loop. The thread that runs it is the user interface's.
pub struct EventLoop {
    // Dropped before `screen`: if nobody draws any more, nobody takes actions either.
    actions: mpsc::Receiver<Action>,
    screen: watch::Sender<Screen>,
    faults: Arc<Faults>,
    frame: Duration,
}

/// The thread of an event loop.
#[derive(Debug)]
pub struct UiThread(JoinHandle<()>);

impl Ui {
    /// A user interface that draws at this interval, and its event loop, which does not run yet. With an
    /// interval of zero it draws after every action.
    pub(super) fn new(frame: Duration) -> (Self, EventLoop) {
        let (actions, receiver) = mpsc::channel();
        let screen = watch::Sender::new(Screen::default());
        let faults = Arc::default();
        let ui = Self { actions, screen: screen.subscribe(), faults: Arc::clone(&faults) };
        (ui, EventLoop { actions: receiver, screen, faults, frame })
    }

    /// Asks for an action at the next frame. Never blocks.
    ///
    /// # Errors
    ///
    /// [`UiGone`] if the event loop has ended. The action is dropped here and now, and a receiver of its
    /// confirmation learns that.
    pub fn post(&self, action: Action) -> Result<(), UiGone> {
        self.actions.send(action).map_err(|_| UiGone)
    }

    /// Asks for [`Confirmed::CloseAllTabs`], and returns the receiver of the confirmation.
    #[must_use]
    pub fn close_all_tabs(&self) -> oneshot::Receiver<()> {
        self.post_confirmed(Confirmed::CloseAllTabs)
    }

    /// Asks for [`Confirmed::CleanAppState`], and returns the receiver of the confirmation.
    #[must_use]
    pub fn clean_app_state(&self) -> oneshot::Receiver<()> {
        self.post_confirmed(Confirmed::CleanAppState)
    }

    fn post_confirmed(&self, action: Confirmed) -> oneshot::Receiver<()> {
        let (confirm, confirmed) = oneshot::channel();
        // If this fails, it drops the sender, and so the receiver knows.
        let _ = self.post(Action::Confirmed(action, confirm));
        confirmed
    }

    /// Queues a fault for the next such action, behind those that are queued already.
    pub fn fail_next(&self, action: Confirmed, fault: UiFault) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.entry(action).or_default().push_back(fault);
    }

    /// The screen, as it was last drawn and as it changes.
    #[must_use]
    pub fn screen(&self) -> watch::Receiver<Screen> {
        self.screen.clone()
    }
}

impl EventLoop {
    /// Runs the event loop on this thread, until [`Action::Quit`] or until every [`Ui`] is gone.
    ///
    /// At its end the user interface drops what it holds here, on this thread; what is in the cache is
    /// dropped when the thread ends.
    pub fn run(self) {
        let mut interface = Interface::default();
        loop {
            let (actions, is_last) = self.next_frame(interface.has_unconfirmed());
            for action in actions {
                if matches!(action, Action::Quit) {
                    return;
                }
                interface.handle(action, |confirmed| {
                    let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
                    faults.get_mut(&confirmed)?.pop_front()
                });
            }
            interface.confirm_late();
            self.screen.send_replace(interface.draw());
            if is_last {
                return;
            }
        }
    }

    /// Runs it on a thread of its own, named `ui`.
    ///
    /// # Errors
    ///
    /// If there is no thread left.
    pub fn spawn(self) -> io::Result<UiThread> {
        thread::Builder::new().name("ui".to_owned()).spawn(|| self.run()).map(UiThread)
    }

    /// Waits for the next frame. Returns the actions that arrived meanwhile, and whether no more can
    /// arrive.
    fn next_frame(&self, some_are_late: bool) -> (Vec<Action>, bool) {
        let frame = match (self.frame, some_are_late) {
            (Duration::ZERO, false) => {
                let action = self.actions.recv().ok();
                let is_last = action.is_none();
                return (Vec::from_iter(action), is_last);
            }
            (Duration::ZERO, true) => LATE,
            (frame, _) => frame,
        };
        let (began, mut arrived) = (Instant::now(), Vec::new());
        loop {
            match self.actions.recv_timeout(frame.saturating_sub(began.elapsed())) {
                Ok(action) => arrived.push(action),
                Err(mpsc::RecvTimeoutError::Timeout) => return (arrived, false),
                Err(mpsc::RecvTimeoutError::Disconnected) => return (arrived, true),
            }
        }
    }
}

impl UiThread {
    /// Waits until the thread has ended and its locals are destroyed.
    ///
    /// # Errors
    ///
    /// [`UiPanicked`].
    pub fn join(self) -> Result<(), UiPanicked> {
        self.0.join().map_err(|_| UiPanicked)
    }
}

impl fmt::Debug for Ui {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ui").field("screen", &*self.screen.borrow()).finish_non_exhaustive()
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").field("frame", &self.frame).finish_non_exhaustive()
    }
}
