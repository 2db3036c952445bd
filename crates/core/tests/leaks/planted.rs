//! Tests that leave something behind. Each is found, under `cargo test` and under nextest, and named.

use std::{
    fs::File,
    future::pending,
    mem::forget,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixListener,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use sundown::group::TaskGroup;
use tokio::runtime::Builder;

use crate::{NEXTEST, run};

/// The tests, and what the failure must say of what they leave.
const PLANTED: [(&str, &[&str]); 17] = [
    ("task", &["task `leaks::planted::task`: alive on the test's runtime"]),
    ("task_of_a_worker", &["task `leaks::planted::task_of_a_worker`"]),
    ("task_of_a_group", &["task `leaks::planted::task_of_a_group"]),
    ("task_of_a_function", &["task `leaks::planted::waits_for_ever`"]),
    (
        "thread",
        &["thread `indexer` (", "runs `leaks::planted::index`", "is in `leaks::planted::receive`"],
    ),
    ("thread_without_a_name", &["thread `", "runs `leaks::planted::receive`"]),
    ("blocking_work", &["thread `", "is in `leaks::planted::receive`"]),
    ("runtime", &["a worker of a Tokio runtime", "descriptor `anon_inode:[eventpoll]`"]),
    ("file", &["descriptor `/proc/version` (descriptor ", "a file"]),
    ("pipe", &["descriptor `pipe:[", "an end of a pipe"]),
    ("listener", &["socket `127.0.0.1:", " to 0.0.0.0:0` (descriptor "]),
    ("connection", &["socket `127.0.0.1:", " to 127.0.0.1:"]),
    ("datagrams", &["socket `127.0.0.1:", " to 0.0.0.0:0` (descriptor "]),
    ("unix_listener", &["socket `Unix socket ", "sundown-planted-"]),
    ("process", &["process `sleep 61` (", "still runs"]),
    ("process_of_a_child", &["process `sleep 62` (", "still runs"]),
    ("in_a_plain_test", &["thread `", "runs `leaks::planted::receive`"]),
];

#[test]
fn each_is_found_and_named() {
    let miss = |(test, expected): (&str, &[&str]), environment: &[_]| {
        let (output, said) = run(&format!("planted::{test}"), environment);
        let is_named = expected.iter().all(|text| said.contains(text));
        let is_found = !output.status.success() && said.contains("the test left behind");
        let missed = || format!("{test}, {environment:?}, expected {expected:?}:\n{said}");
        (!(is_found && is_named)).then(missed)
    };
    // Side by side: most of the time they wait for something to end that does not.
    let missed: Vec<_> = thread::scope(|scope| {
        let all = PLANTED.iter().flat_map(|planted| [&[][..], &NEXTEST].map(|it| (*planted, it)));
        let running: Vec<_> =
            all.map(|(planted, it)| scope.spawn(move || miss(planted, it))).collect();
        running.into_iter().filter_map(|it| it.join().unwrap()).collect()
    });
    let all = 2 * PLANTED.len();
    println!("{} of {all} found and named", all - missed.len());
    assert!(missed.is_empty(), "{} of {all} missed:\n{}", missed.len(), missed.join("\n"));
}

#[ignore = "leaves a task behind"]
#[sundown::test]
async fn task() {
    tokio::spawn(async { pending::<()>().await });
}

#[ignore = "leaves a task behind"]
#[sundown::test(flavor = "multi_thread", worker_threads = 2)]
async fn task_of_a_worker() {
    tokio::spawn(async {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[ignore = "leaves a task behind"]
#[sundown::test]
async fn task_of_a_group() {
    let group = TaskGroup::new("forgotten");
    group.spawn("member", |_| async { pending::<()>().await }).unwrap();
    forget(group);
}

async fn waits_for_ever() {
    pending::<()>().await;
}

#[ignore = "leaves a task behind"]
#[sundown::test]
async fn task_of_a_function() {
    tokio::spawn(waits_for_ever());
}

fn receive() {
    let (sender, receiver) = mpsc::channel::<()>();
    forget(sender);
    let _ = receiver.recv();
}

fn index() {
    receive();
}

#[ignore = "leaves a thread behind"]
#[sundown::test]
fn thread() {
    thread::Builder::new().name("indexer".to_owned()).spawn(index).unwrap();
}

#[ignore = "leaves a thread behind"]
#[sundown::test]
async fn thread_without_a_name() {
    thread::spawn(receive);
}

#[ignore = "leaves a thread behind"]
#[sundown::test]
async fn blocking_work() {
    #[allow(clippy::redundant_closure, reason = "the report names the closure, and where it is")]
    tokio::task::spawn_blocking(|| receive());
}

#[ignore = "leaves a runtime behind"]
#[sundown::test]
fn runtime() {
    forget(Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());
}

#[ignore = "leaves a descriptor behind"]
#[sundown::test]
async fn file() {
    forget(File::open("/proc/version").unwrap());
}

#[ignore = "leaves a descriptor behind"]
#[sundown::test]
fn pipe() {
    let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    forget(child.stdout.take());
    child.wait().unwrap();
}

#[ignore = "leaves a socket behind"]
#[sundown::test]
fn listener() {
    forget(TcpListener::bind("127.0.0.1:0").unwrap());
}

#[ignore = "leaves a socket behind"]
#[sundown::test]
async fn connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    forget(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    // As long as this is open, so is the connection.
    forget(listener);
}

#[ignore = "leaves a socket behind"]
#[sundown::test]
fn datagrams() {
    forget(UdpSocket::bind("127.0.0.1:0").unwrap());
}

#[ignore = "leaves a socket behind"]
#[sundown::test]
fn unix_listener() {
    let folder = tempfile::Builder::new().prefix("sundown-planted-").tempdir().unwrap();
    forget(UnixListener::bind(folder.path().join("socket")).unwrap());
}

/// A process that keeps no pipe of this one open: whoever reads that would wait for its end.
fn quiet(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[ignore = "leaves a process behind"]
#[sundown::test]
fn process() {
    forget(quiet("sleep", &["61"]).spawn().unwrap());
}

#[ignore = "leaves a process behind"]
#[sundown::test]
fn process_of_a_child() {
    let child = quiet("sh", &["-c", "sleep 62 & exit 0"]).status().unwrap();
    assert!(child.success());
}

#[ignore = "leaves a thread behind"]
#[test]
fn in_a_plain_test() {
    sundown::testing::leak_free(sundown::testing::Options::new(), || {
        thread::spawn(receive);
    });
}
