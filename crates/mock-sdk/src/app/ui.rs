//! The user interface: one thread, an event loop, and a frame at a time.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt, io, mem,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use sundown::oneshot;
use tokio::sync::watch;

use super::{
    action::{Action, Confirmed, Mode, Tab},
    caches,
};

/// What the user interface does instead of confirming at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UiFault {
    /// Does it, and confirms so much later.
    Late(Duration),
    /// Does it twice. It can be confirmed only once: the other confirmation reaches nobody.
    Twice,
    /// Does it, and never says so, nor that it will not.
    Silent,
    /// Neither does it nor says anything.
    Never,
    /// Neither does it nor confirms it, and lets that be known: drops the confirmation unsent.
    Abandoned,
    /// Does it when whoever waited has given up, and not before.
    AfterGiveUp,
}

/// What is to be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shown {
    /// The login screen.
    #[default]
    Login,
    /// The rooms of a user.
    Rooms {
        /// Who it is.
        user: String,
    },
    /// A logout that is under way.
    LoggingOut {
        /// How far it has come, in percent.
        percent: u8,
        /// What is being done.
        message: String,
    },
    /// Something that went wrong.
    Failure {
        /// What.
        reason: String,
    },
}

/// The screen, as it was last drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// How many frames there have been.
    pub frames: u64,
    /// How much room there is.
    pub mode: Mode,
    /// What is to be seen.
    pub shown: Shown,
    /// The tabs, by the ids of their rooms, whether there is a desktop to see them on or not.
    pub tabs: Vec<String>,
    /// The one room that is shown on a phone.
    pub room: Option<String>,
    /// How many events all these show.
    pub events: usize,
    /// How many users are in the cache of its thread.
    pub cached_users: usize,
    /// How many rooms are.
    pub cached_rooms: usize,
    /// How many confirmations reached nobody.
    pub unheard: usize,
}

/// The longest that a frame may take; beyond that the clock might not reach.
const LONGEST_FRAME: Duration = Duration::from_secs(3600);

/// How often it is looked whether it is time for what is held back, where no frame is due.
const LATE: Duration = Duration::from_millis(1);

/// The user interface has ended: its thread is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the user interface has ended, and takes no actions any more")]
pub struct UiGone;

/// The thread of the user interface panicked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the user interface panicked: {message}")]
pub struct UiPanicked {
    /// What the panic said.
    pub message: String,
}

/// The faults that are due, by what they are due for.
type Faults = Mutex<BTreeMap<Confirmed, VecDeque<UiFault>>>;

/// Tells the user interface what to do, from any thread. Clones are the same one.
#[derive(Clone)]
pub struct Ui {
    actions: mpsc::Sender<Action>,
    screen: watch::Receiver<Screen>,
    faults: Arc<Faults>,
}

/// The event loop, which is run on the thread that is to be the user interface's.
pub struct EventLoop {
    actions: mpsc::Receiver<Action>,
    screen: watch::Sender<Screen>,
    faults: Arc<Faults>,
    frame: Duration,
}

/// The thread that an event loop runs on.
pub struct UiThread(JoinHandle<()>);

impl Ui {
    /// A user interface that draws every so often, and its event loop, which is not run yet. With a
    /// frame time of zero it draws after every action.
    #[must_use]
    pub fn new(mode: Mode, frame: Duration) -> (Self, EventLoop) {
        let (actions, receiver) = mpsc::channel();
        let screen = watch::Sender::new(Screen { mode, ..Screen::default() });
        let faults = Arc::default();
        let ui = Self { actions, screen: screen.subscribe(), faults: Arc::clone(&faults) };
        (ui, EventLoop { actions: receiver, screen, faults, frame })
    }

    /// Has something done at the next frame. Never blocks.
    ///
    /// # Errors
    ///
    /// [`UiGone`] where the event loop has ended. The action is dropped, here and now, and whoever
    /// waits for its confirmation is told.
    pub fn post(&self, action: Action) -> Result<(), UiGone> {
        self.actions.send(action).map_err(|_| UiGone)
    }

