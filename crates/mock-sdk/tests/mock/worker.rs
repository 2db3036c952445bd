//! The worker and its monitor. Experiment 24 shows what the monitor reports.

use futures::executor::block_on;
use mock_sdk::app::{
    AppError,
    requests::{Request, WorkerState},
};

use crate::setting::{Plain, ROOM, open, soon};

fn nothing() -> Request {
    Request::Run(Box::new(|| Box::pin(async {})))
}

#[test]
fn requests_are_carried_out_in_order_and_one_that_fails_holds_up_nobody() {
    let plain = Plain::logged_in();
    for number in 1..=3 {
        let body = format!("message {number}");
        plain.app.request(Request::Send { room: ROOM.to_owned(), body }).unwrap();
    }
    plain.app.request(Request::Open { room: "!nowhere".to_owned() }).unwrap();
    open(&plain.app, ROOM);
    let messages = block_on(plain.setting.messages(4));
    assert_eq!(messages[1..], ["message 1", "message 2", "message 3"]);
    plain.end();
}

#[test]
fn another_worker_takes_over_and_nobody_reports_the_end_of_the_first() {
    let plain = Plain::start();
    let app = &plain.app;
    // The first worker ends when what is in its channel is done.
    let (let_go, is_let_go) = tokio::sync::oneshot::channel::<()>();
    let (end, has_ended) = tokio::sync::oneshot::channel::<()>();
    let wait = async move {
        let _ = is_let_go.await;
        drop(end);
    };
    app.request(Request::Run(Box::new(|| Box::pin(wait)))).unwrap();
    app.start_worker(plain.runtime.handle());
    drop(let_go);
    let _ = block_on(soon("the first", has_ended));
    // The second one does what is asked of it, and is watched.
    let (done, is_done) = tokio::sync::oneshot::channel::<()>();
    app.request(Request::Run(Box::new(|| Box::pin(async { drop(done) })))).unwrap();
    let _ = block_on(soon("the second", is_done));
    assert_eq!(*app.worker().borrow(), WorkerState::Running);
    plain.end();
}

#[test]
fn a_worker_that_goes_with_its_runtime_is_lost_and_another_runtime_can_run_the_next() {
    let plain = Plain::start();
    let app = &plain.app;
    let other = crate::setting::runtime();
    app.start_worker(other.handle());
    assert_eq!(*app.worker().borrow(), WorkerState::Running);
    drop(other);
    assert_eq!(*app.worker().borrow(), WorkerState::Lost);
    assert!(matches!(app.request(nothing()), Err(AppError::NoWorker)));
    app.start_worker(plain.runtime.handle());
    assert_eq!(*app.worker().borrow(), WorkerState::Running);
    app.request(nothing()).unwrap();
    plain.end();
}
