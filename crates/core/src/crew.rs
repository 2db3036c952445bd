//! The heart of [`TaskGroup`](crate::group::TaskGroup) and
//! [`BackgroundTask`](crate::task::BackgroundTask): how many are at work, what they are told, and
//! when all of them have ended.

use std::{
    any::Any,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, Location, catch_unwind},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Wake, Waker},
};

use pin_project_lite::pin_project;

use crate::{
    latch::Latch,
    registry::{Label, Left, Registry, Seat},
    stop::Stop,
    sync::{AtomicU8, AtomicUsize, Mutex, Ordering, lock},
};

/// The state of a crew stands in the two high bits of a word, the number at work in the others: one
/// atomic, so that "nobody is left" and "nobody comes any more" become true at once.
const SHIFT: u32 = usize::BITS - 2;
const COUNT: usize = (1 << SHIFT) - 1;

/// Anybody may come.
const OPEN: usize = 0;
/// Told to stop. Only those who are at work bring others; when none is left it is closed.
const STOPPING: usize = 1 << SHIFT;
/// Nobody is at work, and nobody comes any more.
const CLOSED: usize = 2 << SHIFT;

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
    at_work: AtomicUsize,
    closed: Latch,
    registry: Registry,
    tally: Mutex<Tally>,
    /// The crew that this one is a member of, from its beginning until it is closed.
    parent: Option<(Arc<Crew>, Seat)>,
}

/// Keeps what every [`Stop`] reads in every turn of its loop, and what is written twice at the most,
/// away from what changes with every member.
#[repr(align(64))]
struct CacheLine<T>(T);

/// How members ended, other than by completing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) aborted: usize,
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
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::with_parent(None))
    }

    /// A crew that is, as a whole, a member of another: told what that one is told, and waited for
    /// by it.
    pub(crate) fn child(self: &Arc<Self>, label: Label) -> Result<Arc<Self>, Refused> {
        self.enter(Comer::Stranger)?;
        let seat = self.registry.sit(None, Some(label));
        let child = Arc::new(Self::with_parent(Some((Arc::clone(self), seat))));
        // First it can be woken, then it looks: what was told before that is not missed.
        let relay = Arc::new(Relay { child: Arc::downgrade(&child) });
        self.registry.set_waker(seat, &Waker::from(Arc::clone(&relay)));
        relay.wake();
        Ok(child)
    }

    fn with_parent(parent: Option<(Arc<Self>, Seat)>) -> Self {
        Self {
            told: CacheLine(AtomicU8::new(Told::Nothing as u8)),
            at_work: AtomicUsize::new(OPEN),
            closed: Latch::new(),
            registry: Registry::new(),
            tally: Mutex::default(),
            parent,
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
        // First nobody comes any more, then the news: a stranger who still came in hears it.
        // AcqRel: a later `enter` that reads this sees what was done before it.
        let _ = self.at_work.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            (word & !COUNT == OPEN).then_some(word | STOPPING)
        });
        // Release: see `told`.
        if self.told.0.fetch_max(told as u8, Ordering::AcqRel) < told as u8 {
            self.registry.wake_all();
        }
        self.close_if_empty();
    }

    /// Comes to work.
    fn enter(&self, comer: Comer) -> Result<(), Refused> {
        // AcqRel: the state that decides is current, and the count is ordered with it.
        let entered = self.at_work.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let welcome = match word & !COUNT {
                OPEN => true,
                STOPPING => comer == Comer::BroughtByMember,
                _ => false,
            };
            welcome.then_some(word + 1)
        });
        entered.map(drop).map_err(|_| {
            lock(&self.tally).refused += 1;
            Refused
        })
    }

    /// Goes home. All that the member did is visible to whoever sees the crew closed: each departure
    /// releases it, in one chain of read-modify-writes that the last one acquires.
    fn leave(&self) {
        let word = self.at_work.fetch_sub(1, Ordering::AcqRel);
        if word == STOPPING | 1 {
            self.close_if_empty();
        }
    }

    fn close_if_empty(&self) {
        let closed = self.at_work.compare_exchange(
            STOPPING,
            CLOSED,
            // Acquires what the members did, and releases it to who finds the crew closed.
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        // Exactly one succeeds.
        if closed.is_ok() {
            self.closed.fire();
            if let Some((parent, seat)) = &self.parent {
                parent.registry.leave(*seat, Left::Otherwise);
                parent.leave();
            }
        }
    }

    /// Fires when nobody is at work and nobody comes any more, which only a crew that was told to
    /// stop gets to.
    pub(crate) const fn closed(&self) -> &Latch {
        &self.closed
    }

    /// How many are at work.
    pub(crate) fn at_work(&self) -> usize {
        self.at_work.load(Ordering::Acquire) & COUNT
    }

    /// How many have completed.
    pub(crate) fn completed(&self) -> usize {
        self.registry.completed()
    }

    pub(crate) fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Those who are at work, at some moment.
    #[cfg_attr(loom, expect(dead_code, reason = "needed where tasks are spawned"))]
    pub(crate) fn labels(&self) -> Vec<Label> {
        self.registry.labels()
    }

    pub(crate) const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Makes a member of the crew: a future to be spawned. `body` makes what it polls from the
    /// crew's stop signal; both are dropped where the crew takes nobody.
    pub(crate) fn member<F: Future<Output = ()>>(
        self: &Arc<Self>,
        comer: Comer,
        label: Label,
        body: impl FnOnce(Stop) -> F,
    ) -> Result<Member<F>, Refused> {
        self.enter(comer)?;
        let seat = self.registry.sit(None, Some(label));
        // From here on, whatever happens, the place is left again.
        let place = Place { crew: Arc::clone(self), seat, ending: Ending::Dropped };
        let body = Some(body(Stop::of_member(Arc::clone(self), seat)));
        Ok(Member { body, can_be_woken: false, place })
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

/// Passes on to a child what its parent is told.
struct Relay {
    child: Weak<Crew>,
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        let Some(child) = self.child.upgrade() else { return };
        let Some((parent, _)) = &child.parent else { return };
        match parent.told() {
            Told::Nothing => {}
            told => child.tell(told),
        }
    }
}

/// A place in the crew, which is left when this is dropped.
struct Place {
    crew: Arc<Crew>,
    seat: Seat,
    ending: Ending,
}

/// How the member in a place ended. A byte, because every member carries one all its life; what a
/// panic said is put down when it is caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Its future was dropped before it completed: by an abort, or because its runtime went down.
    Dropped,
    Completed,
    Panicked,
}

