//! One step of the application, with a limit, and with its panics caught.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

use sundown_core::{panics, within};

use crate::{application::Failure, error::StepError};

/// Starts a step and awaits it up to the limit. Panics are caught, whether the step is being started,
/// polled, or dropped at its limit.
pub(crate) async fn attempt<T, F: Future<Output = Result<T, Failure>>>(
    limit: Duration,
    step: impl FnOnce() -> F,
) -> Result<T, StepError> {
    let mut step = pin!(Some(async { step().await }));
    let caught = poll_fn(|context| {
        // The step is there until the wait for it has ended.
        let Some(step) = step.as_mut().as_pin_mut() else { return Poll::Pending };
        match panics::catch(|| step.poll(context)) {
            Ok(poll) => poll.map_err(StepError::Failed),
            // The step is not polled again.
            Err(message) => Poll::Ready(Err(StepError::Panicked { message })),
        }
    });
    let answer = within(limit, caught).await.unwrap_or(Err(StepError::TimedOut { limit }));
    match panics::catch(|| step.set(None)) {
        Ok(()) => answer,
        Err(message) => Err(StepError::Panicked { message }),
    }
}

/// Runs a step that does not wait.
pub(crate) fn at_once(step: impl FnOnce() -> Result<(), Failure>) -> Result<(), StepError> {
    let ended = panics::catch(step).map_err(|message| StepError::Panicked { message })?;
    ended.map_err(StepError::Failed)
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use futures::executor::block_on;

    use super::*;

    #[test]
    fn a_payload_that_panics_when_it_is_dropped_does_not_escape() {
        struct Payload;
        impl Drop for Payload {
            fn drop(&mut self) {
                panic_any(Self);
            }
        }
        let answer = block_on(attempt::<(), _>(Duration::MAX, || async { panic_any(Payload) }));
        assert!(matches!(answer, Err(StepError::Panicked { .. })));
    }
}
