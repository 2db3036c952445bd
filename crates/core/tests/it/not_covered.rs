//! What an answer does not cover can outlive it, or fail unseen. The report of the answer names it.
//!
//! Each test has the thing itself beside the report: the thread that is alive, the goodbye that failed.

use std::{
    future::pending,
    io::Read as _,
    panic::resume_unwind,
    sync::{Arc, mpsc},
    thread,
};

use futures::executor::block_on;
use sundown::{NotCovered, RuntimeOwner, teardown_blocking};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
};

use crate::fixtures::{PLENTY, multi_thread, on_drop};

/// A thread that is alive until it is released, and then answers.
struct Alive {
    release: mpsc::Sender<()>,
    thread: thread::JoinHandle<()>,
}

fn start_plain_thread() -> Alive {
    let (release, released) = mpsc::channel();
    let thread = thread::spawn(move || released.recv().unwrap());
    Alive { release, thread }
}

impl Alive {
    fn assert_alive(self) {
        assert!(!self.thread.is_finished());
        self.release.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

#[test]
fn a_thread_that_a_task_started_outlives_the_runtime_and_the_report_says_so() {
    let owner = RuntimeOwner::builder("starts").start().unwrap();
    let started = owner.block_on(async { start_plain_thread() }).unwrap();
    let report = owner.shutdown_blocking(PLENTY).unwrap();
    started.assert_alive();
    assert!(report.not_covered.contains(&NotCovered::PlainThreads), "{report}");
}

#[test]
fn a_thread_that_a_destructor_started_outlives_the_teardown_and_the_report_says_so() {
    let (tell, told) = mpsc::channel();
    let value = on_drop(move || tell.send(start_plain_thread()).unwrap());
    let report = teardown_blocking(value, PLENTY).unwrap();
    told.recv().unwrap().assert_alive();
    assert!(report.not_covered.contains(&NotCovered::PlainThreads), "{report}");
}

/// Spawns a task that never ends on another runtime.
fn spawn_elsewhere(elsewhere: &Runtime) {
    drop(elsewhere.spawn(pending::<()>()));
}

fn tasks(runtime: &Runtime) -> usize {
    runtime.metrics().num_alive_tasks()
}

#[test]
fn a_task_on_another_runtime_outlives_the_runtime_and_the_report_says_so() {
    let elsewhere = multi_thread();
    let owner = RuntimeOwner::builder("here").start().unwrap();
    owner.block_on(async { spawn_elsewhere(&elsewhere) }).unwrap();
    let report = owner.shutdown_blocking(PLENTY).unwrap();
    assert_eq!(tasks(&elsewhere), 1);
    assert!(report.not_covered.contains(&NotCovered::OtherRuntimes), "{report}");
}

#[test]
fn a_task_on_another_runtime_outlives_the_teardown_and_the_report_says_so() {
    let elsewhere = multi_thread();
    let handle = elsewhere.handle().clone();
    let value = on_drop(move || drop(handle.spawn(pending::<()>())));
    let report = teardown_blocking(value, PLENTY).unwrap();
    assert_eq!(tasks(&elsewhere), 1);
    assert!(report.not_covered.contains(&NotCovered::OtherRuntimes), "{report}");
}

#[test]
fn a_task_that_failed_has_ended_and_the_report_says_so() {
    let owner = RuntimeOwner::builder("fails").start().unwrap();
    let result = owner.spawn("saves", |stop| async {
        stop.await;
        Err::<(), _>("the disk is full")
    });
    let report = owner.shutdown_blocking(PLENTY).unwrap();
    assert_eq!(block_on(result.unwrap()), Ok(Err("the disk is full")));
    assert!(report.not_covered.contains(&NotCovered::Success), "{report}");
}

/// A connection that says goodbye when it is dropped, as those of databases do.
struct Connection(Option<TcpStream>);

impl Drop for Connection {
    fn drop(&mut self) {
        let mut stream = self.0.take().unwrap();
        drop(tokio::spawn(async move { stream.write_all(b"QUIT").await }));
    }
}

/// A connection, the runtime that it was made on, and the server's end.
fn connected() -> (Connection, Runtime, std::net::TcpStream) {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_io().build().unwrap();
    let (stream, server) = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (stream, listener.accept().await.unwrap().0)
    });
    let server = server.into_std().unwrap();
    server.set_nonblocking(false).unwrap();
    (Connection(Some(stream)), runtime, server)
}

#[test]
fn a_goodbye_over_a_socket_whose_runtime_is_gone_is_lost_and_the_report_says_so() {
    for runtime_is_gone in [false, true] {
        let (connection, runtime, mut server) = connected();
        let mut runtime = Some(runtime);
        if runtime_is_gone {
            drop(runtime.take());
        }
        let report = teardown_blocking(connection, PLENTY).unwrap();
        let mut heard = Vec::new();
        server.read_to_end(&mut heard).unwrap();
        assert_eq!(heard.is_empty(), runtime_is_gone, "the control hears it");
        assert!(report.not_covered.contains(&NotCovered::Success), "{report}");
    }
}

#[test]
fn a_clone_outside_outlives_the_teardown_and_the_report_says_so() {
    let clone = Arc::new(());
    let report = teardown_blocking(Arc::clone(&clone), PLENTY).unwrap();
    assert_eq!(Arc::strong_count(&clone), 1, "it was dropped, and nothing was closed");
    assert!(report.not_covered.contains(&NotCovered::Clones), "{report}");
}

/// The control: a panic of a task that was spawned through the kit is an error.
#[test]
fn a_panic_of_a_foreign_task_is_no_error_and_the_report_says_so() {
    let owner = RuntimeOwner::builder("panics").start().unwrap();
    let foreign = owner.handle().unwrap().spawn(async { resume_unwind(Box::new("unseen")) });
    assert!(owner.block_on(foreign).unwrap().unwrap_err().is_panic());
    let report = owner.shutdown_blocking(PLENTY).unwrap();
    assert!(report.not_covered.contains(&NotCovered::ForeignPanics), "{report}");

    owner.restart().unwrap();
    drop(owner.spawn("seen", |_| async { resume_unwind(Box::new("seen")) }).unwrap());
    owner.shutdown_blocking(PLENTY).unwrap_err();
}
