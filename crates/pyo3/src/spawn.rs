//! Tasks of the extension's own that may enter Python.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use sundown::{group::Held, stop::Stop};
use tokio::task::JoinHandle;

use crate::{entry::Gated, runtime};

/// Same as [`tokio::spawn`](::tokio::spawn), for a task that enters Python by `Python::attach`, or has something to drop that
/// does. It runs on the [runtime](super::tokio::get_runtime) of the library, wherever it is spawned.
///
/// At exit it is dropped before the interpreter goes, as a future of [`future_into_py`](super::tokio::future_into_py) is, and
/// its handle never resolves. After that, new tasks are not polled.
///
/// # Panics
///
/// If Tokio cannot build a runtime, as [`get_runtime`](super::tokio::get_runtime) does.
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let runtime = super::tokio::get_runtime();
    // No closure: the place of the call is that of the caller.
    let place = match runtime::find().map(|made| (made.tasks.hold("spawn"), made)) {
        Some((Ok(held), made)) => Some((held, made.tasks.stop_signal())),
        _ => None,
    };
    let future = place.is_some().then(|| Gated::new(future));
    runtime.spawn(UntilExit { future, place })
}

/// A future that is dropped, inside the gate, when the exit begins.
struct UntilExit<F> {
    future: Option<Gated<F>>,
    place: Option<(Held, Stop)>,
}

/// Nothing is pinned in place: what needs it is in a box.
impl<F> Unpin for UntilExit<F> {}

impl<F: Future> Future for UntilExit<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let (Some(future), Some((_, stop))) = (&mut this.future, &mut this.place) else {
            return Poll::Pending;
        };
        if Pin::new(stop).poll(context).is_ready() {
            this.future = None;
            // Only now: the exit waits for it.
            this.place = None;
            return Poll::Pending;
        }
        Pin::new(future).poll(context)
    }
}
