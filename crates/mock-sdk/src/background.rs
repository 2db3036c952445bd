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

/// A task of the SDK.
#[derive(Debug, Default)]
pub(crate) struct Background {
    stop: Latch,
    ended: Latch,
}

impl Background {
    /// Spawns a task. On a runtime that is down it has ended at once.
    pub(crate) fn spawn<F>(runtime: &Handle, work: impl FnOnce(Arc<Self>) -> F) -> Arc<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = Arc::new(Self::default());
        let work = Box::pin(work(Arc::clone(&task)));
        drop(runtime.spawn(Ending { work, _end: End(Arc::clone(&task)) }));
        task
    }

    /// Awaits work that may be dropped at any point, unless the task is stopped first: then `None`.
    pub(crate) async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            // A stopped task begins nothing.
            biased;
            () = self.stop.wait() => None,
            done = work => Some(done),
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.fire();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.has_fired()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.has_fired()
    }

    /// Waits until the task's future and everything that it held has been dropped.
    pub(crate) async fn ended(&self) {
        self.ended.wait().await;
    }
}

/// Fields are dropped in order: a task has ended when its work is gone, also if it was never polled.
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
