//! What the client promises, and what keeps it alive.

use std::{
    fs,
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
};

use mock_sdk::{
    client::{Client, ClientError},
    homeserver::{Endpoint, Fault},
    http::HttpError,
    store::{Generation, StoreError, residue},
};
use tokio::runtime::{Builder, Runtime};

use crate::setting::{ROOM, Setting, soon};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Drops something where connections can be closed, and waits until they are.
fn drop_in(runtime: Runtime, last_owner: impl Sized) {
    let context = runtime.enter();
    drop(last_owner);
    drop(context);
    drop(runtime);
}

/// A client that has synced once.
async fn synced(setting: &Setting) -> Client {
    let client = setting.logged_in().await;
    let sync = mock_sdk::sync::SyncService::new(client.clone());
    let asked = setting.server.count(Endpoint::Sync);
    sync.start().unwrap();
    // Asked for the second time, it has written what the first answer brought.
    soon("a sync", setting.server.until(|s| s.count(Endpoint::Sync) == asked + 2)).await;
    sync.stop().await;
    client
}

#[tokio::test]
async fn clones_are_the_same_client() {
    let setting = Setting::new();
    let client = setting.quiet_client().await;
    let clone = client.clone();
    assert!(!clone.matrix_auth().logged_in());
    let session = client.matrix_auth().login("me", "secret").await.unwrap();
    assert_eq!(session.user, "@me:example.org");
    assert_eq!(clone.session(), Some(session.clone()));
    assert_eq!(clone.store().crypto.session().await.unwrap(), Some(session));
    clone.matrix_auth().logout().await.unwrap();
    assert!(!client.matrix_auth().logged_in());
}

#[tokio::test]
async fn a_session_goes_on_in_the_next_client() {
    let setting = Setting::new();
    let client = setting.logged_in().await;
    let session = client.session().unwrap();
    client.close().await.unwrap();
    drop(client);
    let next = setting.quiet_client().await;
    next.matrix_auth().restore(session).await.unwrap();
    assert_eq!(next.matrix_auth().whoami().await.unwrap(), "@me:example.org");
    assert_eq!(setting.server.count(Endpoint::Login), 1);
}

#[tokio::test]
async fn each_call_out_of_turn_is_an_error_that_says_what_to_do() {
    let setting = Setting::new();
    let client = setting.quiet_client().await;
    let auth = client.matrix_auth();
    assert!(matches!(auth.logout().await, Err(ClientError::NotLoggedIn)));
    assert!(matches!(auth.whoami().await, Err(ClientError::NotLoggedIn)));
    assert!(matches!(client.send_queued().await, Ok(())), "nothing is queued");
    let wrong = auth.login("me", "wrong").await.unwrap_err();
    assert!(matches!(&wrong, ClientError::Http(HttpError::Refused { .. })), "{wrong}");
    let session = auth.login("me", "secret").await.unwrap();
    let again = auth.login("me", "secret").await.unwrap_err();
    assert!(again.to_string().contains("@me:example.org is logged in already"), "{again}");
    assert!(matches!(auth.restore(session).await, Err(ClientError::AlreadyLoggedIn { .. })));
    assert_eq!(setting.server.tokens().len(), 1, "the second login was not sent");
}

#[tokio::test]
async fn a_login_that_cannot_be_written_down_is_undone_on_the_server() {
    let setting = Setting::new();
    let client = setting.quiet_client().await;
    let crypto = &client.store().crypto;
    crypto.interact("drop", |c| c.execute_batch("DROP TABLE session")).await.unwrap();
    let failed = client.matrix_auth().login("me", "secret").await.unwrap_err();
    assert!(matches!(failed, ClientError::Store(StoreError::Database { .. })), "{failed}");
    assert!(!client.matrix_auth().logged_in());
    assert_eq!(setting.server.count(Endpoint::Login), 1);
    assert!(setting.server.tokens().is_empty());
}

