//! The crew as the models see it: what [`task`](crate) and `group` do, with the member's future
//! returned to be polled by a model's thread instead of spawned on a runtime. And the roster: what
//! `session` does, without values.

pub mod life;

use std::{borrow::Cow, future::Future, panic::Location, sync::Arc};

use crate::{
    crew::{Comer, Crew as Inner, Told},
    latch::Latch,
    member::Member,
    registry::{self, Label},
    roster::Roster as InnerRoster,
    stop::Stop,
    sync::Arc as ModelledArc,
};

/// A crew.
#[derive(Clone)]
pub struct Crew(Arc<Inner>);

/// How the members of a crew ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Tally {
    /// How many completed.
    pub completed: usize,
    /// How many were dropped.
    pub aborted: usize,
    /// How many were refused.
    pub refused: usize,
    /// How many panicked.
    pub panicked: usize,
}

impl Crew {
    /// A crew without members.
    #[must_use]
    pub fn new() -> Self {
        Self(Inner::new())
    }

    /// A crew without members, whose threads do not meet where they [sit in](sit_in) two shards.
    #[must_use]
    pub fn of_two() -> Self {
        Self(Inner::of_two())
    }

    /// As `TaskGroup::child`.
    #[must_use]
    pub fn child(&self) -> Option<Self> {
        self.0.child(label()).ok().map(Self)
    }

    /// As `TaskGroup::spawn`, up to the spawning.
    pub fn member<F: Future<Output = ()>, W: FnOnce(Stop) -> F>(
        &self,
        work: W,
    ) -> Option<impl Future<Output = ()> + use<F, W>> {
        let place = self.0.place(Comer::Stranger, label()).ok()?;
        Some(Member::new(place, work))
    }

    /// As `Stop::spawn`, up to the spawning.
    pub fn brought<F: Future<Output = ()>, W: FnOnce(Stop) -> F>(
        &self,
        work: W,
    ) -> Option<impl Future<Output = ()> + use<F, W>> {
        let place = self.0.place(Comer::BroughtByMember, label()).ok()?;
        Some(Member::new(place, work))
    }

    /// As `TaskGroup::stop`.
    pub fn stop(&self) {
        self.0.tell(Told::Stop);
    }

    /// As `TaskGroup::abort`.
    pub fn abort(&self) {
        self.0.tell(Told::Abort);
    }

    /// Fires when everybody has ended and nobody comes any more.
    #[must_use]
    pub fn closed(&self) -> &Latch {
        self.0.closed()
    }

    /// How many are at work.
    #[must_use]
    pub fn at_work(&self) -> usize {
        self.0.registry().count().members
    }

    /// How the members ended, so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let (tally, count) = (self.0.tally(), self.0.registry().count());
        Tally {
            completed: count.completed,
            aborted: count.aborted,
            refused: tally.refused,
            panicked: tally.panicked.len(),
        }
    }
}

/// Has this thread take its seats in this shard: in the first, if nothing is said.
pub fn sit_in(shard: usize) {
    registry::modelled::sit_in(shard);
}

impl Default for Crew {
    fn default() -> Self {
        Self::new()
    }
}

/// The roster of a session.
#[derive(Clone)]
pub struct Roster(ModelledArc<InnerRoster>);

impl Roster {
    /// An open roster without values.
    #[must_use]
    pub fn new() -> Self {
        Self(ModelledArc::new(InnerRoster::new()))
    }

    /// As `Session::guard`: whether the value was welcome.
    #[must_use]
    pub fn enter(&self) -> bool {
        self.0.enter()
    }

    /// As `Guarded::map`, by somebody who has a handle.
    pub fn bring(&self) {
        self.0.bring();
    }

    /// As the last handle of a value, once the value has been handed over.
    pub fn leave(&self) {
        self.0.leave();
    }

    /// As the beginning of `Session::close`.
    pub fn close(&self) {
        self.0.close();
    }

    /// Fires when it is closing and every value has left.
    #[must_use]
    pub fn closed(&self) -> &Latch {
        self.0.closed()
    }

    /// How many values are here.
    #[must_use]
    pub fn values(&self) -> usize {
        self.0.values()
    }

    /// A handle is made here.
    pub fn made(&self, at: &'static Location<'static>) {
        self.0.made(at);
    }

    /// A handle that was made here goes.
    pub fn gone(&self, at: &'static Location<'static>) {
        self.0.gone(at);
    }

    /// How many handles there are.
    #[must_use]
    pub fn handles(&self) -> usize {
        self.0.held().iter().map(|(_, handles)| handles).sum()
    }
}

impl Default for Roster {
    fn default() -> Self {
        Self::new()
    }
}

#[track_caller]
fn label() -> Label {
    Label { name: Cow::Borrowed("member"), spawned_at: Location::caller() }
}
