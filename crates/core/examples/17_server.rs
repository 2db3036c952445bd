//! A server on a runtime of its own, whose connections are foreign tasks.
//!
//! A server such as axum's calls `tokio::spawn` for each connection. The kit did not spawn these tasks, so
//! they are *foreign*: a drain of the group counts them, and neither stops them nor waits for them. The end
//! of the runtime does: it gives them a time to end by themselves (`foreign_time`), cuts off what is left,
//! and counts that. (With axum, also pass the group's signal on:
//! `axum::serve(…).with_graceful_shutdown(group.stop_signal())`.)
//!
//! ```text
//! service: 1 task ended, 2 connections go on
//! the first visitor hangs up: its connection ends by itself
//! runtime: 1 connection cut off, AtRest
//! the second visitor: the connection was closed
//! ```

use std::{
    error::Error,
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr},
    time::Duration,
};

use sundown::{RuntimeOwner, Stop, TaskGroup};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// How long a supervisor would wait.
const LIMIT: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    // One thread polls everything, so that no task is polled while the runtime goes down.
    let runtime = RuntimeOwner::builder("server").current_thread();
    let runtime = runtime.foreign_time(Duration::from_millis(300)).start()?;
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))??;
    let address = listener.local_addr()?;

    let service = TaskGroup::new("service");
    service.spawn_on(&runtime.handle()?, "listener", |stop| serve(listener, stop))?;
    let (mut first, mut second) = (visit(address)?, visit(address)?);

    let report = service.drain_blocking(LIMIT);
    println!("service: {} task ended, {} connections go on", report.ended, report.foreign);

    first.shutdown(Shutdown::Write)?;
    assert_eq!(first.read(&mut [0])?, 0);
    println!("the first visitor hangs up: its connection ends by itself");

    let report = runtime.shutdown_blocking(LIMIT)?;
    println!("runtime: {} connection cut off, {:?}", report.foreign, report.cut_off);
    assert_eq!(second.read(&mut [0])?, 0);
    println!("the second visitor: the connection was closed");
    Ok(())
}

/// What a server does that somebody else wrote.
async fn serve(listener: TcpListener, mut stop: Stop) {
    loop {
        tokio::select! {
            () = &mut stop => return,
            accepted = listener.accept() => {
                if let Ok((socket, _)) = accepted {
                    tokio::spawn(echo(socket));
                }
            }
        }
    }
}

/// Answers until the visitor hangs up. It knows no stop signal.
async fn echo(mut socket: TcpStream) {
    let mut bytes = [0; 64];
    while let Ok(length @ 1..) = socket.read(&mut bytes).await {
        if socket.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

/// A visitor who has got an answer.
fn visit(address: SocketAddr) -> io::Result<std::net::TcpStream> {
    let mut socket = std::net::TcpStream::connect(address)?;
    socket.write_all(b"?")?;
    socket.read_exact(&mut [0])?;
    Ok(socket)
}
