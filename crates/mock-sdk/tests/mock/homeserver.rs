//! The homeserver and its faults, as a client meets them.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use futures::future::join_all;
use mock_sdk::{
    client::{Client, ClientError},
    homeserver::{Endpoint, Fault},
    http::{HttpError, HttpErrorKind},
    matrix_error::ErrorCode,
};

use crate::setting::{PLENTY, SHORT, Setting, soon};

async fn log_out(client: &Client) -> Result<(), HttpError> {
    match soon("an answer", client.matrix_auth().logout()).await {
        Ok(()) => Ok(()),
        Err(ClientError::Http(error)) => Err(error),
        Err(other) => panic!("not an error of HTTP: {other}"),
    }
}

#[tokio::test]
async fn every_fault_is_answered_and_done_as_it_says() {
    type Expected = fn(&HttpErrorKind) -> bool;
    let unanswered: Expected = |kind| matches!(kind, HttpErrorKind::Unanswered(_));
    let malformed: Expected = |kind| matches!(kind, HttpErrorKind::Malformed { status: 200, .. });
    let status: Expected = |kind| matches!(kind, HttpErrorKind::Status(504));
    let refused: Expected = |kind| matches!(kind, HttpErrorKind::Refused(e) if e.status == 429);
    let faults = [
        (Fault::malformed(), malformed, true),
        (Fault::reset_mid_body(), unanswered, true),
        (Fault::status(504), status, false),
        (Fault::status(504).done_at_once(), status, true),
        (Fault::code(ErrorCode::LimitExceeded), refused, false),
        (Fault::never(), unanswered, false),
        (Fault::never().done_at_once(), unanswered, true),
        (Fault::delay(PLENTY), unanswered, false),
        (Fault::delay(PLENTY).done_at_once(), unanswered, true),
        // Long after the limit, so that a client that a busy machine wakes late does not find the answer.
        (Fault::delay(SHORT * 40), unanswered, true),
    ];
    // Side by side: most of them wait for a limit.
    join_all(faults.map(|(fault, expected, done)| async move {
        let setting = Setting::new();
        let builder = setting.builder().background_tasks(false).request_limit(SHORT * 20);
        let client = builder.build().await.unwrap();
        client.matrix_auth().login("me", "secret").await.unwrap();
        setting.server.fail_next(Endpoint::Logout, fault.clone());
        let error = log_out(&client).await.unwrap_err();
        assert!(expected(&error.kind), "{fault:?}: {error}");
        assert!(error.to_string().contains("POST /_matrix/client/v3/logout"), "{error}");
        assert!(client.matrix_auth().logged_in(), "the client knows nothing: {fault:?}");
        if done {
            soon("the logout", setting.server.until(|server| server.logins() == 0)).await;
        }
        assert_eq!(setting.server.logins() == 0, done, "{fault:?}");
        let again = log_out(&client).await;
        assert_eq!(again.is_err_and(|error| error.is_unknown_token()), done, "{fault:?}");
    }))
    .await;
}

#[tokio::test]
async fn queued_faults_come_in_turn_and_before_the_standing_one_until_it_is_healed() {
    let setting = Setting::new();
    let client = setting.logged_in().await;
    setting.server.fail_always(Endpoint::Logout, Fault::status(503));
    setting.server.fail_next(Endpoint::Logout, Fault::status(501));
    setting.server.fail_next(Endpoint::Logout, Fault::status(502));
    for expected in [501, 502, 503, 503] {
        let error = log_out(&client).await.unwrap_err();
        let is_expected = matches!(error.kind, HttpErrorKind::Status(status) if status == expected);
        assert!(is_expected, "{error}");
    }
    setting.server.heal();
    log_out(&client).await.unwrap();
    assert_eq!(setting.server.count(Endpoint::Logout), 5);
}

#[tokio::test]
async fn a_server_that_is_down_refuses_and_comes_back_on_the_same_port_with_all_it_knew() {
    let setting = Setting::new();
    let client = setting.logged_in().await;
    // A request in flight is cut off when the server goes down.
    setting.server.fail_next(Endpoint::Logout, Fault::never());
    let (cut_off, ()) = tokio::join!(log_out(&client), async {
        setting.server.until(|server| server.count(Endpoint::Logout) == 1).await;
        setting.server.go_down();
    });
    assert!(matches!(cut_off.unwrap_err().kind, HttpErrorKind::Unanswered(_)));
    let refused = log_out(&client).await.unwrap_err();
    assert!(matches!(refused.kind, HttpErrorKind::NotSent(_)), "{refused}");
    // Nobody else gets the port meanwhile.
    let url = setting.server.url();
    let address = url.strip_prefix("http://").unwrap();
    assert!(TcpListener::bind(address).is_err());
    setting.server.go_down();
    setting.server.come_back().unwrap();
    setting.server.come_back().unwrap();
    log_out(&client).await.unwrap();
}

#[tokio::test]
async fn a_stopped_server_has_left_its_thread_and_its_port() {
    let Setting { server, .. } = Setting::new();
    let url = server.url();
    let address = url.strip_prefix("http://").unwrap();
    // A request that would never be answered.
    server.fail_always(Endpoint::Versions, Fault::never());
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(b"GET /_matrix/client/versions HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    soon("the request", server.until(|server| server.count(Endpoint::Versions) == 1)).await;
    server.stop();
    // The connection has ended one way or the other, and the port is free again.
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    drop(TcpListener::bind(address).unwrap());
}
