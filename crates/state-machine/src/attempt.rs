//! One step of somebody else's, within a limit, and whatever it does.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use sundown::limit::within;

use crate::{application::Failure, error::Trouble};

/// Awaits a step for at most so long. A panic in it is caught, and so is one in its destructor, where
/// it is given up.
pub(crate) async fn attempt<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Trouble> {
    let mut step = pin!(Some(step));
    let caught = poll_fn(|context| {
        // It is there as long as it is polled.
        let Some(step) = step.as_mut().as_pin_mut() else { return Poll::Pending };
        match catch_unwind(AssertUnwindSafe(|| step.poll(context))) {
            Ok(poll) => poll.map_err(Trouble::Failed),
            // It is not polled again.
            Err(payload) => Poll::Ready(Err(panicked(&*payload))),
        }
    });
    let answer = within(limit, caught).await.unwrap_or(Err(Trouble::TimedOut { limit }));
    match catch_unwind(AssertUnwindSafe(|| step.set(None))) {
        Ok(()) => answer,
        Err(payload) => Err(panicked(&*payload)),
    }
}

/// Does something at once.
pub(crate) fn at_once(step: impl FnOnce() -> Result<(), Failure>) -> Result<(), Trouble> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(ended) => ended.map_err(Trouble::Failed),
        Err(payload) => Err(panicked(&*payload)),
    }
}

/// What is left of a limit for a step that keeps one itself and then says what is wrong: it has to
/// say so before it is given up.
pub(crate) fn own_limit(limit: Duration) -> Duration {
    if limit == Duration::MAX { limit } else { limit - limit / 10 }
}

fn panicked(payload: &(dyn Any + Send)) -> Trouble {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    Trouble::Panicked { message: text.unwrap_or("(the panic carried no text)").to_owned() }
}
