//! The SDK's own tasks: spawned and forgotten, as SDKs do it, but known to the client, so that
//! [`Client::close`](crate::client::Client::close) can end them.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use sundown::latch::Latch;
use tokio::runtime::Handle;

/// One such task.
#[derive(Debug, Default)]
pub(crate) struct Background {
    stop: Latch,
    ended: Latch,
}

impl Background {
    /// Spawns a task, which sees from here when it is told to stop. On a runtime that has been shut
    /// down it has ended at once.
    pub(crate) fn spawn<F>(runtime: &Handle, work: impl FnOnce(Arc<Self>) -> F) -> Arc<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let background = Arc::new(Self::default());
        let work = Box::pin(work(Arc::clone(&background)));
        drop(runtime.spawn(Ending { work, _end: End(Arc::clone(&background)) }));
        background
    }

    /// Does something that may be broken off anywhere, unless the task is told to stop first.
    pub(crate) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            // A task that was told to stop begins nothing.
            biased;
            () = self.stop.wait() => None,
            done = work => Some(done),
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.fire();
    }

    pub(crate) fn is_told_to_stop(&self) -> bool {
        self.stop.has_fired()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.has_fired()
    }

    /// Waits until the task's future has been dropped, with all it held.
    pub(crate) async fn ended(&self) {
        self.ended.wait().await;
    }
}

/// Says that the task has ended when it has: fields are dropped in order.
struct Ending {
    work: Pin<Box<dyn Future<Output = ()> + Send>>,
    _end: End,
}

struct End(Arc<Background>);

impl Future for Ending {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.work.as_mut().poll(context)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.ended.fire();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use tokio::runtime::Builder;

    use super::*;

    /// Sees, when it is dropped, whether the task that holds it counts as ended.
    struct Witness {
        task: Arc<OnceLock<Arc<Background>>>,
        seen: Arc<OnceLock<bool>>,
    }

    impl Drop for Witness {
        fn drop(&mut self) {
            let ended = self.task.get().map(|task| task.has_ended());
            self.seen.set(ended.expect("the task is known")).expect("one drop");
        }
    }

    #[test]
    fn a_task_has_ended_when_all_that_it_held_is_gone_and_not_before() {
        for by_itself in [true, false] {
            let runtime = Builder::new_current_thread().build().expect("a runtime");
            let (task, seen) = (Arc::new(OnceLock::new()), Arc::new(OnceLock::new()));
            let witness = Witness { task: Arc::clone(&task), seen: Arc::clone(&seen) };
            let spawned = Background::spawn(runtime.handle(), |_| async move {
                let _witness = witness;
                if !by_itself {
                    std::future::pending::<()>().await;
                }
            });
            task.set(Arc::clone(&spawned)).expect("one task");
            if by_itself {
                runtime.block_on(spawned.ended());
            }
            drop(runtime);
            assert!(spawned.has_ended());
            assert_eq!(seen.get(), Some(&false), "by itself: {by_itself}");
        }
    }

    #[test]
    fn a_task_that_is_told_to_stop_begins_nothing() {
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let task = Background::default();
        assert_eq!(runtime.block_on(task.unless_stopped(async { 1 })), Some(1));
        task.stop();
        assert_eq!(runtime.block_on(task.unless_stopped(async { 1 })), None);
    }
}
