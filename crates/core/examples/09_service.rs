//! A service that ends well on Ctrl-C, and on the SIGTERM of a supervisor.
//!
//! The listener and every connection are tasks of one group. The signal stops the group: the listener
//! returns, connections answer what they have begun and say goodbye, and `drain` reports how they ended.
//! Any server that takes a future can use the same signal:
//! `axum::serve(…).with_graceful_shutdown(service.stop_signal())`.
//!
//! ```text
//! visitor: you said hello
//! visitor: (Ctrl-C)
//! visitor: goodbye
//! service: 0 dropped, 0 panicked
//! ```
#![cfg_attr(not(unix), allow(unused, reason = "it sends itself a Unix signal"))]

use std::{error::Error, io, net::SocketAddr, thread, time::Duration};

#[cfg(unix)]
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use sundown::{
    Stop, TaskGroup,
    oneshot::{self, Receiver},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// How long a user would wait after Ctrl-C.
const LIMIT: Duration = Duration::from_secs(5);

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;

    let service = TaskGroup::new("service");
    // With Tokio's feature `signal`, call this once with `tokio::signal::ctrl_c()`, and once with
    // `async move { terminate.recv().await }` for a `signal(SignalKind::terminate())?`.
    service.stop_when(interrupted()?)?;
    service.spawn("listener", |stop| accept(listener, stop))?;
    let visitor = tokio::spawn(visit(address));

    service.stop_signal().await;
    let report = service.drain(LIMIT).await;
    visitor.await??;
    println!("service: {} dropped, {} panicked", report.aborted, report.panicked.len());
    Ok(())
}

/// Ready at the first of these signals. Without a handler SIGTERM ends the process at once, with nothing
/// drained; as process 1 of a container it does nothing.
#[cfg(unix)]
fn interrupted() -> io::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let (confirm, interrupted) = oneshot::channel();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            let _ = confirm.send(());
        }
    })?;
    Ok(interrupted)
}

async fn accept(listener: TcpListener, mut stop: Stop) {
    loop {
        let accepted = tokio::select! {
            () = &mut stop => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, _)) => {
                // A task of the group may spawn others, even if the group was just told to stop.
                let _ = stop.spawn("connection", |stop| async {
                    if let Err(error) = serve(socket, stop).await {
                        eprintln!("a connection was lost: {error}");
                    }
                });
            }
            // As a rule no descriptor is free. Nothing says when one is, so try again later.
            Err(error) => {
                eprintln!("cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers line by line, and says goodbye when the service ends.
async fn serve(mut socket: TcpStream, mut stop: Stop) -> io::Result<()> {
    let (requests, mut answers) = socket.split();
    let mut requests = BufReader::new(requests).lines();
    loop {
        let request = tokio::select! {
            () = &mut stop => return answers.write_all(b"goodbye\n").await,
            request = requests.next_line() => request?,
        };
        let Some(request) = request else { return Ok(()) };
        answers.write_all(format!("you said {request}\n").as_bytes()).await?;
    }
}

/// The only visitor, who presses Ctrl-C after the first answer.
#[cfg(unix)]
async fn visit(address: SocketAddr) -> io::Result<()> {
    let mut socket = TcpStream::connect(address).await?;
    let (answers, mut requests) = socket.split();
    let mut answers = BufReader::new(answers).lines();
    requests.write_all(b"hello\n").await?;
    println!("visitor: {}", answers.next_line().await?.unwrap_or_default());

    println!("visitor: (Ctrl-C)");
    rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::INT)?;
    while let Some(answer) = answers.next_line().await? {
        println!("visitor: {answer}");
    }
    Ok(())
}
