//! One task of a set: the future that is spawned.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

use crate::panics;

use super::{
    Command, Refused, SpawnedBy, TaskSet, current_task,
    registry::{Exit, Label, Slot},
    stop::Stop,
};

/// A task's place in its set, which it leaves when this is dropped.
pub struct Place {
    tasks: Arc<TaskSet>,
    slot: Slot,
    exit: Exit,
}

impl Place {
    /// Takes a place.
    ///
    /// # Errors
    ///
    /// [`Refused`], if the set refuses new tasks.
    #[inline]
    pub fn new(tasks: &Arc<TaskSet>, label: Label, spawned_by: SpawnedBy) -> Result<Self, Refused> {
        let slot = tasks.insert(label, spawned_by)?;
        Ok(Self { tasks: Arc::clone(tasks), slot, exit: Exit::Aborted })
    }

    /// Leaves the set as a task does that has completed, or that is dropped because of an abort.
    #[cfg(not(loom))]
    pub fn let_go(mut self) {
        if self.tasks.command() != Command::Abort {
            self.exit = Exit::Completed;
        }
    }
}

impl Drop for Place {
    #[inline]
    fn drop(&mut self) {
        self.tasks.remove(self.slot, self.exit);
    }
}

/// Whether a command can wake the task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wakeable {
    /// No: it has not been polled.
    No,
    /// Yes, by a waker that the next wake-up may use up.
    Once,
    /// Yes, by a waker that it left after the wake-up for a stop had passed. Only an abort takes it.
    ForAbort,
}

pin_project! {
    /// A task: polls its body, drops the body when the set is told to abort, and leaves its place
    /// only after everything that the body was has been dropped.
    //
    // In this order in memory: what every poll reads lies next to what the runtime keeps of the task,
    // and not behind a body of any size.
    #[repr(C)]
    pub struct Member<W, F> {
        place: Place,
        wakeable: Wakeable,
        #[pin]
        body: Body<W, F>,
    }

    impl<W, F> PinnedDrop for Member<W, F> {
        fn drop(this: Pin<&mut Self>) {
            let mut member = this.project();
            if !matches!(*member.body, Body::Gone) {
                end(&mut member.body, member.place, Exit::Aborted, None);
            }
        }
    }
}

pin_project! {
    /// What a task does. An `async` block that made a future from what it captured would have room
    /// for both; here the future takes the place of the closure.
    #[project = Working]
    #[project_replace = Replaced]
    enum Body<W, F> {
        /// Not begun. It begins inside the task, so that a panic of it is a panic of the task.
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
    /// A future to spawn, for a place in a set.
    #[inline]
    pub const fn new(place: Place, work: W) -> Self {
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
        // Only now look: a command that is given from here on wakes the task.
        let command = place.tasks.command();
        if command == Command::Abort {
            #[cfg(all(feature = "stuck", not(loom)))]
            if matches!(*member.body, Body::Run { .. }) && place.tasks.notes_awaits() {
                if place.tasks.has_time_for_a_last_poll() {
                    poll_last(&mut member.body, place, context);
                    return Poll::Ready(());
                }
                place.tasks.note_awaits(place.slot, crate::shutdown::Awaits::left_out());
            }
            end(&mut member.body, place, Exit::Aborted, None);
            return Poll::Ready(());
        }
        let polled = current_task::poll(&place.tasks, context.waker(), || {
            catch_unwind(AssertUnwindSafe(|| work(member.body.as_mut(), place, context)))
        });
        let (exit, panic) = match polled {
            Ok(Poll::Ready(())) => (Exit::Completed, None),
            Ok(Poll::Pending) => {
                if command == Command::Run || *member.wakeable == Wakeable::ForAbort {
                    return Poll::Pending;
                }
                // It stays although it was told to stop. That wake-up has used up its waker, or will.
                *member.wakeable = leave_waker(place, context);
                if place.tasks.command() != Command::Abort {
                    return Poll::Pending;
                }
                (Exit::Aborted, None)
            }
            // After a panic the body is not polled again, only dropped.
            Err(payload) => (Exit::Uncounted, Some(payload)),
        };
        end(&mut member.body, place, exit, panic);
        Poll::Ready(())
    }
}

fn leave_waker(place: &Place, context: &Context<'_>) -> Wakeable {
    // Only the kit makes members. It spawns them, or polls them on a thread that waits. So the waker is
    // Tokio's or the kit's own, and its clone is a count.
    let waker = context.waker().clone();
    if place.tasks.registry().leave_waker(place.slot, waker) {
        Wakeable::ForAbort
    } else {
        Wakeable::Once
    }
}

/// Polls a task once more that is to be aborted, notes where it waits, and drops it.
#[cfg(all(feature = "stuck", not(loom)))]
#[cold]
fn poll_last<W, F>(body: &mut Pin<&mut Body<W, F>>, place: &mut Place, context: &Context<'_>)
where
    W: FnOnce(Stop) -> F,
    F: Future<Output = ()>,
{
    let crate::stuck::Polled { polled, awaits, took } =
        current_task::poll(&place.tasks, context.waker(), || {
            crate::stuck::poll(context, |context| work(body.as_mut(), place, context))
        });
    let awaits = match place.tasks.spend_on_last_poll(took) {
        true => awaits.map(|awaits| awaits.blocked(took)),
        false => awaits,
    };
    let (exit, panic) = match polled {
        Ok(Poll::Ready(())) => (Exit::Completed, None),
        Ok(Poll::Pending) => (Exit::Aborted, None),
        Err(payload) => (Exit::Uncounted, Some(payload)),
    };
    if exit != Exit::Completed {
        awaits.into_iter().for_each(|awaits| place.tasks.note_awaits(place.slot, awaits));
    }
    end(body, place, exit, panic);
}

/// Polls the body, which begins with the first poll.
#[inline]
fn work<W, F>(mut body: Pin<&mut Body<W, F>>, place: &Place, context: &mut Context<'_>) -> Poll<()>
where
    W: FnOnce(Stop) -> F,
    F: Future<Output = ()>,
{
    if matches!(*body, Body::Begin { .. }) {
        if let Replaced::Begin { work } = body.as_mut().project_replace(Body::Gone) {
            let stop = Stop::of(Arc::clone(&place.tasks));
            body.set(Body::Run { future: work(stop) });
        }
    }
    match body.project() {
        Working::Run { future } => future.poll(context),
        _ => Poll::Ready(()),
    }
}

/// Drops a body, whose destructor may panic in its turn, and records how it ended.
fn end<W, F>(
    body: &mut Pin<&mut Body<W, F>>,
    place: &mut Place,
    exit: Exit,
    panic: Option<Box<dyn Any + Send>>,
) {
    let dropped = catch_unwind(AssertUnwindSafe(|| body.set(Body::Gone)));
    // The first panic is the cause.
    let (first, second) = match panic {
        Some(panic) => (Some(panic), dropped.err()),
        None => (dropped.err(), None),
    };
    place.exit = match first {
        None => exit,
        Some(payload) => {
            // Before the task leaves its place: everyone who sees the set closed sees the panic.
            place.tasks.panicked(place.slot, payload);
            Exit::Uncounted
        }
    };
    // Only now: its destructor may block.
    if let Some(second) = second {
        panics::discard(second);
    }
}
