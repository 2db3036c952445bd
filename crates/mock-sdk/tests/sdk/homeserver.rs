//! Every endpoint and every fault, as a client meets them.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use mock_sdk::{
    client::ClientError,
    homeserver::{Endpoint, Fault, Homeserver, HomeserverError},
    http::HttpError,
    matrix_error::{ErrorCode, MatrixError},
};
use serde_json::{Value, json};

use crate::setting::{PLENTY, ROOM, SHORT, Setting, soon};

fn http(error: ClientError) -> HttpError {
    match error {
        ClientError::Http(error) => error,
        other => panic!("not an error of HTTP: {other}"),
    }
}

/// A request by hand: the status, and the body where it is JSON.
fn raw(server: &Homeserver, request: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PLENTY)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn request(first_line: &str, headers: &str, body: &str) -> String {
    format!(
        "{first_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn every_endpoint_answers_over_http() {
    let setting = Setting::new();
    let server = &setting.server;
    let versions = raw(server, &request("GET /_matrix/client/versions", "", ""));
    assert_eq!(versions, (200, json!({ "versions": ["v1.11"] })));

    let client = setting.logged_in().await;
    let token = client.access_token().unwrap();
    assert_eq!(server.tokens(), [token.as_str()]);
    assert_eq!(client.matrix_auth().whoami().await.unwrap(), "@me:example.org");

    let bearer = format!("Authorization: Bearer {token}\r\n");
    let path = "/_matrix/client/v3/rooms/!a:example.org/send/m.room.message/1";
    let send = request(&format!("PUT {path}"), &bearer, r#"{"body":"hello"}"#);
    assert_eq!(raw(server, &send), (200, json!({ "event_id": "$1" })));
    assert_eq!(raw(server, &send), (200, json!({ "event_id": "$1" })), "a repetition is the same");
    assert_eq!(server.messages(ROOM), ["hello"]);

    let (status, news) = raw(server, &request("GET /_matrix/client/v3/sync", &bearer, ""));
    assert_eq!((status, news["next_batch"].as_str()), (200, Some("2")));
    let room = &news["rooms"]["join"][ROOM];
    assert_eq!(room["state"]["events"][0]["content"]["name"], "The first room");
    assert_eq!(room["timeline"]["events"][0]["content"]["body"], "hello");

    client.matrix_auth().logout().await.unwrap();
    assert!(server.tokens().is_empty());
    let unknown = raw(server, &request("POST /_matrix/client/v3/logout", &bearer, "{}"));
    assert_eq!((unknown.0, unknown.1["errcode"].as_str()), (401, Some("M_UNKNOWN_TOKEN")));

    let asked: Vec<_> = server.seen().into_iter().map(|seen| seen.endpoint).collect();
    use Endpoint::{Login, Logout, Send, Sync, Versions, Whoami};
    assert_eq!(asked, [Versions, Login, Whoami, Send, Send, Sync, Logout, Logout]);
    assert_eq!(server.seen().last().unwrap().token, Some(token));
}

#[test]
fn a_bad_request_is_answered_with_the_error_that_matrix_has_for_it() {
    let setting = Setting::new();
    let login = "POST /_matrix/client/v3/login";
    let stranger = "Authorization: Bearer nobody\r\n";
    let long = "x".repeat((1 << 20) + 1);
    let wrong = r#"{"type":"m.login.password","identifier":{"user":"me"},"password":"no"}"#;
    for (first_line, headers, body, status, code) in [
        (login, "", "{", 400, "M_NOT_JSON"),
        (login, "", "{}", 400, "M_BAD_JSON"),
        (login, "", wrong, 403, "M_FORBIDDEN"),
        (login, "", &long, 413, "M_TOO_LARGE"),
        ("GET /_matrix/client/v3/login", "", "", 404, "M_UNRECOGNIZED"),
        ("GET /", "", "", 404, "M_UNRECOGNIZED"),
        ("GET /_matrix/client/v3/account/whoami", "", "", 401, "M_MISSING_TOKEN"),
        ("GET /_matrix/client/v3/account/whoami", stranger, "", 401, "M_UNKNOWN_TOKEN"),
        ("GET /_matrix/client/v3/sync?timeout=60000", stranger, "", 401, "M_UNKNOWN_TOKEN"),
        ("GET /_matrix/client/v3/sync?since=yesterday", stranger, "", 400, "M_UNKNOWN_POS"),
        ("POST /_matrix/client/v3/logout", "", "{}", 401, "M_MISSING_TOKEN"),
    ] {
        let (answered, error) = raw(&setting.server, &request(first_line, headers, body));
        assert_eq!(
            (answered, error["errcode"].as_str()),
            (status, Some(code)),
            "{first_line} {headers}: {error}"
        );
    }
}

#[tokio::test]
async fn an_error_reaches_the_client_with_all_that_the_server_said() {
    let setting = Setting::new();
    let client = setting.logged_in().await;
    let wait = Duration::from_millis(2_500);
    setting.server.fail_next(Endpoint::Logout, Fault::error(MatrixError::limit_exceeded(wait)));
    let limited = http(client.matrix_auth().logout().await.unwrap_err());
    assert_eq!(limited.refusal(), Some(&MatrixError::limit_exceeded(wait)));
    assert!(limited.is_transient() && !limited.is_in_doubt() && !limited.is_unknown_token());
    assert!(client.matrix_auth().logged_in(), "nothing was done");

    setting.server.fail_next(Endpoint::Logout, Fault::code(ErrorCode::UnknownToken));
    let unknown = http(client.matrix_auth().logout().await.unwrap_err());
    assert!(unknown.is_unknown_token() && !unknown.is_transient() && !unknown.is_in_doubt());

    setting.server.fail_next(Endpoint::Logout, Fault::status(502));
    let proxy = http(client.matrix_auth().logout().await.unwrap_err());
    assert!(matches!(proxy, HttpError::Status { status: 502, .. }), "{proxy}");
    assert!(proxy.is_transient() && proxy.is_in_doubt());

    client.matrix_auth().logout().await.unwrap();
}

#[tokio::test]
async fn an_answer_that_is_lost_leaves_a_doubt_that_whoami_resolves() {
    for (fault, answered, done) in [
        (Fault::malformed(), true, true),
        (Fault::malformed().not_done(), true, false),
        (Fault::reset_mid_body(), true, true),
        (Fault::reset_mid_body().not_done(), true, false),
        (Fault::status(504).done_at_once(), true, true),
        (Fault::status(504), true, false),
        (Fault::never().done_at_once(), false, true),
        (Fault::never(), false, false),
        (Fault::delay(PLENTY).done_at_once(), false, true),
        (Fault::delay(PLENTY), false, false),
    ] {
        let setting = Setting::new();
        let client = setting.logged_in().await;
        let auth = client.matrix_auth();
        setting.server.fail_next(Endpoint::Logout, fault.clone());
        if answered {
            let error = http(soon("an answer", auth.logout()).await.unwrap_err());
            assert!(error.is_in_doubt(), "{fault:?}: {error}");
        } else {
            // The client gives up as soon as the server has seen the request.
            tokio::select! {
                answer = auth.logout() => panic!("{fault:?}: {answer:?}"),
                () = setting.server.until(|server| server.count(Endpoint::Logout) == 1) => {}
            }
        }
        assert!(auth.logged_in(), "the client knows nothing, {fault:?}");
        if done {
            soon("the logout", setting.server.until(|server| server.tokens().is_empty())).await;
            assert!(auth.whoami().await.unwrap_err().is_unknown_token(), "{fault:?}");
        } else {
            assert_eq!(auth.whoami().await.unwrap(), "@me:example.org", "{fault:?}");
        }
    }
}

#[tokio::test]
async fn each_lost_answer_is_an_error_of_its_own() {
    let setting = Setting::new();
    let client =
        setting.builder().background_tasks(false).request_limit(SHORT * 10).build().await.unwrap();
    client.matrix_auth().login("me", "secret").await.unwrap();
    let whoami = async |fault: Fault| {
        setting.server.fail_next(Endpoint::Whoami, fault);
        http(client.matrix_auth().whoami().await.unwrap_err())
    };
    let malformed = whoami(Fault::malformed()).await;
    assert!(matches!(malformed, HttpError::Malformed { status: 200, .. }), "{malformed}");
    let reset = whoami(Fault::reset_mid_body()).await;
    assert!(matches!(reset, HttpError::Reset { .. }), "{reset}");
    let never = whoami(Fault::never()).await;
    assert!(matches!(never, HttpError::TimedOut { sent: true, .. }), "{never}");
    let message = never.to_string();
    assert!(message.contains("GET /_matrix/client/v3/account/whoami"), "{message}");
    assert!(message.contains("may have been carried out"), "{message}");
    let delayed = whoami(Fault::code(ErrorCode::Forbidden).delayed(PLENTY)).await;
    assert!(matches!(delayed, HttpError::TimedOut { sent: true, .. }), "{delayed}");
}

#[tokio::test]
async fn half_of_an_answer_arrives_before_the_reset() {
    let setting = Setting::new();
    setting.server.fail_next(Endpoint::Versions, Fault::reset_mid_body());
    let mut stream = TcpStream::connect(setting.server.address()).unwrap();
    stream.set_read_timeout(Some(PLENTY)).unwrap();
    stream.write_all(request("GET /_matrix/client/versions", "", "").as_bytes()).unwrap();
    let (mut read, mut bytes) = (0, [0; 4096]);
    let end = loop {
        match stream.read(&mut bytes[read..]) {
            Ok(0) => break None,
            Ok(more) => read += more,
            Err(error) => break Some(error.kind()),
        }
    };
    assert_eq!(end, Some(std::io::ErrorKind::ConnectionReset));
    let answer = String::from_utf8_lossy(&bytes[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with(r#"{"versions""#), "half of the body: {answer}");
}

#[tokio::test]
async fn what_was_asked_is_done_also_after_the_client_gave_up() {
    let setting = Setting::new();
    let client = setting.logged_in().await;
    let auth = client.matrix_auth();
    setting.server.fail_next(Endpoint::Logout, Fault::delay(SHORT));
    {
        let mut logout = Box::pin(auth.logout());
        tokio::select! {
            answered = &mut logout => panic!("answered at once: {answered:?}"),
            () = setting.server.until(|server| server.count(Endpoint::Logout) == 1) => {}
        }
        drop(logout);
    }
    soon("the logout is done", setting.server.until(|server| server.tokens().is_empty())).await;
}

#[tokio::test]
async fn queued_faults_come_in_turn_and_before_the_standing_one_until_it_is_healed() {
    let setting = Setting::new();
    let client = setting.logged_in().await;
    setting.server.fail_always(Endpoint::Whoami, Fault::status(503));
    setting.server.fail_next(Endpoint::Whoami, Fault::status(501));
    setting.server.fail_next(Endpoint::Whoami, Fault::status(502));
    for expected in [501, 502, 503, 503] {
        let error = http(client.matrix_auth().whoami().await.unwrap_err());
        assert!(matches!(error, HttpError::Status { status, .. } if status == expected), "{error}");
    }
    setting.server.heal();
    client.matrix_auth().whoami().await.unwrap();
    let error = MatrixError { status: 7, ..MatrixError::usual(ErrorCode::Unknown) };
    setting.server.fail_next(Endpoint::Whoami, Fault::error(error));
    let error = http(client.matrix_auth().whoami().await.unwrap_err());
    assert_eq!(error.refusal().unwrap().status, 500, "7 is no status");
}

#[tokio::test]
async fn a_server_that_is_down_refuses_and_comes_back_on_the_same_port_with_all_it_knew() {
    let setting = Setting::new();
    let client = setting.logged_in().await;
    let auth = client.matrix_auth();
    // A request that is under way when the server goes down is cut off.
    setting.server.fail_next(Endpoint::Whoami, Fault::never());
    let (cut_off, ()) = tokio::join!(auth.whoami(), async {
        setting.server.until(|server| server.count(Endpoint::Whoami) == 1).await;
        setting.server.go_down();
    });
    let cut_off = http(cut_off.unwrap_err());
    assert!(matches!(cut_off, HttpError::Reset { .. }), "{cut_off}");
    for _ in 0..3 {
        let refused = http(auth.whoami().await.unwrap_err());
        assert!(matches!(refused, HttpError::Unreachable { .. }), "{refused}");
        assert!(refused.is_transient() && !refused.is_in_doubt());
    }
    // Nobody else is given the port meanwhile.
    assert!(TcpListener::bind(setting.server.address()).is_err());
    setting.server.go_down();
    setting.server.come_back().unwrap();
    setting.server.come_back().unwrap();
    assert_eq!(auth.whoami().await.unwrap(), "@me:example.org");
}

#[test]
fn an_address_that_is_taken_is_refused_and_named() {
    let server = Homeserver::start().unwrap();
    let error = Homeserver::start_on(server.address()).unwrap_err();
    assert!(matches!(error, HomeserverError::Address { .. }), "{error}");
    assert!(error.to_string().contains(&server.address().to_string()), "{error}");
    let other = Homeserver::start().unwrap();
    assert_ne!(server.address(), other.address());
}

#[test]
fn a_server_that_was_stopped_has_left_its_thread_and_its_port() {
    let server = Homeserver::start().unwrap();
    let address = server.address();
    // With a request that would never be answered.
    server.fail_always(Endpoint::Versions, Fault::never());
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PLENTY)).unwrap();
    stream.write_all(request("GET /_matrix/client/versions", "", "").as_bytes()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(server.until(|server| server.count(Endpoint::Versions) == 1));
    server.stop();
    // The connection has ended one way or the other, and the port is free again.
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    assert!(TcpStream::connect(address).is_err());
    drop(TcpListener::bind(address).unwrap());
}

#[test]
fn many_clients_at_once_are_all_answered() {
    let server = Homeserver::start().unwrap();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..25 {
                    let versions = request("GET /_matrix/client/versions", "", "");
                    assert_eq!(raw(&server, &versions).0, 200);
                }
            });
        }
    });
    assert_eq!(server.count(Endpoint::Versions), 200);
}
