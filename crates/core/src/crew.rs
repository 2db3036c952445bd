//! The heart of [`TaskGroup`](crate::group::TaskGroup) and
//! [`BackgroundTask`](crate::task::BackgroundTask): who is at work, what they are told, and when all
//! of them have ended.

use std::{
    any::Any,
    fmt,
    panic::Location,
    sync::{Arc, Weak},
};

use crate::{
    latch::Latch,
    member::Place,
    registry::{Label, Left, Registry, Seat},
    sync::{AtomicU8, Mutex, Ordering, lock},
};

/// What a crew is told. It only ever becomes more urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Told {
    /// Nothing.
    Nothing = 0,
    /// To come to an end.
    Stop = 1,
    /// To drop everything.
    Abort = 2,
}

/// Those who work for one purpose, and end together.
pub(crate) struct Crew {
    told: CacheLine<AtomicU8>,
    closed: Latch,
    registry: Registry,
    tally: Mutex<Tally>,
    /// The crew that this one is a member of, from its beginning until it is closed.
    parent: Option<(Arc<Crew>, Seat)>,
    /// The crews that are members of this one; some of them may be gone.
    children: Mutex<Vec<Weak<Crew>>>,
}

/// Keeps what every [`Stop`](crate::stop::Stop) reads in every turn of its loop, and what is written
/// twice at the most, away from what changes with every member.
#[repr(align(64))]
struct CacheLine<T>(T);

/// Who was refused, and what went wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) refused: usize,
    pub(crate) panicked: Vec<Panicked>,
}

/// A member that panicked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    /// Its name.
    pub name: String,
    /// Where it was spawned.
    pub spawned_at: &'static Location<'static>,
    /// What the panic said.
    pub message: String,
}

/// `worker (spawned at src/main.rs:3:5) panicked: index out of bounds`.
impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, spawned_at, message } = self;
        write!(f, "{name} (spawned at {spawned_at}) panicked: {message}")
    }
}

/// What a panic carries, as text.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("(the panic carried no text)").to_owned()
}

/// The crew takes nobody any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused;

impl Crew {
    /// A crew of many.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::with(Registry::for_many(), None))
    }

    /// A crew of one, and a few that it may bring.
    #[cfg(not(loom))]
    pub(crate) fn of_one() -> Arc<Self> {
        Arc::new(Self::with(Registry::for_one(), None))
    }

    /// A crew of two shards, for threads that do not meet.
    #[cfg(loom)]
    pub(crate) fn of_two() -> Arc<Self> {
        Arc::new(Self::with(Registry::for_two(), None))
    }

    /// A crew that is, as a whole, a member of another: told what that one is told, and waited for
    /// by it.
    pub(crate) fn child(self: &Arc<Self>, label: Label) -> Result<Arc<Self>, Refused> {
        let seat = self.enter(Comer::Stranger, label)?;
        let parent = Some((Arc::clone(self), seat));
        let child = Arc::new(Self::with(Registry::for_many(), parent));
        let mut children = lock(&self.children);
        if children.len() == children.capacity() {
            // Before it grows, so that it is no larger than twice of what is needed.
            children.retain(|child| child.strong_count() > 0);
        }
        children.push(Arc::downgrade(&child));
        drop(children);
        // First it can be told, then it looks: what was told before that is not missed.
        match self.told() {
            Told::Nothing => {}
            told => child.tell(told),
        }
        Ok(child)
    }

    fn with(registry: Registry, parent: Option<(Arc<Self>, Seat)>) -> Self {
        Self {
            told: CacheLine(AtomicU8::new(Told::Nothing as u8)),
            closed: Latch::new(),
            registry,
            tally: Mutex::default(),
            parent,
            children: Mutex::default(),
        }
    }

    /// What the crew was told last.
    #[inline]
    pub(crate) fn told(&self) -> Told {
        // Pairs with the release in `tell`: who is told sees what the teller did before.
        match self.told.0.load(Ordering::Acquire) {
            0 => Told::Nothing,
            1 => Told::Stop,
            _ => Told::Abort,
        }
    }

    /// Tells the crew something, unless it was told something more urgent before.
    pub(crate) fn tell(&self, told: Told) {
        // Release: see `told`. Acquire: a teller who comes too late sees what the first did before.
        let before = self.told.0.fetch_max(told as u8, Ordering::AcqRel);
        // After the news, which turns strangers away. One that came in before is waited for.
        self.registry.begin_to_close();
        if before < told as u8 {
            self.registry.wake_all();
            let children = lock(&self.children).clone();
            children.iter().filter_map(Weak::upgrade).for_each(|child| child.tell(told));
        }
        if self.registry.close_if_empty() {
            self.close();
        }
    }

    /// Comes to work.
    #[inline]
    pub(crate) fn enter(&self, comer: Comer, label: Label) -> Result<Seat, Refused> {
        let is_welcome = comer == Comer::BroughtByMember || self.told() == Told::Nothing;
        // A stranger who comes in all the same hears the news: it is told first.
        let seat = if is_welcome { self.registry.enter(label) } else { None };
        seat.ok_or_else(|| self.refused())
    }

    #[cold]
    fn refused(&self) -> Refused {
        lock(&self.tally).refused += 1;
        Refused
    }

    /// Goes home.
    #[inline]
    pub(crate) fn leave(&self, seat: Seat, how: Left) {
        if self.registry.leave(seat, how) {
            self.close();
        }
    }

    /// Puts down that a member panicked.
    #[cold]
    pub(crate) fn panicked(&self, seat: Seat, payload: &(dyn Any + Send)) {
        if let Some(Label { name, spawned_at }) = self.registry.label(seat) {
            let message = panic_message(payload);
            let panicked = Panicked { name: name.into_owned(), spawned_at, message };
            lock(&self.tally).panicked.push(panicked);
        }
    }

    /// What the one does who closed the registry.
    #[cold]
    fn close(&self) {
        self.closed.fire();
        if let Some((parent, seat)) = &self.parent {
            parent.leave(*seat, Left::Otherwise);
        }
    }

    /// Fires when nobody is at work and nobody comes any more, which only a crew that was told to
    /// stop gets to.
    pub(crate) const fn closed(&self) -> &Latch {
        &self.closed
    }

    pub(crate) fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    pub(crate) const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Makes a place in the crew for a member.
    #[inline]
    pub(crate) fn place(self: &Arc<Self>, comer: Comer, label: Label) -> Result<Place, Refused> {
        let seat = self.enter(comer, label)?;
        Ok(Place::new(Arc::clone(self), seat))
    }
}

/// Who comes to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comer {
    /// Somebody from outside: welcome until the crew is told to stop.
    Stranger,
    /// Somebody whom a member brings: welcome as long as the crew is not closed, which it cannot be
    /// while that member is at work.
    BroughtByMember,
}
