//! What is made for destructors, or has one that its documentation warns of.

use std::{
    future::{Future, pending},
    pin::Pin,
    time::Duration,
};

use backdrop::{Backdrop, TokioBlockingTaskStrategy, TokioTaskStrategy};
use guarden::task::{DetachableTask, TokioHandle};
use trials::Case;

use crate::{Row, thread};

pub fn cases() -> Vec<Case> {
    [spawned(), waited(), moved(), detached()].into_iter().flatten().collect()
}

struct Closes;

impl async_dropx::AsyncDrop for Closes {
    type Dropper = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn async_drop(self) -> Self::Dropper {
        Box::pin(tokio::task::yield_now())
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

fn spawned() -> Vec<Case> {
    vec![Case::of("async-dropx", || async { async_dropx::AsyncDropx::new(Closes) })]
}

fn waited() -> Vec<Case> {
    vec![Case::of("async-drop", || async { async_drop::Dropper::new(Closes) })]
}

fn moved() -> Vec<Case> {
    vec![
        Case::of("backdrop", || async { Backdrop::<Row, TokioTaskStrategy>::new(vec![1]) }),
        Case::of("backdrop", || async { Backdrop::<Row, TokioBlockingTaskStrategy>::new(vec![1]) }),
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
