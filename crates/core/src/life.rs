//! The heart of [`RuntimeOwner`](crate::runtime::RuntimeOwner): the life of a runtime, generation
//! after generation. Who may begin one, who ends it, and what those are told who wait for the end.
//!
//! There is no Tokio in here. A runtime has a thread of its own, the *keeper*, which is all that
//! touches it: the keeper waits until it is let go, drops the runtime, puts down how that went, and
//! ends. Everybody else only ever waits for the keeper.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use crate::{
    crew::{Crew, Told},
    latch::Latch,
    registry::Label,
    sync::{Mutex, lock},
};

/// The life of one runtime.
pub(crate) struct Life {
    /// What runs on it and is known by name.
    crew: Arc<Crew>,
    /// Fires when the keeper is not to wait for the crew any longer.
    let_go: Latch,
    /// How it ended. Put down once, before `gone` fires.
    end: Mutex<Option<End>>,
    /// Fires when the keeper's thread has nothing left to do.
    gone: Latch,
}

/// How a life ended.
#[derive(Clone, Debug)]
#[cfg_attr(loom, expect(dead_code, reason = "what a panic left is told where there is a runtime"))]
pub(crate) enum End {
    /// The keeper was told to, and dropped the runtime.
    Told,
    /// The keeper panicked, and dropped the runtime after that.
    Panicked {
        /// What the panic said.
        message: String,
        /// Who ran at that moment.
        running: Vec<Label>,
        /// How many tasks that were in all.
        tasks: usize,
    },
    /// The keeper's thread ended without a word: not by anything that was done here. What ran on it
    /// was not dropped, and never will be.
    Lost,
}

impl Life {
    pub(crate) fn new() -> Self {
        let (let_go, gone) = (Latch::new(), Latch::new());
        Self { crew: Crew::new(), let_go, end: Mutex::default(), gone }
    }

    pub(crate) const fn crew(&self) -> &Arc<Crew> {
        &self.crew
    }

    /// Tells the crew to come to an end. When it has, the keeper ends.
    pub(crate) fn stop(&self) {
        self.crew.tell(Told::Stop);
    }

    /// Has everything dropped, and the keeper wait for nobody.
    pub(crate) fn abort(&self) {
        self.crew.tell(Told::Abort);
        self.let_go.fire();
    }

    /// Whether nobody has told it to end, and it has not.
    #[cfg_attr(loom, expect(dead_code, reason = "needed where there is a runtime to use"))]
    pub(crate) fn is_running(&self) -> bool {
        self.crew.told() == Told::Nothing
    }

    /// What the keeper waits for: that everybody has ended after a stop, or an abort.
    pub(crate) async fn until_let_go(&self) {
        let (mut closed, mut let_go) = (self.crew.closed().wait(), self.let_go.wait());
        poll_fn(|context| {
            let closed = Pin::new(&mut closed).poll(context);
            let let_go = Pin::new(&mut let_go).poll(context);
            if closed.is_ready() || let_go.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The keeper puts down how it ended. The first word counts.
    pub(crate) fn put_down(&self, how: End) {
        lock(&self.end).get_or_insert(how);
    }

    /// The last that the keeper's thread does, whatever ended it. Whoever waits is let through, and
    /// finds how it ended: that was put down before, or is now.
    pub(crate) fn went(&self) {
        self.put_down(End::Lost);
        // Nobody comes any more, also where nobody had told it to stop; and who runs on a thread of
        // somebody else, inside `block_on`, is told.
        self.abort();
        self.gone.fire();
    }

    /// Waits until it has ended: the keeper has gone, and everybody has left the crew.
    pub(crate) async fn ended(&self) {
        self.gone.wait().await;
        if !self.is_lost() {
            // By now its tasks have been dropped with the runtime. Who is left runs elsewhere.
            self.crew.closed().wait().await;
        }
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.gone.has_fired() && (self.is_lost() || self.crew.closed().has_fired())
    }

    /// How the keeper ended; `None` until it has.
    pub(crate) fn end(&self) -> Option<End> {
        self.gone.has_fired().then(|| lock(&self.end).clone()).flatten()
    }

    /// Whether the keeper ended without a word. Members of the crew may then be left for good.
    fn is_lost(&self) -> bool {
        matches!(*lock(&self.end), Some(End::Lost))
    }
}

impl AsRef<Self> for Life {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// Lives that follow one another in one place, at most one at a time.
pub(crate) struct Lives<T> {
    place: Mutex<Place<T>>,
}

enum Place<T> {
    /// None has begun.
    Vacant,
    /// None has begun, and none begins by itself any more.
    Closed,
    /// The latest, ended or not, and which one it is, counted from 1.
    Taken { generation: u64, life: Arc<T> },
}

/// Which life is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// The first, unless it has begun: then that is what is wanted, ended or not.
    First,
    /// A new one, after all that have begun have ended.
    Next,
}

/// Why no life has begun.
#[derive(Debug)]
pub(crate) enum NotBegun<E> {
    /// It was ended before it began.
    Closed,
    /// The one before has not ended.
    NotEnded,
    /// It could not be made.
    Failed(E),
}

impl<T: AsRef<Life>> Lives<T> {
    #[cfg(not(loom))]
    pub(crate) const fn new() -> Self {
        Self { place: Mutex::new(Place::Vacant) }
    }

    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Self { place: Mutex::new(Place::Vacant) }
    }

    /// Begins a life. `make` is told which one it is.
    ///
    /// `make` runs under the lock: of two who come at once the second must find what the first has
    /// made. Others wait for that long, which is until a thread has started.
    pub(crate) fn begin<E>(
        &self,
        which: Which,
        make: impl FnOnce(u64) -> Result<Arc<T>, E>,
    ) -> Result<Arc<T>, NotBegun<E>> {
        let mut place = lock(&self.place);
        let generation = match &*place {
            Place::Taken { life, .. } if which == Which::First => return Ok(Arc::clone(life)),
            Place::Taken { life, .. } if !(**life).as_ref().has_ended() => {
                return Err(NotBegun::NotEnded);
            }
            Place::Taken { generation, .. } => generation + 1,
            Place::Closed if which == Which::First => return Err(NotBegun::Closed),
            Place::Closed | Place::Vacant => 1,
        };
        let life = make(generation).map_err(NotBegun::Failed)?;
        let before =
            mem::replace(&mut *place, Place::Taken { generation, life: Arc::clone(&life) });
        drop(place);
        // Its destructor is the maker's: not under the lock.
        drop(before);
        Ok(life)
    }

    /// The latest life, ended or not.
    pub(crate) fn latest(&self) -> Option<Arc<T>> {
        match &*lock(&self.place) {
            Place::Taken { life, .. } => Some(Arc::clone(life)),
            Place::Vacant | Place::Closed => None,
        }
    }

    /// The latest life, for who is about to end it. Where none has begun, none begins by itself from
    /// here on: who asked for the end before the beginning meant it.
    pub(crate) fn close(&self) -> Option<Arc<T>> {
        let mut place = lock(&self.place);
        match &*place {
            Place::Taken { life, .. } => Some(Arc::clone(life)),
            Place::Vacant | Place::Closed => {
                *place = Place::Closed;
                None
            }
        }
    }
}
