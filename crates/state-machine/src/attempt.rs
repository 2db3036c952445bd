//! One step of the application, with a limit, and with its panics caught.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

use sundown::within;

use crate::{application::Failure, error::StepError};

/// Starts a step and awaits it up to the limit. Panics are caught, whether the step is being started,
/// polled, or dropped at its limit.
pub(crate) async fn attempt<T, F: Future<Output = Result<T, Failure>>>(
    limit: Duration,
    step: impl FnOnce() -> F,
) -> Result<T, StepError> {
    let mut step = pin!(Some(async { step().await }));
    let caught = poll_fn(|context| {
        // It is there as long as it is polled.
        let Some(step) = step.as_mut().as_pin_mut() else { return Poll::Pending };
        match catch_unwind(AssertUnwindSafe(|| step.poll(context))) {
            Ok(poll) => poll.map_err(StepError::Failed),
            // It is not polled again.
            Err(payload) => Poll::Ready(Err(panicked(&*payload))),
        }
    });
    let answer = within(limit, caught).await.unwrap_or(Err(StepError::TimedOut { limit }));
    match catch_unwind(AssertUnwindSafe(|| step.set(None))) {
        Ok(()) => answer,
        Err(payload) => Err(panicked(&*payload)),
    }
}

/// Runs a step that does not wait.
pub(crate) fn at_once(step: impl FnOnce() -> Result<(), Failure>) -> Result<(), StepError> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(ended) => ended.map_err(StepError::Failed),
        Err(payload) => Err(panicked(&*payload)),
    }
}

/// The limit for a step that keeps a limit itself: nine tenths of the driver's, so that the step can
/// still say what went wrong.
pub(crate) fn own_limit(limit: Duration) -> Duration {
    if limit == Duration::MAX { limit } else { limit - limit / 10 }
}

fn panicked(payload: &(dyn Any + Send)) -> StepError {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    StepError::Panicked { message: text.unwrap_or("(the panic carried no text)").to_owned() }
}
