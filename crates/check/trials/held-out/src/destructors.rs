//! What is made for destructors, or has one that its documentation warns of.

use std::{
    convert::Infallible,
    future::{Future, pending, ready},
    pin::Pin,
    time::Duration,
};

use async_drop_guard::{AsyncDropGuard, SyncDrop};
use backdrop::{Backdrop, BackdropStrategy, TokioBlockingTaskStrategy, TokioTaskStrategy};
use guarden::task::{DetachableTask, TokioHandle};
use tokio::{
    runtime::Handle,
    task::{block_in_place, yield_now},
};
use trials::Case;

use crate::{Row, thread};

pub fn cases() -> Vec<Case> {
    [spawned(), waited(), moved(), strategies(), detached()].into_iter().flatten().collect()
}

struct Closes;

impl async_dropx::AsyncDrop for Closes {
    type Dropper = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn async_drop(self) -> Self::Dropper {
        Box::pin(yield_now())
    }
}

impl async_drop::AsyncDrop for Closes {
    fn async_drop(&mut self) -> async_drop::AsyncDropFuture<'_> {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(())
        })
    }
}

/// Needs nothing of Tokio's to be closed. One that yields to Tokio is not here: its destructor waits for ever in async
/// code.
#[derive(Debug)]
struct Needless;

#[async_trait::async_trait]
impl async_drop_guard::AsyncDrop for Needless {
    type Error = Infallible;

    async fn async_drop_impl(&mut self) -> Result<(), Infallible> {
        ready(()).await;
        Ok(())
    }
}

/// Is closed in a task.
#[derive(Debug)]
struct Spawns;

#[async_trait::async_trait]
impl async_drop_guard::AsyncDrop for Spawns {
    type Error = Infallible;

    async fn async_drop_impl(&mut self) -> Result<(), Infallible> {
        tokio::spawn(yield_now());
        Ok(())
    }
}

fn spawned() -> Vec<Case> {
    vec![Case::of("async-dropx", || async { async_dropx::AsyncDropx::new(Closes) })]
}

fn waited() -> Vec<Case> {
    vec![
        Case::of("async-drop", || async { async_drop::Dropper::new(Closes) }),
        Case::of("async-drop-guard", || async { SyncDrop::new(AsyncDropGuard::new(Needless)) }),
        Case::of("async-drop-guard", || async { SyncDrop::new(AsyncDropGuard::new(Spawns)) }),
    ]
}

fn moved() -> Vec<Case> {
    vec![
        Case::of("backdrop", || async { Backdrop::<Row, TokioTaskStrategy>::new(vec![1]) }),
        Case::of("backdrop", || async { Backdrop::<Row, TokioBlockingTaskStrategy>::new(vec![1]) }),
    ]
}

/// Waits on the thread that drops until something is closed.
struct Waits;

impl<T> BackdropStrategy<T> for Waits {
    fn execute(droppable: T) {
        Handle::current().block_on(yield_now());
        drop(droppable);
    }
}

/// Drops on the thread that drops, and says so to the runtime.
struct Blocks;

impl<T> BackdropStrategy<T> for Blocks {
    fn execute(droppable: T) {
        block_in_place(|| drop(droppable));
    }
}

/// Says in its own words what it needs.
struct Demands;

impl<T: Send + 'static> BackdropStrategy<T> for Demands {
    fn execute(droppable: T) {
        let handle = Handle::try_current().expect("rows are dropped on Tokio");
        handle.spawn(async { drop(droppable) });
    }
}

/// Leaves it to the runtime if there is one.
struct Prefers;

impl<T: Send + 'static> BackdropStrategy<T> for Prefers {
    fn execute(droppable: T) {
        if let Ok(handle) = Handle::try_current() {
            handle.spawn_blocking(|| drop(droppable));
        }
    }
}

/// What a program may make of a destructor.
fn strategies() -> Vec<Case> {
    vec![
        Case::of("backdrop", || async { Backdrop::<Row, Waits>::new(vec![1]) }),
        Case::of("backdrop", || async { Backdrop::<Row, Blocks>::new(vec![1]) }),
        Case::of("backdrop", || async { Backdrop::<Row, Demands>::new(vec![1]) }),
        Case::of("backdrop", || async { Backdrop::<Row, Prefers>::new(vec![1]) }),
    ]
}

fn detached() -> Vec<Case> {
    let task = || DetachableTask::new(TokioHandle::default(), pending::<()>());
    vec![
        Case::of("guarden", move || async move { task() }).when("made with a context"),
        Case::of("guarden", move || async move { thread(task).await })
            .when("made without a context"),
    ]
}