#[tokio::test]
async fn a_client_that_cannot_be_made_says_why_and_leaves_nothing_open() {
    let setting = Setting::new();
    let url = setting.server.url();
    let file = setting.directory().join("file");
    fs::write(&file, "not a directory").unwrap();
    let refused = Client::builder(&url, &file).build().await.unwrap_err();
    assert!(refused.to_string().contains("file"), "{refused}");
    let refused = Client::builder("https://localhost", setting.directory()).build().await;
    assert!(refused.unwrap_err().to_string().contains("TLS"));
    let refused = setting.builder().connections_per_store(0).build().await.unwrap_err();
    assert!(matches!(refused, ClientError::Store(StoreError::NoConnections { .. })), "{refused}");
    assert!(setting.open_files().is_empty());
}

#[test]
fn without_a_runtime_a_client_is_neither_made_nor_closed() {
    let setting = Setting::new();
    let runtime = runtime();
    let client = runtime.block_on(setting.quiet_client());
    let mut context = Context::from_waker(Waker::noop());
    let made = pin!(setting.builder().build()).poll(&mut context);
    assert!(matches!(made, Poll::Ready(Err(ClientError::NoRuntime))));
    let closed = pin!(client.close()).poll(&mut context);
    assert!(matches!(closed, Poll::Ready(Err(ClientError::NoRuntime))));
    assert_eq!(client.store().state.connections().idle, 2, "nothing was closed");
    drop_in(runtime, client);
}

#[tokio::test]
async fn each_of_the_three_stores_is_a_database_of_its_own() {
    let setting = Setting::new();
    for generation in Generation::ALL {
        let client = setting.builder().generation(generation).build().await.unwrap();
        for (store, name) in [
            (&client.store().state, "state"),
            (&client.store().crypto, "crypto"),
            (&client.store().event_cache, "event-cache"),
        ] {
            assert!(store.database().starts_with(setting.directory().join(name)));
            assert_eq!((store.generation(), store.connections().open), (generation, 2));
        }
        client.close().await.unwrap();
    }
}

#[test]
fn a_room_and_a_timeline_keep_the_client_alive() {
    type Handle = Box<dyn Send>;
    let room = async |client: &Client| client.room(ROOM).await.unwrap().unwrap();
    for kind in ["room", "timeline", "clone", "auth", "none"] {
        let (setting, runtime) = (Setting::new(), runtime());
        let handle: Handle = runtime.block_on(async {
            let client = synced(&setting).await;
            match kind {
                "room" => Box::new(room(&client).await) as Handle,
                "timeline" => Box::new(room(&client).await.timeline(10).await.unwrap()),
                "clone" => Box::new(client.clone()),
                "auth" => Box::new(client.matrix_auth()),
                _ => Box::new(()),
            }
        });
        if kind != "none" {
            assert!(!setting.open_files().is_empty(), "a {kind} holds the client");
        }
        drop_in(runtime, handle);
        assert!(setting.open_files().is_empty(), "{kind}");
    }
}

#[test]
fn the_clients_own_tasks_keep_it_alive_until_their_runtime_goes() {
    for (tasks, hold) in [(true, 2), (false, 0)] {
        let (setting, runtime) = (Setting::new(), runtime());
        // The server does not say what it speaks: the client goes on initializing.
        setting.server.fail_always(Endpoint::Versions, Fault::never());
        let owners = runtime.block_on(async {
            let client = setting.builder().background_tasks(tasks).build().await.unwrap();
            client.matrix_auth().login("me", "secret").await.unwrap();
            if tasks {
                let asked = setting.server.until(|server| server.count(Endpoint::Versions) == 1);
                soon("the first question", asked).await;
            }
            client.background_tasks()
        });
        assert_eq!(owners, hold);
        if tasks {
            // No handle of the application is left, and everything is open.
            let databases = setting.open_files();
            let databases = databases.iter().filter(|file| file.ends_with("store.sqlite3"));
            assert_eq!(databases.count(), 3 * 2);
        }
        drop(runtime);
        assert!(setting.open_files().is_empty(), "background tasks: {tasks}");
    }
}

#[tokio::test]
async fn the_initialization_lets_the_client_go_when_the_server_has_answered() {
    let setting = Setting::new();
    setting.server.fail_next(Endpoint::Versions, Fault::status(503));
    setting.server.fail_next(Endpoint::Versions, Fault::reset_mid_body());
    let client = setting.builder().build().await.unwrap();
    client.matrix_auth().login("me", "secret").await.unwrap();
    assert_eq!(client.background_tasks(), 2);
    let only_the_queue_is_left = async {
        while client.background_tasks() > 1 {
            tokio::task::yield_now().await;
        }
    };
    soon("the end of the initialization", only_the_queue_is_left).await;
    assert_eq!(setting.server.count(Endpoint::Versions), 3);
    client.close().await.unwrap();
    assert_eq!(client.background_tasks(), 0);
}

