//! A web server of axum and hyper-util whose connections are tasks of the service, and their HTTP/2 streams,
//! too. So the report names what it had to cut off, without a word in the handlers.
//!
//! `hyper_service [ADDRESS] [SECONDS]`: where to listen, and the limit.

use std::{convert::Infallible, env, error::Error, pin::pin, time::Duration};

use axum::{Router, body::Body, response::IntoResponse, routing::get};
use futures::{StreamExt as _, stream};
use hyper_util::{rt::TokioIo, server::conn::auto, service::TowerToHyperService};
use sundown::{Service, Stop, service::BoxError};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};

/// The pause after a failure to accept, and between two lines of an answer.
const PAUSE: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "0.0.0.0:8080".to_owned());
    let seconds = arguments.next().map_or(Ok(8), |seconds| seconds.parse())?;
    let limit = Duration::from_secs(seconds);
    let report = Service::builder("web").limit(limit).run(|service| serve(service, address))?;
    println!("{report}");
    Ok(())
}

// ANCHOR: serve
async fn serve(service: Service, address: String) -> Result<(), BoxError> {
    let pages = Router::new().route("/work", get(work)).route("/export", get(export));
    let listener = TcpListener::bind(address).await?;
    println!("{}", listener.local_addr()?);
    service.ready();
    let mut stop = service.stop_signal();
    loop {
        let accepted = tokio::select! {
            () = &mut stop => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, visitor)) => {
                let pages = pages.clone();
                let name = format!("connection of {visitor}");
                service.spawn(name, move |stop| connection(socket, pages, stop));
            }
            // As a rule no descriptor is free. Nothing says when one is, so try again later.
            Err(error) => {
                eprintln!("cannot accept: {error}");
                sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(socket: TcpStream, pages: Router, mut stop: Stop) {
    // The stop signal is hyper's executor: what the connection spawns is a task of the group.
    let server = auto::Builder::new(stop.clone());
    let pages = TowerToHyperService::new(pages);
    let mut connection = pin!(server.serve_connection_with_upgrades(TokioIo::new(socket), pages));
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = &mut stop => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        eprintln!("a connection was lost: {error}");
    }
}
// ANCHOR_END: serve

/// An answer that takes a while.
async fn work() -> impl IntoResponse {
    let rest = stream::once(async {
        sleep(PAUSE).await;
        Ok("done\n")
    });
    Body::from_stream(stream::once(async { Ok::<_, Infallible>("begun\n") }).chain(rest))
}

/// An answer that takes for ever, and does not listen to the stop signal.
async fn export() -> impl IntoResponse {
    Body::from_stream(stream::unfold((), |()| async {
        sleep(PAUSE).await;
        Some((Ok::<_, Infallible>("row\n"), ()))
    }))
}
