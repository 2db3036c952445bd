//! Queued messages are sent once, in order, by whichever process comes to it.

use mock_sdk::{
    client::{Client, ClientError, Room},
    homeserver::{Endpoint, Fault},
    matrix_error::ErrorCode,
    store,
};

use crate::setting::{ROOM, Setting, soon};

/// A handle of a room, whether the server knows it or not.
async fn room(client: &Client, id: &str) -> Room {
    let known = store::Room { id: id.to_owned(), name: "A room".to_owned() };
    client.store().state.save_room(known).await.unwrap();
    client.room(id).await.unwrap().unwrap()
}

/// A client that sends by itself.
async fn sending(setting: &Setting) -> Client {
    let client = setting.builder().build().await.unwrap();
    client.matrix_auth().login("me", "secret").await.unwrap();
    client
}

/// Waits until this many messages are in the outbox, whether they wait or are refused.
async fn outbox_has(client: &Client, messages: i64) {
    let reached = async {
        loop {
            let count = client.store().state.interact("count the outbox of", |connection| {
                connection.query_row("SELECT count(*) FROM outbox", [], |row| row.get::<_, i64>(0))
            });
            if count.await.unwrap() == messages {
                return;
            }
        }
    };
    soon("the outbox", reached).await;
}

#[tokio::test]
async fn what_is_queued_survives_the_client_and_the_next_one_sends_it_in_order() {
    let setting = Setting::new();
    let client = setting.quiet_client().await;
    let unsent = room(&client, ROOM).await;
    unsent.send("one").await.unwrap();
    unsent.send("two").await.unwrap();
    assert!(matches!(client.send_queued().await, Err(ClientError::NotLoggedIn)));
    client.close().await.unwrap();
    assert_eq!(setting.server.count(Endpoint::Send), 0);

    let next = sending(&setting).await;
    room(&next, ROOM).await.send("three").await.unwrap();
    assert_eq!(setting.messages(4).await, ["hello", "one", "two", "three"]);
    outbox_has(&next, 0).await;
    next.close().await.unwrap();
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_sent_again_and_taken_once() {
    let setting = Setting::new();
    setting.server.fail_next(Endpoint::Send, Fault::reset_mid_body());
    setting.server.fail_next(Endpoint::Send, Fault::malformed());
    setting.server.fail_next(Endpoint::Send, Fault::status(504).done_at_once());
    setting.server.fail_next(Endpoint::Send, Fault::code(ErrorCode::LimitExceeded));
    let client = sending(&setting).await;
    room(&client, ROOM).await.send("once").await.unwrap();
    outbox_has(&client, 0).await;
    assert_eq!(setting.server.messages(ROOM), ["hello", "once"]);
    assert_eq!(setting.server.count(Endpoint::Send), 5);
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_message_that_is_refused_for_good_is_kept_and_holds_up_nobody() {
    let setting = Setting::new();
    let client = sending(&setting).await;
    room(&client, "!no/where?:example.org").await.send("to nobody").await.unwrap();
    room(&client, ROOM).await.send("to somebody").await.unwrap();
    setting.messages(2).await;
    outbox_has(&client, 1).await;
    client.send_queued().await.unwrap();
    assert_eq!(setting.server.count(Endpoint::Send), 2, "it is not sent again");
    client.close().await.unwrap();
}
