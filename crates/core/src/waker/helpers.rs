//! The threads that call wakers of one component: a group, a runtime, a session, a teardown.
//!
//! A waker that may block is called on another thread, and whoever wakes does not wait for long. But a caller
//! that is answered by the same component must not hear `Ok` while that thread is alive. So the component
//! counts, *before* anybody can see that it has ended, that wakers are about to be called; and each caller
//! waits, within its own limit, until none is being called and no such thread is left.

#[cfg(not(loom))]
use crate::joinable::Left;
use crate::sync::{AtomicUsize, Ordering};
#[cfg(not(loom))]
use crate::sync::{Mutex, lock};
use std::{iter, sync::Arc, task::Waker};

use smallvec::SmallVec;

/// Wakers, usually one: whoever wakes it must not pay for an allocation.
pub(crate) type Wakers = SmallVec<[Waker; 1]>;

/// The threads that call wakers of one component, and of those below it.
#[derive(Default)]
pub struct Helpers {
    /// How often wakers are being called, or may be at any moment.
    begun: AtomicUsize,
    /// The threads that nobody waits for who wakes.
    #[cfg(not(loom))]
    left: Mutex<Vec<Left>>,
    /// Those of the component above.
    above: Option<Arc<Self>>,
}

impl Helpers {
    /// Those of a component below another.
    pub(crate) fn below(above: &Arc<Self>) -> Self {
        let mut helpers = Self::default();
        helpers.above = Some(Arc::clone(above));
        helpers
    }

    /// Those of a component that begins.
    #[cfg(not(loom))]
    pub(crate) fn none() -> Arc<Self> {
        Arc::default()
    }

    /// Whether wakers are being called, or a thread is left that has called one.
    pub fn are_alive(&self) -> bool {
        // Acquire pairs with the release of whoever has called them: the threads that it has left are in the
        // list. The list comes second for that reason.
        self.begun.load(Ordering::Acquire) > 0 || self.are_left()
    }

    #[cfg(not(loom))]
    fn are_left(&self) -> bool {
        let mut left = lock(&self.left);
        left.retain(|thread| !thread.has_ended());
        !left.is_empty()
    }

    /// Models call all wakers in place.
    #[cfg(loom)]
    #[allow(clippy::unused_self, reason = "it is used otherwise")]
    const fn are_left(&self) -> bool {
        false
    }

    /// The names of the threads.
    #[cfg(not(loom))]
    pub(crate) fn names(&self) -> Vec<String> {
        let mut left = lock(&self.left);
        left.retain(|thread| !thread.has_ended());
        let called_now = usize::from(left.is_empty() && self.begun.load(Ordering::Acquire) > 0);
        match left.len() + called_now {
            0 => Vec::new(),
            threads => vec![super::THREAD.to_owned(); threads],
        }
    }

    /// Says that wakers of this component may be called from now on.
    fn begin(self: &Arc<Self>) -> Begun<'_> {
        // Relaxed: what shows others that the component has ended comes later, and publishes this.
        self.begun.fetch_add(1, Ordering::Relaxed);
        Begun { helpers: self, and_above: false }
    }

    fn all_above(&self) -> impl Iterator<Item = &Self> {
        iter::successors(self.above.as_deref(), |above| above.above.as_deref())
    }

    fn end(&self) {
        // Release: see `are_alive`.
        self.begun.fetch_sub(1, Ordering::Release);
    }
}

/// A chain is dropped from below, and not by recursion.
impl Drop for Helpers {
    fn drop(&mut self) {
        let mut above = self.above.take();
        while let Some(helpers) = above {
            above = Arc::into_inner(helpers).and_then(|mut helpers| helpers.above.take());
        }
    }
}

/// Wakers of a component may be called, until this is dropped.
struct Begun<'a> {
    helpers: &'a Arc<Helpers>,
    /// The components above know it, too.
    and_above: bool,
}

impl Begun<'_> {
    fn also_above(&mut self) {
        if !self.and_above {
            self.and_above = true;
            // Relaxed: as in `begin`.
            self.helpers.all_above().for_each(|it| _ = it.begun.fetch_add(1, Ordering::Relaxed));
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if self.and_above {
            self.helpers.all_above().for_each(Helpers::end);
        }
        self.helpers.end();
    }
}

/// Wakers that are to be called, and the component that they belong to, if there is one. It must be told
/// before anybody can see what they are called for.
pub(crate) struct ToWake<'a> {
    begun: Option<Begun<'a>>,
    pub(super) wakers: Wakers,
}

impl<'a> ToWake<'a> {
    /// Says that wakers of this component may be called. They become known later.
    pub(crate) fn begin(helpers: Option<&'a Arc<Helpers>>) -> Self {
        Self { begun: helpers.map(Helpers::begin), wakers: Wakers::new() }
    }

    /// Wakers of this component.
    pub(crate) fn new(helpers: Option<&'a Arc<Helpers>>, wakers: Wakers) -> Self {
        Self::begin(helpers).with(wakers)
    }

    /// These are the wakers. Unless one of them may block, nobody has to wait for them.
    pub(crate) fn with(mut self, wakers: Wakers) -> Self {
        match wakers.iter().any(|waker| !super::is_known(waker)) {
            true => self.begun.iter_mut().for_each(Begun::also_above),
            false => self.begun = None,
        }
        Self { wakers, ..self }
    }

    /// Adds a thread that is left.
    #[cfg(not(loom))]
    pub(super) fn leave(&self, thread: crate::joinable::Joinable) {
        let thread = thread.give_up();
        if let Some(Begun { helpers, .. }) = &self.begun {
            for helpers in helpers.all_above().chain([&***helpers]) {
                lock(&helpers.left).push(thread.clone());
            }
        }
    }
}
