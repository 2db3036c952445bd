//! The worker, and the monitor that tells an end that was expected from one that was not.

use mock_sdk::{
    app::{
        App, AppError,
        requests::{Request, WorkerState},
        ui::Shown,
    },
    homeserver::Endpoint,
};

use crate::setting::{OTHER_ROOM, ROOM, Setting, soon};

fn worker(setting: &Setting, app: &App, is: impl Fn(&WorkerState) -> bool) -> WorkerState {
    let mut worker = app.worker();
    let state = soon("the state of the worker", worker.wait_for(|state| is(state)));
    setting.runtime.block_on(state).unwrap().clone()
}

fn unexpectedly(state: &WorkerState) -> bool {
    matches!(state, WorkerState::EndedUnexpectedly { .. })
}

#[test]
fn requests_are_carried_out_in_order() {
    let setting = Setting::new();
    let (app, ui) = setting.logged_in();
    for number in 1..=3 {
        let body = format!("message {number}");
        app.request(Request::Send { room: ROOM.to_owned(), body }).unwrap();
    }
    app.request(Request::IgnoreUser { user: "@spam:example.org".to_owned() }).unwrap();
    app.request(Request::TombstoneRoom { room: OTHER_ROOM.to_owned() }).unwrap();
    // One that fails holds up nobody.
    app.request(Request::Open { room: "!nowhere".to_owned() }).unwrap();
    setting.open(&app, ROOM);
    assert_eq!(app.globals().ignored_users.take().len(), 1);
    assert_eq!(app.globals().tombstoned_rooms.get().len(), 1);
    assert_eq!(app.globals().holders(), 3, "the client, its sync service, a timeline");
    let said = setting.server.until(|server| server.messages(ROOM).len() == 4);
    setting.runtime.block_on(soon("what was sent", said));
    assert_eq!(setting.server.messages(ROOM)[1..], ["message 1", "message 2", "message 3"]);
    assert_eq!(setting.server.count(Endpoint::Send), 3);
    setting.end(&app, ui);
}

#[test]
fn closing_the_channel_unannounced_is_reported_to_the_user() {
    let setting = Setting::new();
    let (app, ui) = setting.logged_in();
    worker(&setting, &app, |state| *state == WorkerState::Running);
    drop(app.globals().request_sender.take());
    let WorkerState::EndedUnexpectedly { reason } = worker(&setting, &app, unexpectedly) else {
        unreachable!()
    };
    assert!(reason.contains("ended unexpectedly: its request channel was closed"), "{reason}");
    setting.screen(&app, "the report", |s| s.shown == Shown::Failure { reason: reason.clone() });
    let refused = app.request(Request::Open { room: ROOM.to_owned() });
    assert!(matches!(refused, Err(AppError::NoWorker)));
    setting.end(&app, ui);
}

#[test]
fn closing_the_channel_announced_is_not() {
    let setting = Setting::new();
    let (app, ui) = setting.logged_in();
    app.expect_worker_end();
    drop(app.globals().request_sender.take());
    worker(&setting, &app, |state| *state == WorkerState::EndedAsExpected);
    let frames = app.ui().screen().borrow().frames;
    let screen = setting.screen(&app, "two more frames", |screen| screen.frames > frames + 1);
    assert!(matches!(screen.shown, Shown::Rooms { .. }), "{screen:?}");
    setting.end(&app, ui);
}

#[test]
fn a_panic_of_the_worker_is_reported_with_what_it_said() {
    let setting = Setting::new();
    let (app, ui) = setting.app();
    app.request(Request::Run(Box::new(|| Box::pin(async { panic!("on purpose") })))).unwrap();
    let WorkerState::EndedUnexpectedly { reason } = worker(&setting, &app, unexpectedly) else {
        unreachable!()
    };
    assert!(reason.contains("on purpose"), "{reason}");
    setting.end(&app, ui);
}

#[test]
fn another_worker_takes_over_and_the_end_of_the_first_is_no_news() {
    let setting = Setting::new();
    let (app, ui) = setting.app();
    // The first worker ends when what is in its channel is done.
    let (let_go, is_let_go) = tokio::sync::oneshot::channel::<()>();
    let (end, has_ended) = tokio::sync::oneshot::channel::<()>();
    let wait = async move {
        let _ = is_let_go.await;
        drop(end);
    };
    app.request(Request::Run(Box::new(|| Box::pin(wait)))).unwrap();
    app.start_worker(setting.runtime.handle());
    drop(let_go);
    let _ = setting.runtime.block_on(has_ended);
    // The second does what is asked of it, and is the one that is watched.
    app.request(Request::IgnoreUser { user: "@spam:example.org".to_owned() }).unwrap();
    let (done, is_done) = tokio::sync::oneshot::channel::<()>();
    app.request(Request::Run(Box::new(|| Box::pin(async { drop(done) })))).unwrap();
    let _ = setting.runtime.block_on(is_done);
    assert_eq!(app.globals().ignored_users.get().len(), 1);
    assert_eq!(*app.worker().borrow(), WorkerState::Running);
    setting.end(&app, ui);
}

#[test]
fn a_worker_that_goes_with_its_runtime_is_lost_and_another_runtime_can_run_the_next() {
    let setting = Setting::new();
    let (app, ui) = setting.app();
    let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    app.start_worker(other.handle());
    assert_eq!(*app.worker().borrow(), WorkerState::Running);
    drop(other);
    assert_eq!(*app.worker().borrow(), WorkerState::Lost);
    let refused = app.request(Request::IgnoreUser { user: String::new() });
    assert!(matches!(refused, Err(AppError::NoWorker)));
    app.start_worker(setting.runtime.handle());
    assert_eq!(*app.worker().borrow(), WorkerState::Running);
    app.request(Request::IgnoreUser { user: String::new() }).unwrap();
    setting.end(&app, ui);
}
