//! The life of a runtime as the models see it: what `runtime` does, with the keeper a model's thread
//! that has no runtime to keep.

use std::{future::Future, sync::Arc};

use crate::{
    crew::Comer,
    life::{End, Life as Inner, Lives as InnerLives, NotBegun, Which},
    member::Member,
    stop::Stop,
};

use super::label;

/// A life.
#[derive(Clone)]
pub struct Life(Arc<Inner>);

/// How a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The keeper was told to.
    Told,
    /// The keeper panicked.
    Panicked,
    /// The keeper was ended from outside.
    Lost,
}

impl Life {
    /// A life that has just begun.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Inner::new()))
    }

    /// As `RuntimeOwner::spawn`, up to the spawning.
    pub fn member<F: Future<Output = ()>, W: FnOnce(Stop) -> F>(
        &self,
        work: W,
    ) -> Option<impl Future<Output = ()> + use<F, W>> {
        let place = self.0.crew().place(Comer::Stranger, label()).ok()?;
        Some(Member::new(place, work))
    }

    /// How many are at work.
    #[must_use]
    pub fn at_work(&self) -> usize {
        self.0.crew().registry().count().members
    }

    /// As the beginning of a shutdown.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// As the last part of a shutdown, and as the drop of the last owner.
    pub fn abort(&self) {
        self.0.abort();
    }

    /// As the keeper.
    pub async fn until_let_go(&self) {
        self.0.until_let_go().await;
    }

    /// As the keeper, when it has dropped the runtime.
    pub fn put_down(&self, how: Ended) {
        self.0.put_down(match how {
            Ended::Told => End::Told,
            Ended::Panicked => {
                End::Panicked { message: String::new(), running: Vec::new(), tasks: 0 }
            }
            Ended::Lost => End::Lost,
        });
    }

    /// As the keeper's thread, last.
    pub fn went(&self) {
        self.0.went();
    }

    /// As the wait of a shutdown.
    pub async fn ended(&self) {
        self.0.ended().await;
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.0.has_ended()
    }

    /// What a shutdown answers by.
    #[must_use]
    pub fn end(&self) -> Option<Ended> {
        self.0.end().map(|end| match end {
            End::Told => Ended::Told,
            End::Panicked { .. } => Ended::Panicked,
            End::Lost => Ended::Lost,
        })
    }
}

impl Default for Life {
    fn default() -> Self {
        Self::new()
    }
}

/// Lives that follow one another.
pub struct Lives(InnerLives<Inner>);

impl Lives {
    /// None has begun.
    #[must_use]
    pub fn new() -> Self {
        Self(InnerLives::new())
    }

    /// As the first use of a cell: the life that began first, and whether this call began it; `None`
    /// where none begins any more.
    #[must_use]
    pub fn first(&self, made: impl FnOnce(&Life)) -> Option<Life> {
        self.begin(Which::First, |_, life| made(life))
    }

    /// As a restart; `None` where the life before has not ended.
    #[must_use]
    pub fn next(&self, made: impl FnOnce(u64, &Life)) -> Option<Life> {
        self.begin(Which::Next, made)
    }

    fn begin(&self, which: Which, made: impl FnOnce(u64, &Life)) -> Option<Life> {
        let begun: Result<_, NotBegun<()>> = self.0.begin(which, |generation| {
            let life = Arc::new(Inner::new());
            made(generation, &Life(Arc::clone(&life)));
            Ok(life)
        });
        begun.ok().map(Life)
    }

    /// As what a shutdown ends.
    #[must_use]
    pub fn close(&self) -> Option<Life> {
        self.0.close().map(Life)
    }

    /// As what a use is of.
    #[must_use]
    pub fn latest(&self) -> Option<Life> {
        self.0.latest().map(Life)
    }
}

impl Default for Lives {
    fn default() -> Self {
        Self::new()
    }
}
