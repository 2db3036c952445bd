//! The sync service: what it stores, and how it starts, stops and survives.

use std::{
    pin::pin,
    task::{Context, Waker},
    thread,
};

use mock_sdk::{
    client::{Client, ClientError},
    homeserver::{Endpoint, Fault},
    store::rusqlite,
    sync::SyncService,
};

use crate::setting::{PLENTY, ROOM, SHORT, Setting, runtime, soon};

async fn bodies(client: &Client) -> Vec<String> {
    let timeline = client.room(ROOM).await.unwrap().unwrap().timeline(100).await.unwrap();
    timeline.events().iter().map(|event| event.body.clone()).collect()
}

#[tokio::test]
async fn a_stopped_service_asks_nothing_and_a_restarted_one_misses_nothing() {
    let setting = Setting::new();
    let client = setting.logged_in().await;
    let sync = SyncService::new(client.clone(), PLENTY);
    for round in 1..=3 {
        sync.start().unwrap();
        sync.start().unwrap();
        setting.asked(round * 2).await;
        // Both callers wait for the end.
        let clone = sync.clone();
        tokio::join!(sync.stop(), clone.stop());
        assert_eq!(client.background_tasks(), 0);
        let asked = setting.server.count(Endpoint::Sync);
        assert_eq!(asked, round * 2, "started twice, it runs once");
        setting.server.say(ROOM, "other", &format!("round {round}"));
        assert_eq!(bodies(&client).await.len(), round);
        assert_eq!(setting.server.count(Endpoint::Sync), asked);
    }
    sync.start().unwrap();
    setting.asked(8).await;
    assert_eq!(bodies(&client).await, ["hello", "round 1", "round 2", "round 3"]);
    sync.stop().await;
}

#[tokio::test]
async fn started_while_it_stops_it_runs_again() {
    let setting = Setting::new();
    let (client, sync) = setting.synced().await;
    let mut stop = pin!(sync.stop());
    // Its task has had no turn since it was told to stop.
    assert!(stop.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    sync.start().unwrap();
    stop.await;
    setting.asked(3).await;
    assert_eq!(client.background_tasks(), 1);
    sync.stop().await;
}

#[tokio::test]
async fn a_stop_waits_for_what_is_being_written_and_the_next_start_for_the_stop() {
    let setting = Setting::new();
    let (client, sync) = setting.synced().await;
    // Another process writes to the store, and takes its time.
    let other = rusqlite::Connection::open(client.store().event_cache.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    setting.server.say(ROOM, "other", "again");
    let writes = async {
        // The rooms are written first, to the other store.
        while client.store().event_cache.connections().idle > 1 {
            tokio::task::yield_now().await;
        }
    };
    soon("the write", writes).await;
    let mut stop = pin!(sync.stop());
    assert!(tokio::time::timeout(SHORT, &mut stop).await.is_err(), "it waits for the write");
    sync.start().unwrap();
    let third = setting.server.until(|server| server.count(Endpoint::Sync) > 2);
    assert!(tokio::time::timeout(SHORT, third).await.is_err(), "the next run waits for the end");
    other.execute_batch("ROLLBACK").unwrap();
    soon("the stop", stop).await;
    assert_eq!(bodies(&client).await, ["hello", "again"]);
    setting.asked(3).await;
    sync.stop().await;
}

#[tokio::test]
async fn it_survives_faults_of_the_server_and_its_absence() {
    for fault in [Some(Fault::status(502)), Some(Fault::reset_mid_body()), None] {
        let setting = Setting::new();
        let (client, sync) = setting.synced().await;
        match &fault {
            Some(fault) => {
                // The request in flight is answered with the message, the next one with the fault.
                setting.server.fail_next(Endpoint::Sync, fault.clone());
                setting.server.say(ROOM, "other", "before");
                setting.asked(4).await;
                setting.server.say(ROOM, "other", "after");
            }
            None => {
                setting.server.go_down();
                setting.server.say(ROOM, "other", "before");
                setting.server.say(ROOM, "other", "after");
                setting.server.come_back().unwrap();
            }
        }
        soon("both messages", async {
            while bodies(&client).await.len() < 3 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(bodies(&client).await, ["hello", "before", "after"], "{fault:?}");
        sync.stop().await;
    }
}

#[tokio::test]
async fn it_ends_by_itself_when_the_server_does_not_know_the_token() {
    let setting = Setting::new();
    let (client, sync) = setting.synced().await;
    // The server answers the request that waits.
    setting.server.forget_token(&client.access_token().unwrap());
    let ended = async {
        while client.background_tasks() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon("the end", ended).await;
    sync.stop().await;
    assert_eq!(setting.server.count(Endpoint::Sync), 2);
    // It can be started again, and ends again.
    sync.start().unwrap();
    setting.asked(3).await;
}

#[test]
fn it_starts_from_a_plain_thread_and_not_on_a_closed_client_or_a_runtime_that_is_down() {
    let setting = Setting::new();
    let runtime = runtime();
    let (client, sync) = runtime.block_on(setting.synced());
    let start = || thread::scope(|scope| scope.spawn(|| sync.start()).join().unwrap());
    runtime.block_on(sync.stop());
    start().unwrap();
    runtime.block_on(setting.asked(3));
    drop(runtime);
    start().unwrap();
    assert_eq!(client.background_tasks(), 0);
    let other = crate::setting::runtime();
    other.block_on(soon("the end of the client", client.close())).unwrap();
    assert!(matches!(start(), Err(ClientError::Closed)));
    assert!(setting.open_files().is_empty());
}
