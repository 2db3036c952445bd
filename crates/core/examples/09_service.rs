//! A service that ends well on Ctrl-C: nobody new, those who are here served to the end, one limit.
//!
//! The listener and every connection are members of one group. A signal stops the group; the listener
//! returns, connections finish what they are at and say goodbye, and `drain` tells how many of them
//! did, and who had to be dropped. What the group's stop signal is to this listener, it is to any
//! server that takes a future: `axum::serve(…).with_graceful_shutdown(service.stop_signal())`.
//!
//! The only visitor is the example itself, which presses Ctrl-C when it has been answered:
//!
//! ```text
//! visitor: you said hello
//! visitor: (Ctrl-C)
//! visitor: goodbye
//! service: ended on request, 0 dropped, 0 panicked
//! ```

#[cfg(not(unix))]
fn main() {
    println!("this example presses Ctrl-C by a Unix signal");
}

#[cfg(unix)]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    service::run().await
}

#[cfg(unix)]
mod service {
    use std::{error::Error, io, net::SocketAddr, thread, time::Duration};

    use signal_hook::{consts::SIGINT, iterator::Signals};
    use sundown::{
        group::TaskGroup,
        oneshot::{self, Receiver},
        stop::Stop,
    };
    use tokio::{
        io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
        net::{TcpListener, TcpStream},
    };

    /// What a user would wait for after Ctrl-C.
    const LIMIT: Duration = Duration::from_secs(5);

    pub async fn run() -> Result<(), Box<dyn Error>> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;

        let service = TaskGroup::new("service");
        // With Tokio's feature `signal`: `service.stop_when(tokio::signal::ctrl_c())`.
        service.stop_when(interrupted()?)?;
        service.spawn("listener", |stop| accept(listener, stop))?;
        let visitor = tokio::spawn(visit(address));

        service.stop_signal().await;
        let report = service.drain(LIMIT).await;
        visitor.await??;
        println!(
            "service: ended on request, {} dropped, {} panicked",
            report.aborted,
            report.panicked.len()
        );
        Ok(())
    }

    /// Is ready at the first Ctrl-C.
    fn interrupted() -> io::Result<Receiver<()>> {
        let mut signals = Signals::new([SIGINT])?;
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
                    // A member may bring members, so that nobody falls between two chairs.
                    let _ = stop.spawn("connection", |stop| async {
                        if let Err(error) = serve(socket, stop).await {
                            eprintln!("a connection was lost: {error}");
                        }
                    });
                }
                // For want of a descriptor, as a rule. Nothing tells when one is free, and to ask again
                // at once would only keep a core busy.
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
            tokio::select! {
                () = &mut stop => return answers.write_all(b"goodbye\n").await,
                request = requests.next_line() => match request? {
                    Some(request) => {
                        answers.write_all(format!("you said {request}\n").as_bytes()).await?;
                    }
                    None => return Ok(()),
                },
            }
        }
    }

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
}
