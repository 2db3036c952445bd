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
    /// Spawns a task that is dropped as soon as it is told to stop. On a runtime that has been shut
    /// down it has ended at once.
    pub(crate) fn spawn(
        runtime: &Handle,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Arc<Self> {
        let background = Arc::new(Self::default());
        let running = Arc::clone(&background);
        let work = Box::pin(async move {
            tokio::select! {
                () = running.stop.wait() => {}
                () = work => {}
            }
        });
        drop(runtime.spawn(Ending { work, _end: End(Arc::clone(&background)) }));
        background
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
