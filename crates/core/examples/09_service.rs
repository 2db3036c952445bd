//! A service that ends well on Ctrl-C, and on the SIGTERM of a supervisor, also as process 1 of a container.
//!
//! `run` owns the runtime and the signals. At a signal the listener returns, connections answer what they
//! have begun and say goodbye, and the report says how they ended. Any server that takes a future can use
//! the same stop signal: `axum::serve(…).with_graceful_shutdown(service.stop_signal())`.
//!
//! ```text
//! visitor: you said hello
//! visitor: (Ctrl-C)
//! visitor: goodbye
//! asked by SIGINT; graceful
//! ```
#![cfg_attr(not(unix), allow(unused, reason = "it sends itself a Unix signal"))]

use std::{error::Error, io, net::SocketAddr, time::Duration};

use sundown::Stop;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

#[cfg(not(unix))]
fn main() {}

#[cfg(unix)]
fn main() -> Result<(), Box<dyn Error>> {
    let report = sundown::service::run("echo", |service| async move {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        service.try_spawn("visitor", {
            let address = listener.local_addr()?;
            move |_| visit(address)
        });
        service.ready();
        accept(listener, service.stop_signal()).await;
        Ok(())
    })?;
    println!(
        "asked by {}; {}",
        report.asked_by,
        if report.is_graceful() { "graceful" } else { "not" }
    );
    Ok(())
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
