//! The mock's client is kept alive by those that its table of owners names, and by nobody else.

use std::sync::{Arc, Barrier};

use mock_sdk::{
    client::{Client, WeakClient},
    homeserver::{Endpoint, Fault},
    owners::{Moment, OWNERS},
    sync::SyncService,
};

use crate::setting::{PLENTY, ROOM, SHORT, Setting, soon};

/// What the application keeps at a moment.
type Kept = Box<dyn Send>;

#[tokio::test]
async fn a_client_is_kept_alive_by_the_owners_in_the_table_and_by_nobody_else() {
    let listed = OWNERS.map(|owner| owner.moment);
    assert!(listed.is_sorted() && listed.len() == listed.last().map_or(0, |it| *it as usize + 1));
    for owner in OWNERS {
        let setting = Setting::new();
        let (client, kept) = reach(owner.moment, &setting).await;
        if owner.keeps_client {
            // If nobody kept it, it would be gone by then.
            tokio::time::sleep(SHORT).await;
            assert!(client.upgrade().is_some(), "{owner:?}");
        } else {
            soon("the end of the client", gone(&client)).await;
        }
        drop(kept);
        setting.server.heal();
        setting.server.stop();
    }
}

/// A timeline's task ends on its runtime, a moment after the timeline was dropped: so whoever drops the client at once,
/// without a context, is not the last owner, and whoever does later is.
#[test]
fn the_task_of_a_timeline_is_the_last_owner_for_a_moment() {
    let (setting, runtime) = (Setting::new(), crate::setting::runtime());
    let (client, timeline) = runtime.block_on(async {
        let client = setting.builder().build().await.unwrap();
        client.matrix_auth().login("me", "secret").await.unwrap();
        while client.background_tasks() > 1 {
            tokio::task::yield_now().await;
        }
        let sync = SyncService::new(client.clone(), PLENTY);
        sync.start().unwrap();
        setting.asked(2).await;
        sync.stop().await;
        let timeline = client.room(ROOM).await.unwrap().unwrap().timeline(10).await.unwrap();
        (client, timeline)
    });
    // Both workers are busy, so the task cannot end before the client is dropped.
    let workers = runtime.metrics().num_workers();
    let (begun, done) = (Barrier::new(workers + 1), Barrier::new(workers + 1));
    let barriers = Arc::new((begun, done));
    for _ in 0..workers {
        let barriers = Arc::clone(&barriers);
        runtime.spawn(async move { (barriers.0.wait(), barriers.1.wait()) });
    }
    barriers.0.wait();
    drop(timeline);
    let weak = client.downgrade();
    // Nothing panics here, without a context: the task holds the client.
    drop(client);
    assert!(weak.upgrade().is_some());
    barriers.1.wait();
    runtime.block_on(soon("the end of the client", gone(&weak)));
}

/// Waits until nobody keeps the client alive.
async fn gone(client: &WeakClient) {
    while client.upgrade().is_some() {
        tokio::task::yield_now().await;
    }
}

/// Brings a client to a moment, and drops all handles but the one that the moment names.
async fn reach(moment: Moment, setting: &Setting) -> (WeakClient, Kept) {
    let server = &setting.server;
    match moment {
        Moment::Initializing => server.fail_always(Endpoint::Versions, Fault::never()),
        Moment::Sending => server.fail_always(Endpoint::Send, Fault::never()),
        _ => {}
    }
    let client = setting.builder().build().await.unwrap();
    client.matrix_auth().login("me", "secret").await.unwrap();
    if moment != Moment::Initializing {
        // Its own tasks: the one that initializes ends, the one that sends stays.
        while client.background_tasks() > 1 {
            tokio::task::yield_now().await;
        }
    }
    let kept = keep(moment, setting, &client).await;
    (client.downgrade(), kept)
}

async fn keep(moment: Moment, setting: &Setting, client: &Client) -> Kept {
    let asked = |endpoint, times| setting.server.until(move |it| it.count(endpoint) >= times);
    let service = SyncService::new(client.clone(), PLENTY);
    if moment == Moment::SyncServiceHeld {
        return Box::new(service);
    }
    if moment >= Moment::Syncing || moment == Moment::Sending {
        service.start().unwrap();
        soon("the rooms", asked(Endpoint::Sync, 2)).await;
    }
    match moment {
        Moment::Syncing => return Box::new(service),
        Moment::SyncServiceDropped => return Box::new(()),
        _ => service.stop().await,
    }
    let room = || async { client.room(ROOM).await.unwrap().unwrap() };
    match moment {
        Moment::RoomHeld => return Box::new(room().await),
        Moment::TimelineHeld => return Box::new(room().await.timeline(10).await.unwrap()),
        Moment::TimelineDropped => drop(room().await.timeline(10).await.unwrap()),
        _ => {}
    }
    if moment == Moment::Sending {
        room().await.send("on its way").await.unwrap();
        soon("the request", asked(Endpoint::Send, 1)).await;
    }
    Box::new(())
}