    /// Posts [`Action::CloseAllTabs`], and returns what will tell that they are. Where the event
    /// loop has ended, it tells that at once.
    #[must_use]
    pub fn close_all_tabs(&self) -> oneshot::Receiver<()> {
        self.post_confirmed(|confirm| Action::CloseAllTabs { confirm })
    }

    /// Posts [`Action::CleanAppState`], and returns what will tell that it is done. Where the event
    /// loop has ended, it tells that at once.
    #[must_use]
    pub fn clean_app_state(&self) -> oneshot::Receiver<()> {
        self.post_confirmed(|confirm| Action::CleanAppState { confirm })
    }

    fn post_confirmed(
        &self,
        action: impl FnOnce(oneshot::Sender<()>) -> Action,
    ) -> oneshot::Receiver<()> {
        let (confirm, confirmed) = oneshot::channel();
        // Dropped with the action, the sender says all there is to say.
        let _ = self.post(action(confirm));
        confirmed
    }

    /// Queues a fault for the next action of that kind, behind those that are queued already.
    pub fn fail_next(&self, action: Confirmed, fault: UiFault) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.entry(action).or_default().push_back(fault);
    }

    /// The screen, as it was last drawn, and as it changes.
    #[must_use]
    pub fn screen(&self) -> watch::Receiver<Screen> {
        self.screen.clone()
    }
}

impl EventLoop {
    /// Runs the event loop on this thread, until [`Action::Quit`] or until every [`Ui`] is gone.
    ///
    /// What the user interface holds when it ends is dropped here, on this thread; what is in its
    /// caches, when the thread ends.
    pub fn run(self) {
        let Self { actions, screen, faults, frame } = self;
        let mode = screen.borrow().mode;
        let mut interface = Interface { mode, ..Interface::default() };
        loop {
            let (arrived, over) = until_next_frame(&actions, frame, !interface.late.is_empty());
            for action in arrived {
                if matches!(action, Action::Quit) {
                    return;
                }
                interface.handle(action, |confirmed| {
                    let mut faults = faults.lock().unwrap_or_else(PoisonError::into_inner);
                    faults.get_mut(&confirmed).and_then(VecDeque::pop_front)
                });
            }
            interface.attend_to_late();
            screen.send_modify(|drawn| interface.draw(drawn));
            if over {
                return;
            }
        }
    }

    /// Runs it on a thread of its own, which is called `ui`.
    ///
    /// # Errors
    ///
    /// Where there is no thread to be had.
    pub fn spawn(self) -> io::Result<UiThread> {
        thread::Builder::new().name("ui".to_owned()).spawn(|| self.run()).map(UiThread)
    }
}

/// What arrives until the next frame is due, and whether nothing can come after it.
fn until_next_frame(
    actions: &mpsc::Receiver<Action>,
    frame: Duration,
    some_are_late: bool,
) -> (Vec<Action>, bool) {
    let mut arrived = Vec::new();
    let due = match (frame.is_zero(), some_are_late) {
        (false, _) => Instant::now() + frame.min(LONGEST_FRAME),
        (true, true) => Instant::now() + LATE,
        (true, false) => {
            arrived.extend(actions.recv());
            let over = arrived.is_empty();
            return (arrived, over);
        }
    };
    loop {
        match actions.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(action) => arrived.push(action),
            Err(mpsc::RecvTimeoutError::Timeout) => return (arrived, false),
            Err(mpsc::RecvTimeoutError::Disconnected) => return (arrived, true),
        }
    }
}

impl UiThread {
    /// Whether the thread has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.is_finished()
    }

    /// Waits until the thread has ended, its locals destroyed.
    ///
    /// # Errors
    ///
    /// [`UiPanicked`] with what the panic said.
    pub fn join(self) -> Result<(), UiPanicked> {
        self.0.join().map_err(|payload| {
            let text = payload.downcast_ref::<String>().map(String::as_str);
            let message = text.or_else(|| payload.downcast_ref::<&str>().copied());
            UiPanicked { message: message.unwrap_or("no message").to_owned() }
        })
    }
}

