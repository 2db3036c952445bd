//! The mock's client is kept alive by those that its table of owners names, and by nobody else.

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
    if moment == Moment::RoomHeld {
        return Box::new(client.room(ROOM).await.unwrap().unwrap());
    }
    if moment == Moment::Sending {
        client.room(ROOM).await.unwrap().unwrap().send("on its way").await.unwrap();
        soon("the request", asked(Endpoint::Send, 1)).await;
    }
    Box::new(())
}
