//! A large future fits on the stack wherever it can be spawned, as it does with Tokio.

use std::{future::Future, hint::black_box, io, thread};

use sundown::{
    Session, group::TaskGroup, limit::PLENTY, runtime::RuntimeOwner, task::BackgroundTask,
};
use tokio::{
    runtime::{Builder, Runtime},
    task::yield_now,
};

const SIZE: usize = 300_000;

/// Of a thread of the standard library and of Tokio.
const STACK: usize = 2 << 20;

/// Its future has this size, and it is as small as a function.
async fn large() -> u8 {
    let memory = [7_u8; SIZE];
    yield_now().await;
    black_box(&memory)[SIZE - 1]
}

/// Takes what has this size.
#[allow(clippy::manual_async_fn, reason = "an `async fn` would keep its argument twice")]
fn takes(memory: [u8; SIZE]) -> impl Future<Output = u8> {
    async move {
        yield_now().await;
        black_box(&memory)[SIZE - 1]
    }
}

async fn checks(value: impl Future<Output = u8>) {
    assert_eq!(value.await, 7);
}

async fn may_fail(value: impl Future<Output = u8>) -> io::Result<()> {
    assert_eq!(value.await, 7);
    Ok(())
}

/// Runs this on a thread with the usual stack, in a runtime that polls its tasks there.
fn on_a_usual_stack(test: impl FnOnce(&Runtime) + Send) {
    let on_this_thread = || {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        test(&runtime);
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK);
        thread.spawn_scoped(scope, on_this_thread).unwrap().join().unwrap();
    });
}

/// What the others are measured by.
#[test]
fn tokio_spawns_a_large_future() {
    on_a_usual_stack(|runtime| {
        let task = tokio::spawn(large());
        assert_eq!(runtime.block_on(task).unwrap(), 7);
    });
}

#[test]
fn tokio_spawns_a_large_future_taken() {
    on_a_usual_stack(|runtime| {
        let memory = [7_u8; SIZE];
        let task = tokio::spawn(async move { black_box(&memory)[0] });
        assert_eq!(runtime.block_on(task).unwrap(), 7);
    });
}

fn in_a_group(spawn: impl FnOnce(&TaskGroup) + Send) {
    on_a_usual_stack(|runtime| {
        let group = TaskGroup::new("group");
        spawn(&group);
        let report = runtime.block_on(group.drain(PLENTY));
        assert!(report.ended > 0 && report.panics == 0, "{report}");
        assert_eq!((report.failures, report.aborted), (0, 0), "{report}");
    });
}

#[test]
fn a_group_spawns_a_large_future() {
    in_a_group(|group| group.spawn("future", |_| checks(large())).unwrap());
}

#[test]
fn a_group_spawns_a_large_future_taken() {
    in_a_group(|group| {
        let memory = [7_u8; SIZE];
        group.spawn("takes", move |_| async move { assert_eq!(black_box(&memory)[0], 7) }).unwrap();
    });
}

#[test]
fn a_group_spawns_a_large_future_that_may_fail() {
    in_a_group(|group| group.try_spawn("future", |_| may_fail(large())).unwrap());
}

#[test]
fn a_group_spawns_a_large_future_that_may_fail_taken() {
    in_a_group(|group| {
        let memory = [7_u8; SIZE];
        let work = move |_| async move {
            assert_eq!(black_box(&memory)[0], 7);
            io::Result::Ok(())
        };
        group.try_spawn("takes", work).unwrap();
    });
}

#[test]
fn a_group_is_stopped_when_a_large_future_is_ready() {
    in_a_group(|group| group.stop_when(large()).unwrap());
}

#[test]
fn a_task_of_a_group_spawns_a_large_future() {
    in_a_group(|group| {
        let work = |stop: sundown::stop::Stop| async move {
            stop.spawn("inner", |_| checks(large())).unwrap();
        };
        group.spawn("spawns", work).unwrap();
    });
}

#[test]
fn a_background_task_is_a_large_future() {
    on_a_usual_stack(|runtime| {
        let task = BackgroundTask::spawn("task", |_| large()).unwrap();
        assert_eq!(runtime.block_on(task.finish(PLENTY)).unwrap(), Some(7));
    });
}

#[test]
fn a_background_task_is_a_large_future_taken() {
    on_a_usual_stack(|runtime| {
        let memory = [7_u8; SIZE];
        let task = BackgroundTask::spawn("takes", move |_| takes(memory)).unwrap();
        assert_eq!(runtime.block_on(task.finish(PLENTY)).unwrap(), Some(7));
    });
}

fn on_an_owned_runtime(test: impl Fn(&RuntimeOwner) -> u8 + Sync) {
    let builder = RuntimeOwner::builder("owner");
    for builder in [builder.clone().workers(1), builder.current_thread()] {
        on_a_usual_stack(|runtime| {
            let owner = builder.start().unwrap();
            assert_eq!(test(&owner), 7);
            let _ = runtime.block_on(owner.shutdown(None)).unwrap();
        });
    }
}

#[test]
fn a_runtime_spawns_a_large_future() {
    on_an_owned_runtime(|owner| {
        let receiver = owner.spawn("large", |_| large()).unwrap();
        futures::executor::block_on(receiver).unwrap()
    });
}

#[test]
fn a_runtime_spawns_a_large_future_taken() {
    on_an_owned_runtime(|owner| {
        let memory = [7_u8; SIZE];
        let receiver = owner.spawn("takes", move |_| takes(memory)).unwrap();
        futures::executor::block_on(receiver).unwrap()
    });
}

#[test]
fn a_runtime_polls_a_large_future_on_the_callers_thread() {
    on_an_owned_runtime(|owner| owner.block_on(large()).unwrap());
}

#[test]
fn a_hook_of_a_session_is_a_large_future() {
    // A hook that panics is an error.
    on_a_usual_stack(|runtime| {
        let session = Session::new("session").unwrap();
        session.before_close(|| checks(large())).unwrap();
        let _ = runtime.block_on(session.close(PLENTY)).unwrap();
    });
}

#[test]
fn a_hook_of_a_session_is_a_large_future_taken() {
    on_a_usual_stack(|runtime| {
        let session = Session::new("session").unwrap();
        // A hook that is refused comes back in the error, so there is room for it in more places.
        let (value, memory) = (session.guard(7).unwrap(), [7_u8; SIZE / 3]);
        let hook = move |_| async move { assert_eq!(black_box(&memory)[0], 7) };
        session.before_close_with(&value, hook).unwrap();
        drop(value);
        let _ = runtime.block_on(session.close(PLENTY)).unwrap();
    });
}
