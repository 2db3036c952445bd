//! What holds for tasks and for groups.

use std::{
    future::Future,
    sync::{Arc, Mutex},
};

use sundown::{
    SpawnError,
    group::TaskGroup,
    shutdown::{GracefulShutdown, shutdown_in_order},
    stop::Stop,
    task::BackgroundTask,
};
use tokio::runtime::{Handle, Runtime};

use crate::fixtures::{PLENTY, both_flavours, obeys};

#[test]
fn nothing_is_spawned_without_a_runtime() {
    let error = BackgroundTask::spawn("worker", |_| async {}).unwrap_err();
    assert_eq!(error, SpawnError::NoRuntime);
    assert_eq!(TaskGroup::new("group").spawn("a", |_| async {}), Err(SpawnError::NoRuntime));
}

#[test]
fn a_list_is_shut_down_in_order_and_one_failure_does_not_stop_it() {
    both_flavours(async || {
        let order = Arc::new(Mutex::new(Vec::new()));
        let (first, second) = (Arc::clone(&order), Arc::clone(&order));
        let task = BackgroundTask::spawn("task", |stop| async move {
            stop.await;
            first.lock().unwrap().push("task");
        })
        .unwrap();
        let unlucky = BackgroundTask::<()>::spawn("unlucky", |_| async { panic!("no luck") });
        let unlucky = unlucky.unwrap();
        let group = TaskGroup::new("group");
        group
            .spawn("member", |stop| async move {
                stop.await;
                second.lock().unwrap().push("group");
            })
            .unwrap();
        let list: [&dyn GracefulShutdown; 3] = [&group, &unlucky, &task];
        let results = shutdown_in_order(list, PLENTY).await;
        assert!(results[0].is_ok() && results[1].is_err() && results[2].is_ok(), "{results:?}");
        assert_eq!(*order.lock().unwrap(), ["group", "task"]);
    });
}

#[test]
fn handles_are_send_and_sync_and_their_futures_are_send() {
    fn is_send_and_sync<T: Send + Sync>() {}
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    is_send_and_sync::<BackgroundTask<()>>();
    is_send_and_sync::<TaskGroup>();
    is_send_and_sync::<Stop>();
    let runtime = Runtime::new().unwrap();
    let task = BackgroundTask::spawn_on(&Handle::clone(runtime.handle()), "t", obeys);
    // `axum::serve(…).with_graceful_shutdown(…)` asks for this.
    fn is_a_shutdown_signal(_: impl Future<Output = ()> + Send + 'static) {}
    is_a_shutdown_signal(TaskGroup::new("server").stop_signal());
    drop(is_send(task.shutdown()));
    drop(is_send(TaskGroup::new("g").drain(PLENTY)));
}
