//! What keeps a client alive, and what ends it.

use std::{
    pin::pin,
    sync::mpsc,
    task::{Context, Poll, Waker},
    thread,
};

use mock_sdk::{
    client::{Client, ClientError},
    homeserver::{Endpoint, Fault},
    store::{Generation, residue},
};
use tokio::runtime::Runtime;

use crate::setting::{ROOM, Setting, runtime, soon};

/// Drops a value where connections can be closed, and waits until they are.
fn drop_in(runtime: Runtime, last_owner: impl Sized) {
    runtime.block_on(async { drop(last_owner) });
    drop(runtime);
}

#[test]
fn a_room_and_a_timeline_keep_the_client_alive() {
    type Handle = Box<dyn Send>;
    for kind in ["room", "timeline", "auth", "store", "none"] {
        let (setting, runtime) = (Setting::new(), runtime());
        let handle: Handle = runtime.block_on(async {
            let (client, sync) = setting.synced().await;
            sync.stop().await;
            let room = client.room(ROOM).await.unwrap().unwrap();
            match kind {
                "room" => Box::new(room) as Handle,
                "timeline" => Box::new(room.timeline(10).await.unwrap()),
                "auth" => Box::new(client.matrix_auth()),
                "store" => Box::new(client.store().clone()),
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
    for (tasks, owners) in [(true, 2), (false, 0)] {
        let (setting, runtime) = (Setting::new(), runtime());
        // The server does not say which versions it speaks: the client goes on initializing.
        setting.server.fail_always(Endpoint::Versions, Fault::never());
        runtime.block_on(async {
            let client = setting.builder().background_tasks(tasks).build().await.unwrap();
            client.matrix_auth().login("me", "secret").await.unwrap();
            assert_eq!(client.background_tasks(), owners);
        });
        if tasks {
            // No handle of the application is left, and everything is open.
            let files = setting.open_files();
            let databases = files.iter().filter(|file| file.ends_with("store.sqlite3"));
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
            let (synced, sync) = setting.synced().await;
            sync.stop().await;
            synced.close().await.unwrap();
            // Closed side by side, this many connections leave a log behind most of the time.
            let builder = setting.builder().generation(generation).connections_per_store(64);
            let client = builder.build().await.unwrap();
            client.matrix_auth().login("me", "secret").await.unwrap();
            let room = client.room(ROOM).await.unwrap().unwrap();
            // Every caller waits for the real end.
            let callers: Vec<_> = (0..3)
                .map(|_| {
                    let client = client.clone();
                    tokio::spawn(async move { client.close().await })
                })
                .collect();
            for caller in callers {
                soon("the end of the client", caller).await.unwrap().unwrap();
                assert_eq!(client.background_tasks(), 0);
                for store in ["state", "crypto", "event-cache"] {
                    let database = setting.directory().join(store).join("store.sqlite3");
                    assert!(residue(&database).unwrap().is_none(), "{store} left a log");
                }
                assert!(setting.open_files().is_empty());
            }
            assert!(matches!(client.room(ROOM).await, Err(ClientError::Closed)));
            assert!(matches!(room.send("late").await, Err(ClientError::Closed)));
            assert!(matches!(client.matrix_auth().logout().await, Err(ClientError::Closed)));
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
    let (let_go, is_let_go) = mpsc::channel::<()>();
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
    {
        let close = pin!(client.close());
        assert!(close.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    drop(let_go);
    soon("the end", client.close()).await.unwrap();
    work.await.unwrap().unwrap();
    assert!(setting.open_files().is_empty());
}

#[test]
fn without_a_runtime_a_client_is_neither_made_nor_closed() {
    let (setting, runtime) = (Setting::new(), runtime());
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
async fn each_call_out_of_turn_is_an_error_that_says_what_to_do() {
    let setting = Setting::new();
    let client = setting.quiet_client().await;
    let auth = client.matrix_auth();
    assert!(matches!(auth.logout().await, Err(ClientError::NotLoggedIn)));
    assert!(auth.login("me", "wrong").await.unwrap_err().to_string().contains("M_FORBIDDEN"));
    let session = auth.login("me", "secret").await.unwrap();
    let again = auth.login("me", "secret").await.unwrap_err();
    assert!(again.to_string().contains("`@me:example.org` is logged in already"), "{again}");
    assert!(matches!(auth.restore(session).await, Err(ClientError::AlreadyLoggedIn { .. })));
    assert_eq!(setting.server.logins(), 1, "the second login was not sent");
    for url in ["https://localhost:1", "localhost:1", "http://", ""] {
        let refused = Client::builder(url, setting.directory()).build().await.unwrap_err();
        assert!(matches!(refused, ClientError::Url { .. }), "{url}: {refused}");
    }
}
