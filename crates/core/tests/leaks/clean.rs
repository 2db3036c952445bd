//! Tests that leave nothing behind, and of which nothing is said. They run side by side with each other and with those
//! that leave something.

use std::{
    cell::RefCell,
    fs::{self, File},
    io,
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use sundown::{
    Session,
    group::TaskGroup,
    runtime::RuntimeOwner,
    testing::{self, Kind, Options},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[sundown::test]
fn nothing_at_all() {}

#[sundown::test]
async fn nothing_in_a_runtime() {}

/// What the others cost is measured against this.
#[tokio::test]
async fn a_plain_test() {}

#[sundown::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_end() {
    let tasks: Vec<_> = (0..8).map(|_| tokio::spawn(tokio::task::yield_now())).collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// An abort takes effect only when the task is polled next.
#[sundown::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_were_aborted_a_moment_ago() {
    for _ in 0..8 {
        tokio::spawn(std::future::pending::<()>()).abort();
    }
}

#[sundown::test]
async fn a_task_that_was_aborted_a_moment_ago() {
    tokio::spawn(std::future::pending::<()>()).abort();
}

// ANCHOR: connection
#[sundown::test]
async fn a_connection() -> io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await?;
        connection.write_all(b"hello").await
    });
    let mut text = String::new();
    tokio::net::TcpStream::connect(address).await?.read_to_string(&mut text).await?;
    assert_eq!(text, "hello");
    server.await?
}
// ANCHOR_END: connection

#[sundown::test]
fn threads_that_are_joined_and_one_that_ends_by_itself() {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || receiver.recv());
    thread::spawn(move || sender.send(()).unwrap()).join().unwrap();
}

#[sundown::test]
async fn blocking_work() {
    tokio::task::spawn_blocking(|| ()).await.unwrap();
}

/// The parts of Tokio for signals and for child processes stay for as long as the process does.
#[sundown::test]
async fn a_child_process_and_a_signal() -> io::Result<()> {
    let _signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
    assert!(tokio::process::Command::new("true").status().await?.success());
    Ok(())
}

#[sundown::test]
fn a_child_that_leaves_one_behind_which_ends() -> io::Result<()> {
    let child =
        Command::new("sh").args(["-c", "sleep 0.02 & exit 0"]).stdout(Stdio::null()).status()?;
    assert!(child.success());
    Ok(())
}

/// It is dropped when the thread of the test ends.
#[sundown::test]
fn a_socket_in_a_thread_local() -> io::Result<()> {
    thread_local!(static SOCKET: RefCell<Option<TcpStream>> = const { RefCell::new(None) });
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let stream = TcpStream::connect(listener.local_addr()?)?;
    SOCKET.set(Some(stream));
    Ok(())
}

#[sundown::test]
async fn what_the_kit_has_closed() -> Result<(), Box<dyn std::error::Error>> {
    let group = TaskGroup::new("group");
    group.spawn("member", |stop| stop)?;
    let session = Session::new("session")?;
    drop(session.guard(7)?);
    let _ = session.close(Duration::from_secs(60)).await?;
    let _ = group.drain(Duration::from_secs(60)).await.into_result()?;
    let owner = RuntimeOwner::builder("owner").workers(1).start()?;
    let _ = owner.shutdown(None).await?;
    Ok(())
}

#[sundown::test(allow(thread = "kept-", reason = "it is what this test shows"))]
fn a_thread_that_is_allowed() {
    thread::Builder::new().name("kept-1".to_owned()).spawn(thread::park).unwrap();
}

/// The kernel keeps 15 bytes of it.
#[sundown::test(allow(thread = "kept-for-ever-and-longer", reason = "it is what this test shows"))]
fn a_thread_with_a_long_name_that_is_allowed() {
    let thread = thread::Builder::new().name("kept-for-ever-and-longer".to_owned());
    thread.spawn(thread::park).unwrap();
}

#[sundown::test]
#[should_panic(expected = "as it should")]
fn a_test_that_should_panic() {
    panic!("as it should");
}

#[test]
fn a_log_that_is_renamed_while_it_is_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (log, rotated) = (File::create(&path).unwrap(), folder.path().join("log.1"));
    testing::leak_free(Options::new(), || fs::rename(&path, &rotated).unwrap());
    drop(log);
}

#[test]
fn what_a_plain_test_has_allowed() {
    let allowed = Options::new().allow(Kind::Socket, "127.0.0.1", "it is what this test shows");
    testing::leak_free(allowed, || {
        std::mem::forget(TcpListener::bind("127.0.0.1:0").unwrap());
    });
}

#[tokio::test]
async fn a_body_in_a_test_with_a_runtime() {
    testing::leak_free(Options::new(), || {});
}