impl Place {
    /// Puts down that the member panicked, before it leaves its place: nobody who sees the crew
    /// closed misses it.
    fn panicked(&mut self, payload: &(dyn Any + Send)) {
        self.ending = Ending::Panicked;
        if let Some(Label { name, spawned_at }) = self.crew.registry.label(self.seat) {
            let message = panic_message(payload);
            let panicked = Panicked { name: name.into_owned(), spawned_at, message };
            lock(&self.crew.tally).panicked.push(panicked);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let crew = &self.crew;
        if self.ending == Ending::Dropped {
            lock(&crew.tally).aborted += 1;
        }
        // Completions are counted by the registry, under a lock that is taken anyway: this is how a
        // million of them end.
        let completed = self.ending == Ending::Completed;
        crew.registry.leave(self.seat, if completed { Left::Completed } else { Left::Otherwise });
        crew.leave();
    }
}

pin_project! {
    /// A member at work: polls its body, drops it when the crew is told to abort, and leaves its
    /// place only after all that the body was has been dropped.
    pub(crate) struct Member<F> {
        #[pin]
        body: Option<F>,
        can_be_woken: bool,
        place: Place,
    }
}

impl<F: Future<Output = ()>> Future for Member<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut member = self.project();
        let place: &mut Place = member.place;
        if !*member.can_be_woken {
            // Once: a member is spawned, and a task has one and the same waker all its life.
            place.crew.registry.set_waker(place.seat, context.waker());
            *member.can_be_woken = true;
        }
        // After that: what is told from here on wakes the task.
        if place.crew.told() == Told::Abort {
            end(&mut member.body, place, Ending::Dropped, None);
            return Poll::Ready(());
        }
        let Some(body) = member.body.as_mut().as_pin_mut() else { return Poll::Ready(()) };
        // The body is not looked into again after a panic, only dropped.
        let panic = match catch_unwind(AssertUnwindSafe(|| body.poll(context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(())) => None,
            Err(payload) => Some(payload),
        };
        end(&mut member.body, place, Ending::Completed, panic);
        Poll::Ready(())
    }
}

/// Drops a body, whose destructor may panic in its turn, and puts down how it ended.
fn end<F>(
    body: &mut Pin<&mut Option<F>>,
    place: &mut Place,
    how: Ending,
    panic: Option<Box<dyn Any + Send>>,
) {
    let dropped = catch_unwind(AssertUnwindSafe(|| body.set(None)));
    match dropped.err().or(panic) {
        None => place.ending = how,
        Some(payload) => place.panicked(&*payload),
    }
}
