//! The homeserver as a process of its own.

use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use mock_sdk::client::Client;

use crate::setting::ROOM;

fn homeserver() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homeserver"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[tokio::test]
async fn a_homeserver_in_a_process_of_its_own_ends_with_its_standard_input() {
    let arguments = ["--user", "me:secret", "--room", &format!("{ROOM}=The first room")];
    let mut child = homeserver().args(arguments).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();

    let directory = tempfile::tempdir().unwrap();
    let client = Client::builder(url.trim(), directory.path()).build().await.unwrap();
    client.matrix_auth().login("me", "secret").await.unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(client.matrix_auth().whoami().await.is_err());
    client.close().await.unwrap();
}

#[test]
fn bad_usage_is_told_apart_from_a_failure() {
    let code = |arguments: &[&str]| {
        let output = homeserver().args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (usage, message) = code(&["--user", "nobody"]);
    assert_eq!(usage, Some(2));
    assert!(message.contains("nobody"), "{message}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (failure, message) = code(&["--address", &address]);
    assert_eq!(failure, Some(1));
    assert!(message.contains(&address), "{message}");
}
