//! The sync service: what it brings, and how it starts, stops and survives.

use std::{thread, time::Duration};

use mock_sdk::{
    client::{Client, ClientError},
    homeserver::{Endpoint, Fault},
    matrix_error::{ErrorCode, MatrixError},
    store::rusqlite,
    sync::{SyncService, SyncState},
};
use tokio::runtime::Builder;

use crate::setting::{PLENTY, ROOM, SHORT, Setting, soon};

/// Waits until it has asked so many times in all. Whatever the answers but the last brought has been
/// written then.
async fn asked(setting: &Setting, times: usize) {
    let asked = setting.server.until(|server| server.count(Endpoint::Sync) >= times);
    soon("a request to sync", asked).await;
}

async fn state(sync: &SyncService, what: &str, is: impl Fn(&SyncState) -> bool) -> SyncState {
    let mut states = sync.state();
    soon(what, states.wait_for(is)).await.unwrap().clone()
}

async fn bodies(client: &Client) -> Vec<String> {
    let events = client.store().event_cache.newest_events(ROOM, 100).await.unwrap();
    events.into_iter().map(|event| event.body).collect()
}

#[tokio::test]
async fn what_is_said_arrives_in_the_store() {
    let setting = Setting::new();
    setting.server.say(ROOM, "other", "before");
    let client = setting.logged_in().await;
    let sync = SyncService::with_long_poll(client.clone(), PLENTY);
    assert!(matches!(*sync.state().borrow(), SyncState::Idle));
    sync.start().unwrap();
    assert!(sync.state().borrow().is_running());
    asked(&setting, 2).await;
    assert_eq!(bodies(&client).await, ["before"]);
    setting.server.say(ROOM, "other", "during");
    asked(&setting, 3).await;
    setting.server.add_room("!b:example.org", "The second room");
    asked(&setting, 4).await;
    assert_eq!(bodies(&client).await, ["before", "during"]);
    let names: Vec<_> =
        client.rooms().await.unwrap().iter().map(|room| room.name().to_owned()).collect();
    assert_eq!(names, ["The first room", "The second room"]);
    sync.stop().await;
    assert!(matches!(*sync.state().borrow(), SyncState::Stopped));
}

#[tokio::test]
async fn a_stopped_service_asks_nothing_and_a_restarted_one_misses_nothing() {
    let setting = Setting::new();
    let client = setting.logged_in().await;
    let sync = SyncService::with_long_poll(client.clone(), PLENTY);
    for round in 1..=3 {
        sync.start().unwrap();
        sync.start().unwrap();
        asked(&setting, round * 2).await;
        // Both callers wait for the end, and so does a third after a fourth has given up.
        drop(Box::pin(sync.stop()));
        let clone = sync.clone();
        tokio::join!(sync.stop(), clone.stop());
        assert_eq!(client.background_tasks(), 0);
        let so_far = setting.server.count(Endpoint::Sync);
        setting.server.say(ROOM, "other", &format!("while stopped, {round}"));
        assert_eq!(bodies(&client).await.len(), round - 1);
        assert_eq!(setting.server.count(Endpoint::Sync), so_far);
        assert_eq!(so_far, round * 2, "started twice, it runs once");
    }
    sync.start().unwrap();
    asked(&setting, 8).await;
    let expected: Vec<_> = (1..=3).map(|round| format!("while stopped, {round}")).collect();
    assert_eq!(bodies(&client).await, expected);
    sync.stop().await;
}

#[tokio::test]
async fn started_while_it_stops_it_runs_again() {
    let setting = Setting::new();
    let client = setting.logged_in().await;
    let sync = SyncService::with_long_poll(client.clone(), PLENTY);
    sync.start().unwrap();
    asked(&setting, 2).await;
    let mut stop = Box::pin(sync.stop());
    // Told to stop, and not ended yet: its task has had no turn since.
    assert!(futures_poll(stop.as_mut()).is_pending());
    sync.start().unwrap();
    stop.await;
    asked(&setting, 3).await;
    state(&sync, "running again", SyncState::is_running).await;
    assert_eq!(client.background_tasks(), 1);
    sync.stop().await;
}

fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn a_stop_waits_for_what_is_being_written_and_the_next_start_for_the_stop() {
    let setting = Setting::new();
    let client = setting.logged_in().await;
    let sync = SyncService::with_long_poll(client.clone(), PLENTY);
    sync.start().unwrap();
    asked(&setting, 2).await;
    // Another process writes to the store, and takes its time.
    let other = rusqlite::Connection::open(client.store().event_cache.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    setting.server.say(ROOM, "other", "hello");
    let answered = async {
        // The rooms are written first, to the other store.
        while client.store().event_cache.connections().idle > 1 {
            tokio::task::yield_now().await;
        }
    };
    soon("the write", answered).await;
    let mut stop = Box::pin(sync.stop());
    assert!(tokio::time::timeout(SHORT, &mut stop).await.is_err(), "it waits for the write");
    sync.start().unwrap();
    let third = setting.server.until(|server| server.count(Endpoint::Sync) > 2);
    assert!(tokio::time::timeout(SHORT, third).await.is_err(), "the next run waits for the end");
    other.execute_batch("ROLLBACK").unwrap();
    soon("the stop", stop).await;
    assert_eq!(bodies(&client).await, ["hello"]);
    asked(&setting, 3).await;
    sync.stop().await;
}

#[tokio::test]
async fn it_survives_every_fault_of_the_server() {
    let limited = Fault::error(MatrixError::limit_exceeded(SHORT));
    for fault in [
        Fault::status(502),
        Fault::code(ErrorCode::Unknown),
        limited,
        Fault::malformed(),
        Fault::reset_mid_body(),
        Fault::never(),
    ] {
        let setting = Setting::new();
        let builder = setting.builder().background_tasks(false);
        let client = builder.request_limit(Duration::from_secs(1)).build().await.unwrap();
        client.matrix_auth().login("me", "secret").await.unwrap();
        setting.server.fail_next(Endpoint::Sync, fault.clone());
        setting.server.fail_next(Endpoint::Sync, Fault::status(503));
        setting.server.say(ROOM, "other", "hello");
        let sync = SyncService::new(client.clone());
        sync.start().unwrap();
        let twice = |state: &SyncState| matches!(state, SyncState::Offline { failures: 2 });
        state(&sync, &format!("two failures, {fault:?}"), twice).await;
        assert!(sync.state().borrow().is_running());
        let running = |state: &SyncState| matches!(state, SyncState::Running);
        state(&sync, &format!("running after {fault:?}"), running).await;
        asked(&setting, 4).await;
        assert_eq!(bodies(&client).await, ["hello"], "{fault:?}");
        sync.stop().await;
    }
}

#[tokio::test]
async fn it_survives_a_server_that_goes_down_and_comes_back() {
    let setting = Setting::new();
    let client = setting.logged_in().await;
    let sync = SyncService::with_long_poll(client.clone(), PLENTY);
    sync.start().unwrap();
    asked(&setting, 2).await;
    setting.server.go_down();
    let offline = |state: &SyncState| matches!(state, SyncState::Offline { .. });
    state(&sync, "offline", offline).await;
    setting.server.say(ROOM, "other", "while it was down");
    setting.server.come_back().unwrap();
    state(&sync, "running", |state| matches!(state, SyncState::Running)).await;
    asked(&setting, 4).await;
    assert_eq!(bodies(&client).await, ["while it was down"]);
    sync.stop().await;
}

#[tokio::test]
async fn it_ends_with_the_reason_where_the_token_is_unknown() {
    let setting = Setting::new();
    let client = setting.logged_in().await;
    let sync = SyncService::with_long_poll(client.clone(), PLENTY);
    sync.start().unwrap();
    asked(&setting, 2).await;
    // The long poll that waits is told.
    setting.server.forget_token(&client.access_token().unwrap());
    let failed = state(&sync, "failed", |state| matches!(state, SyncState::Failed(_))).await;
    let SyncState::Failed(reason) = failed else { unreachable!() };
    assert!(reason.is_unknown_token(), "{reason}");
    sync.stop().await;
    assert!(matches!(*sync.state().borrow(), SyncState::Failed(_)), "the reason stays");
    // It can be started again, and fails again.
    sync.start().unwrap();
    state(&sync, "failed again", |state| matches!(state, SyncState::Failed(_))).await;
}

#[tokio::test]
async fn a_server_that_has_lost_its_memory_is_asked_from_the_beginning() {
    let setting = Setting::new();
    let client = setting.logged_in().await;
    let sync = SyncService::with_long_poll(client.clone(), PLENTY);
    setting.server.say(ROOM, "other", "hello");
    sync.start().unwrap();
    asked(&setting, 2).await;
    sync.stop().await;
    setting.server.fail_next(Endpoint::Sync, Fault::code(ErrorCode::UnknownPosition));
    sync.start().unwrap();
    asked(&setting, 5).await;
    assert_eq!(bodies(&client).await, ["hello"], "and nothing is there twice");
    sync.stop().await;
}

#[tokio::test]
async fn it_holds_the_client_while_it_runs_and_a_dropped_one_lets_it_go() {
    let setting = Setting::new();
    let client = setting.logged_in().await;
    let sync = SyncService::with_long_poll(client.clone(), PLENTY);
    sync.start().unwrap();
    asked(&setting, 2).await;
    let clone = sync.clone();
    drop(sync);
    asked(&setting, 2).await;
    assert_eq!(client.background_tasks(), 1, "a clone is left");
    drop(clone);
    let let_go = async {
        while client.background_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of its task", let_go).await;
}

#[tokio::test]
async fn closing_the_client_stops_it_and_it_cannot_be_started_again() {
    let setting = Setting::new();
    let client = setting.logged_in().await;
    let sync = SyncService::with_long_poll(client.clone(), PLENTY);
    sync.start().unwrap();
    asked(&setting, 2).await;
    soon("the end of the client", client.close()).await.unwrap();
    assert!(matches!(*sync.state().borrow(), SyncState::Stopped));
    assert!(matches!(sync.start(), Err(ClientError::Closed)));
    assert!(matches!(*sync.state().borrow(), SyncState::Stopped));
    assert!(setting.open_files().is_empty());
}

#[test]
fn it_can_be_started_from_a_plain_thread_and_on_a_runtime_that_is_down_it_is_stopped() {
    let setting = Setting::new();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let client = runtime.block_on(setting.logged_in());
    let sync = SyncService::with_long_poll(client.clone(), PLENTY);
    let start = |sync: &SyncService| {
        let sync = sync.clone();
        thread::spawn(move || sync.start()).join().unwrap().unwrap();
    };
    start(&sync);
    runtime.block_on(asked(&setting, 2));
    drop(runtime);
    assert!(matches!(*sync.state().borrow(), SyncState::Stopped), "its runtime went");
    start(&sync);
    assert!(matches!(*sync.state().borrow(), SyncState::Stopped));
    assert_eq!(client.background_tasks(), 0);
    // The connections need a context to be closed in; any will do.
    let other = Builder::new_current_thread().build().unwrap();
    let context = other.enter();
    drop((sync, client));
    drop(context);
    drop(other);
    assert!(setting.open_files().is_empty());
}
