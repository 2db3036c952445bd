//! The signal that a task holds: whether it is to come to an end.
//!
//! A loop that selects on a signal makes a new future in each turn, and the usual signals pay for
//! that: `CancellationToken::cancelled()` enters and leaves a locked list every time. Here what is
//! registered belongs to the handle and not to the future, and stays registered from turn to turn: a
//! turn costs one load of a flag and one comparison of where it is polled.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use crate::{
    crew::{Crew, Told},
    polled,
    registry::{Left, Seat},
};

/// A stop signal. It is a future, which is ready once its task is to come to an end, and remains so:
/// `.await` it, select on `&mut stop`, or hand it to whoever takes a future, such as
/// `axum::serve(…).with_graceful_shutdown(stop)`.
///
/// ```
/// # use sundown::stop::Stop;
/// async fn work(mut stop: Stop) {
///     let mut interval = tokio::time::interval(std::time::Duration::from_secs(60));
///     loop {
///         tokio::select! {
///             () = &mut stop => break,
///             _ = interval.tick() => { /* work */ }
///         }
///     }
/// }
/// ```
///
/// A clone may go to another task; each has its own place to be woken in.
pub struct Stop {
    crew: Arc<Crew>,
    /// A seat of its own, where it is not polled by a member of the crew.
    own: Seat,
    /// The waker that is registered there. Holding it keeps it from being mistaken for another that
    /// comes to the same address.
    registered: Option<Waker>,
}

impl Stop {
    pub(crate) const fn of(crew: Arc<Crew>) -> Self {
        Self { crew, own: Seat::NOWHERE, registered: None }
    }

    /// Whether it is time to come to an end. One load.
    #[must_use]
    #[inline]
    pub fn is_raised(&self) -> bool {
        self.crew.told() > Told::Nothing
    }

    #[cfg_attr(loom, expect(dead_code, reason = "needed where tasks are spawned"))]
    pub(crate) const fn crew(&self) -> &Arc<Crew> {
        &self.crew
    }

    /// Has this waker woken when the crew is told to stop or to abort, whatever becomes of this
    /// signal.
    #[cfg(all(feature = "tokio-util", not(loom)))]
    pub(crate) fn wake_for_good(&self, waker: Waker) {
        self.crew.registry().listen(waker);
    }

    /// Registers a waker, and then looks again. Seldom: a turn of a loop does not come here.
    #[cold]
    fn register(&mut self, waker: &Waker) -> Poll<()> {
        let registry = self.crew.registry();
        if self.own == Seat::NOWHERE {
            self.own = registry.listen(waker.clone());
        } else {
            registry.replace_waker(self.own, waker.clone());
        }
        self.registered = Some(waker.clone());
        // Either `wake_all` has not been here yet, and will find the waker, or the signal is raised.
        if self.is_raised() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Future for Stop {
    type Output = ();

    // Inlined, because a call would be most of what a turn costs.
    #[inline]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.is_raised() {
            return Poll::Ready(());
        }
        let waker = context.waker();
        match &self.registered {
            Some(registered) if registered.will_wake(waker) => Poll::Pending,
            // The member has left its waker before it polls what it does, and what was told before
            // that is seen here: both under the lock of its seat.
            _ if polled::is(&self.crew, waker) => Poll::Pending,
            _ => self.register(waker),
        }
    }
}

impl Clone for Stop {
    fn clone(&self) -> Self {
        Self::of(Arc::clone(&self.crew))
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        if self.own != Seat::NOWHERE {
            self.crew.registry().leave(self.own, Left::Otherwise);
        }
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("is_raised", &self.is_raised()).finish_non_exhaustive()
    }
}