#[test]
fn a_closed_client_has_nothing_open_and_can_be_dropped_anywhere() {
    for generation in Generation::ALL {
        let (setting, runtime) = (Setting::new(), runtime());
        setting.server.fail_always(Endpoint::Versions, Fault::never());
        let (client, room) = runtime.block_on(async {
            drop(synced(&setting).await);
            let builder = setting.builder().generation(generation).connections_per_store(8);
            let client = builder.build().await.unwrap();
            client.matrix_auth().login("me", "secret").await.unwrap();
            let room = client.room(ROOM).await.unwrap().unwrap();
            // Every caller waits for the real end.
            let callers = (0..3).map(|_| {
                let client = client.clone();
                tokio::spawn(async move { client.close().await })
            });
            for caller in callers.collect::<Vec<_>>() {
                soon("the end of the client", caller).await.unwrap().unwrap();
                assert_eq!(client.background_tasks(), 0);
                for store in ["state", "crypto", "event-cache"] {
                    let database = setting.directory().join(store).join("store.sqlite3");
                    assert!(residue(&database).unwrap().is_none(), "{store} left a log");
                }
                assert!(setting.open_files().is_empty());
            }
            assert!(matches!(client.rooms().await, Err(ClientError::Closed)));
            assert!(matches!(room.send("late").await, Err(ClientError::Closed)));
            assert!(matches!(client.matrix_auth().whoami().await, Err(ClientError::Closed)));
            client.close().await.unwrap();
            (client, room)
        });
        drop(runtime);
        // No runtime anywhere, and nothing left that needs one.
        thread::spawn(move || drop((client, room))).join().unwrap();
    }
}

#[tokio::test]
async fn closing_waits_for_work_on_a_connection_and_can_be_given_up_and_resumed() {
    let setting = Setting::new();
    let client = setting.quiet_client().await;
    let (let_go, is_let_go) = std::sync::mpsc::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let state = client.store().state.clone();
    let work = tokio::spawn(async move {
        let work = state.interact("wait with", move |_| {
            let _ = begun.send(());
            let _ = is_let_go.recv();
            Ok(())
        });
        work.await
    });
    has_begun.await.unwrap();
    let mut close = Box::pin(client.close());
    let mut context = Context::from_waker(Waker::noop());
    assert!(close.as_mut().poll(&mut context).is_pending());
    drop(close);
    drop(let_go);
    soon("the end", client.close()).await.unwrap();
    work.await.unwrap().unwrap();
    assert!(setting.open_files().is_empty());
}

#[tokio::test]
async fn a_timeline_shows_the_newest_events_and_is_read_anew_on_request() {
    let setting = Setting::new();
    for number in 1..=5 {
        setting.server.say(ROOM, "other", &format!("message {number}"));
    }
    let client = synced(&setting).await;
    let room = client.room(ROOM).await.unwrap().unwrap();
    assert_eq!((room.id(), room.name()), (ROOM, "The first room"));
    let mut timeline = room.timeline(2).await.unwrap();
    let bodies = |timeline: &mock_sdk::client::Timeline| {
        timeline.events().iter().map(|event| event.body.clone()).collect::<Vec<_>>()
    };
    assert_eq!(bodies(&timeline), ["message 4", "message 5"]);
    setting.server.say(ROOM, "other", "message 6");
    let sync = mock_sdk::sync::SyncService::new(client.clone());
    let asked = setting.server.count(Endpoint::Sync);
    sync.start().unwrap();
    soon("a sync", setting.server.until(|s| s.count(Endpoint::Sync) == asked + 2)).await;
    assert_eq!(bodies(&timeline), ["message 4", "message 5"]);
    timeline.refresh().await.unwrap();
    assert_eq!(bodies(&timeline), ["message 5", "message 6"]);
    assert!(client.room("!nowhere").await.unwrap().is_none());
    sync.stop().await;
}
