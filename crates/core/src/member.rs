//! A member of a crew at work: the future that is spawned.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::{
    crew::{Crew, Told},
    polled,
    registry::{Left, Seat},
    stop::Stop,
};

/// A place in the crew, which is left when this is dropped.
pub(crate) struct Place {
    crew: Arc<Crew>,
    seat: Seat,
    how: Left,
}

impl Place {
    pub(crate) const fn new(crew: Arc<Crew>, seat: Seat) -> Self {
        Self { crew, seat, how: Left::Aborted }
    }
}

impl Drop for Place {
    #[inline]
    fn drop(&mut self) {
        self.crew.leave(self.seat, self.how);
    }
}

/// Whether a member can be woken, for an abort at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wakeable {
    /// It has not been polled.
    No,
    /// It has left its waker, which a wake-up may use up.
    Once,
    /// It has left its waker after the wake-up for a stop had been through: only an abort takes it.
    ForAbort,
}

pin_project! {
    /// A member at work: polls its body, drops it when the crew is told to abort, and leaves its
    /// place only after all that the body was has been dropped.
    //
    // In this order in memory: what every poll reads lies beside what the runtime keeps of the task,
    // and not behind a body of any size.
    #[repr(C)]
    pub(crate) struct Member<W, F> {
        place: Place,
        wakeable: Wakeable,
        #[pin]
        body: Body<W, F>,
    }

    impl<W, F> PinnedDrop for Member<W, F> {
        fn drop(this: Pin<&mut Self>) {
            let mut member = this.project();
            if !matches!(*member.body, Body::Gone) {
                end(&mut member.body, member.place, Left::Aborted, None);
            }
        }
    }
}

pin_project! {
    /// What a member does. A future that makes another from what it captured would have room for
    /// both; here the one takes the place of the other.
    #[project = Working]
    #[project_replace = Replaced]
    enum Body<W, F> {
        /// Not yet begun: it begins inside the task, where a panic of it is a member's.
        Begin { work: W },
        Run { #[pin] future: F },
        Gone,
    }
}

impl<W, F> Member<W, F>
where
    W: FnOnce(Stop) -> F,
    F: Future<Output = ()>,
{
    /// A future to be spawned, for a place in a crew.
    #[inline]
    pub(crate) const fn new(place: Place, work: W) -> Self {
        Self { place, wakeable: Wakeable::No, body: Body::Begin { work } }
    }
}

impl<W, F> Future for Member<W, F>
where
    W: FnOnce(Stop) -> F,
    F: Future<Output = ()>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut member = self.project();
        let place: &mut Place = member.place;
        if *member.wakeable == Wakeable::No {
            // A member is spawned, and a task has one and the same waker all its life.
            *member.wakeable = leave_waker(place, context);
        }
        // After that: what is told from here on wakes the task.
        let told = place.crew.told();
        if told == Told::Abort {
            end(&mut member.body, place, Left::Aborted, None);
            return Poll::Ready(());
        }
        let polled = polled::poll(&place.crew, context.waker(), || {
            catch_unwind(AssertUnwindSafe(|| work(member.body.as_mut(), place, context)))
        });
        let (how, panic) = match polled {
            Ok(Poll::Ready(())) => (Left::Completed, None),
            Ok(Poll::Pending) => {
                if told == Told::Nothing || *member.wakeable == Wakeable::ForAbort {
                    return Poll::Pending;
                }
                // It stays although it was told to stop, and that has used up its waker, or will.
                *member.wakeable = leave_waker(place, context);
                if place.crew.told() != Told::Abort {
                    return Poll::Pending;
                }
                (Left::Aborted, None)
            }
            // The body is not looked into again after a panic, only dropped.
            Err(payload) => (Left::Otherwise, Some(payload)),
        };
        end(&mut member.body, place, how, panic);
        Poll::Ready(())
    }
}

fn leave_waker(place: &Place, context: &Context<'_>) -> Wakeable {
    if place.crew.registry().leave_waker(place.seat, context.waker()) {
        Wakeable::ForAbort
    } else {
        Wakeable::Once
    }
}

/// Polls the body, which begins with the first poll.
#[inline]
fn work<W, F>(mut body: Pin<&mut Body<W, F>>, place: &Place, context: &mut Context<'_>) -> Poll<()>
where
    W: FnOnce(Stop) -> F,
    F: Future<Output = ()>,
{
    if matches!(*body, Body::Begin { .. })
        && let Replaced::Begin { work } = body.as_mut().project_replace(Body::Gone)
    {
        let stop = Stop::of(Arc::clone(&place.crew));
        body.set(Body::Run { future: work(stop) });
    }
    match body.project() {
        Working::Run { future } => future.poll(context),
        _ => Poll::Ready(()),
    }
}

/// Drops a body, whose destructor may panic in its turn, and puts down how it ended.
fn end<W, F>(
    body: &mut Pin<&mut Body<W, F>>,
    place: &mut Place,
    how: Left,
    panic: Option<Box<dyn Any + Send>>,
) {
    let dropped = catch_unwind(AssertUnwindSafe(|| body.set(Body::Gone)));
    place.how = match dropped.err().or(panic) {
        None => how,
        Some(payload) => {
            // Before the member leaves its place: nobody who sees the crew closed misses it.
            place.crew.panicked(place.seat, &*payload);
            Left::Otherwise
        }
    };
}