/// What the user interface has in memory.
#[derive(Default)]
struct Interface {
    mode: Mode,
    shown: Shown,
    /// The tabs of the desktop, also while there is none to be seen.
    tabs: Vec<Tab>,
    /// The one room on a phone.
    room: Option<Tab>,
    late: Vec<Late>,
    unheard: usize,
}

/// A confirmation that is held back.
struct Late {
    until: Until,
    confirm: oneshot::Sender<()>,
    action: Confirmed,
}

enum Until {
    /// It is done, and this is when it is said.
    Due(Instant),
    /// It is done when nobody waits any more.
    GivenUp,
    /// The end of the user interface.
    End,
}

impl Interface {
    fn handle(&mut self, action: Action, fault: impl FnOnce(Confirmed) -> Option<UiFault>) {
        match action {
            Action::LoggedIn { user } => {
                caches::clear();
                drop(self.room.take());
                if self.mode == Mode::Desktop {
                    drop(mem::take(&mut self.tabs));
                }
                caches::add_user(user.clone());
                self.shown = Shown::Rooms { user };
            }
            Action::Open(tab) => {
                caches::add_room(tab.room.clone());
                match self.mode {
                    Mode::Desktop => self.tabs.push(tab),
                    Mode::Mobile => drop(self.room.replace(tab)),
                }
            }
            Action::SetMode(mode) => self.mode = mode,
            Action::CloseAllTabs { confirm } => {
                let action = Confirmed::CloseAllTabs;
                self.do_and_confirm(action, confirm, fault(action));
            }
            Action::CleanAppState { confirm } => {
                let action = Confirmed::CleanAppState;
                self.do_and_confirm(action, confirm, fault(action));
            }
            Action::LogoutProgress { percent, message } => {
                self.shown = Shown::LoggingOut { percent, message };
            }
            Action::LogoutSuccess => self.shown = Shown::Login,
            Action::LogoutFailure { reason } | Action::WorkerEnded { reason } => {
                self.shown = Shown::Failure { reason };
            }
            // Handled by the loop.
            Action::Quit => {}
        }
    }

    fn do_and_confirm(
        &mut self,
        action: Confirmed,
        confirm: oneshot::Sender<()>,
        fault: Option<UiFault>,
    ) {
        let until = match fault {
            None => {
                self.act(action);
                return self.confirm(confirm);
            }
            Some(UiFault::Twice) => {
                self.act(action);
                self.confirm(confirm);
                self.act(action);
                self.unheard += 1;
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
        self.late.push(Late { until, confirm, action });
    }

    fn act(&mut self, action: Confirmed) {
        drop(mem::take(&mut self.tabs));
        if action == Confirmed::CleanAppState {
            drop(self.room.take());
            caches::clear();
        }
    }

    fn confirm(&mut self, confirm: oneshot::Sender<()>) {
        if confirm.send(()).is_err() {
            self.unheard += 1;
        }
    }

    /// Confirms what has been held back for long enough.
    fn attend_to_late(&mut self) {
        for Late { until, confirm, action } in mem::take(&mut self.late) {
            match until {
                Until::Due(due) if due <= Instant::now() => self.confirm(confirm),
                Until::GivenUp if confirm.is_unwanted() => {
                    self.act(action);
                    self.confirm(confirm);
                }
                until => self.late.push(Late { until, confirm, action }),
            }
        }
    }

    fn draw(&self, drawn: &mut Screen) {
        let id = |tab: &Tab| tab.room.id().to_owned();
        let events = |tab: &Tab| tab.timeline.events().len();
        let (cached_users, cached_rooms) = caches::sizes();
        *drawn = Screen {
            frames: drawn.frames + 1,
            mode: self.mode,
            shown: self.shown.clone(),
            tabs: self.tabs.iter().map(id).collect(),
            room: self.room.as_ref().map(id),
            events: self.tabs.iter().chain(&self.room).map(events).sum(),
            cached_users,
            cached_rooms,
            unheard: self.unheard,
        };
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

impl fmt::Debug for UiThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UiThread").field("has_ended", &self.has_ended()).finish()
    }
}
