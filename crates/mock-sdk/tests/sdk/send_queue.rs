//! What is queued is sent: once, in order, by whichever process comes to it.

use mock_sdk::{
    client::{Client, ClientError, Room},
    homeserver::{Endpoint, Fault},
    matrix_error::MatrixError,
    store,
};

use crate::setting::{ROOM, SHORT, Setting, soon};

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

async fn said(setting: &Setting, count: usize) -> Vec<String> {
    let said = setting.server.until(|server| server.messages(ROOM).len() >= count);
    soon("what was queued", said).await;
    setting.server.messages(ROOM)
}

async fn nothing_is_queued(client: &Client) {
    let emptied = async {
        while !client.outbox().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    soon("an empty outbox", emptied).await;
}

#[tokio::test]
async fn what_is_queued_is_sent_in_order_and_leaves_the_outbox() {
    let setting = Setting::new();
    let client = sending(&setting).await;
    let room = room(&client, ROOM).await;
    let bodies: Vec<_> = (0..20).map(|number| format!("message {number}")).collect();
    for body in &bodies {
        room.send(body.as_str()).await.unwrap();
    }
    assert_eq!(said(&setting, 20).await, bodies);
    nothing_is_queued(&client).await;
    client.close().await.unwrap();
}

#[tokio::test]
async fn what_is_queued_survives_the_client_and_is_sent_by_the_next() {
    let setting = Setting::new();
    let client = setting.quiet_client().await;
    let room = room(&client, ROOM).await;
    room.send("one").await.unwrap();
    room.send("two").await.unwrap();
    assert!(matches!(client.send_queued().await, Err(ClientError::NotLoggedIn)));
    client.close().await.unwrap();
    assert_eq!(setting.server.count(Endpoint::Send), 0);

    let next = sending(&setting).await;
    assert_eq!(said(&setting, 2).await, ["one", "two"]);
    nothing_is_queued(&next).await;
    next.close().await.unwrap();
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_sent_again_and_taken_once() {
    let setting = Setting::new();
    setting.server.fail_next(Endpoint::Send, Fault::reset_mid_body());
    setting.server.fail_next(Endpoint::Send, Fault::malformed());
    setting.server.fail_next(Endpoint::Send, Fault::status(504).done_at_once());
    setting.server.fail_next(Endpoint::Send, Fault::error(MatrixError::limit_exceeded(SHORT)));
    let client = sending(&setting).await;
    room(&client, ROOM).await.send("once").await.unwrap();
    nothing_is_queued(&client).await;
    assert_eq!(setting.server.messages(ROOM), ["once"]);
    assert_eq!(setting.server.count(Endpoint::Send), 5);
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_message_that_is_refused_for_good_is_kept_with_the_reason_and_holds_up_nobody() {
    let setting = Setting::new();
    let client = sending(&setting).await;
    let nowhere = room(&client, "!no/where?:example.org").await;
    let refused = nowhere.send("to nobody").await.unwrap();
    room(&client, ROOM).await.send("to somebody").await.unwrap();
    assert_eq!(said(&setting, 1).await, ["to somebody"]);
    let only_the_refused = async {
        loop {
            let outbox = client.outbox().await.unwrap();
            if outbox.len() == 1 {
                break outbox;
            }
        }
    };
    let outbox = soon("an outbox of one", only_the_refused).await;
    assert_eq!(outbox[0].number, refused);
    assert_eq!(outbox[0].refusal.as_deref(), Some("M_NOT_FOUND: Not found"));
    // It is not sent again.
    client.send_queued().await.unwrap();
    assert_eq!(setting.server.count(Endpoint::Send), 2);
    client.close().await.unwrap();
}

#[tokio::test]
async fn without_a_token_that_the_server_knows_nothing_is_lost() {
    let setting = Setting::new();
    let client = sending(&setting).await;
    setting.server.forget_token(&client.access_token().unwrap());
    let room = room(&client, ROOM).await;
    room.send("later").await.unwrap();
    soon("a try", setting.server.until(|server| server.count(Endpoint::Send) >= 1)).await;
    assert!(client.send_queued().await.unwrap_err().is_unknown_token());
    client.close().await.unwrap();
    // Here, and by the queue once for what it found and once for being told of it: no more.
    assert!(setting.server.count(Endpoint::Send) <= 3);

    let next = sending(&setting).await;
    assert_eq!(said(&setting, 1).await, ["later"]);
    next.close().await.unwrap();
}

#[tokio::test]
async fn queued_while_the_server_is_down_it_is_sent_when_it_comes_back() {
    let setting = Setting::new();
    let client = sending(&setting).await;
    setting.server.go_down();
    room(&client, ROOM).await.send("at last").await.unwrap();
    assert!(client.send_queued().await.unwrap_err().is_transient());
    setting.server.come_back().unwrap();
    assert_eq!(said(&setting, 1).await, ["at last"]);
    nothing_is_queued(&client).await;
    client.close().await.unwrap();
}
