//! A web server of axum that ends within its limit, and says what it had to cut off.
//!
//! `axum_service [ADDRESS] [SECONDS]`: where to listen, and the limit.

use std::{convert::Infallible, env, error::Error, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{
        State,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    http::StatusCode,
    response::{IntoResponse as _, Response, Sse, sse::Event},
    routing::{get, post},
};
use futures::{Stream, StreamExt as _, stream};
use sundown::{Service, Stop, service::BoxError};
use tokio::{net::TcpListener, sync::mpsc, time::sleep};

/// The time between two events.
const TICK: Duration = Duration::from_millis(10);

/// How long the server goes on when it is no longer ready: longer than the load balancer takes to notice.
const GRACE: Duration = Duration::from_millis(500);

// ANCHOR: main
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "0.0.0.0:8080".to_owned());
    // Less than the 10 s after which `docker stop` kills.
    let seconds = arguments.next().map_or(Ok(8), |seconds| seconds.parse())?;
    let report = Service::builder("web")
        .limit(Duration::from_secs(seconds))
        .grace(GRACE)
        .run(|service| serve(service, address))?;
    println!("{report}");
    Ok(())
}

async fn serve(service: Service, address: String) -> Result<(), BoxError> {
    // Goes down after the tasks of the service. A request finds it for three quarters of the limit.
    let storage = service.group("storage");
    let (rows, received) = mpsc::channel(100);
    storage.spawn("writer", |stop| write(received, stop))?;

    let listener = TcpListener::bind(address).await?;
    println!("{}", listener.local_addr()?);
    let pages = pages(App { service: service.clone(), rows });
    service.ready();
    axum::serve(listener, pages).with_graceful_shutdown(service.stop_signal()).await?;
    Ok(())
}
// ANCHOR_END: main

#[derive(Clone)]
struct App {
    service: Service,
    rows: mpsc::Sender<String>,
}

fn pages(app: App) -> Router {
    Router::new()
        .route("/ready", get(ready))
        .route("/rows", post(insert))
        .route("/work", get(work))
        .route("/events", get(events))
        .route("/socket", get(socket))
        .route("/export", get(export))
        .with_state(app)
}

/// Writes until the service stops, and then what is left in the queue.
async fn write(mut rows: mpsc::Receiver<String>, mut stop: Stop) {
    let mut written = 0;
    loop {
        let row = tokio::select! {
            () = &mut stop => break,
            row = rows.recv() => row,
        };
        written += usize::from(row.is_some());
    }
    rows.close();
    while rows.recv().await.is_some() {
        written += 1;
    }
    println!("{written} written");
}

// ANCHOR: ready
async fn ready(State(app): State<App>) -> StatusCode {
    if app.service.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}
// ANCHOR_END: ready

async fn insert(State(app): State<App>, row: String) -> StatusCode {
    match app.rows.send(row).await {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// An answer that takes a while.
async fn work() -> Response {
    let rest = stream::once(async {
        sleep(TICK * 10).await;
        Ok("done\n")
    });
    let body = stream::once(async { Ok::<_, Infallible>("begun\n") }).chain(rest);
    Body::from_stream(body).into_response()
}

// ANCHOR: streams
/// Server-sent events, until the service stops.
async fn events(State(app): State<App>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let events = ticks().map(|()| Ok(Event::default().data("tick")));
    Sse::new(events.take_until(app.service.stop_signal()))
}

/// A web socket, until the service stops. It ends with a close frame in both directions.
async fn socket(State(app): State<App>, upgrade: WebSocketUpgrade) -> Response {
    let Ok(held) = app.service.tasks().hold("GET /socket") else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let stop = app.service.stop_signal();
    upgrade.on_upgrade(async move |socket| {
        let _held = held;
        echo(socket, stop).await;
    })
}

async fn echo(mut socket: WebSocket, mut stop: Stop) {
    loop {
        let message = tokio::select! {
            () = &mut stop => {
                let _ = socket.send(Message::Close(None)).await;
                while let Some(Ok(_)) = socket.recv().await {}
                return;
            }
            message = socket.recv() => message,
        };
        let Some(Ok(message)) = message else { return };
        if socket.send(message).await.is_err() {
            return;
        }
    }
}
// ANCHOR_END: streams

// ANCHOR: deaf
/// A response that does not listen to the stop signal. It holds a place among the tasks, so that the report
/// names it.
async fn export(State(app): State<App>) -> Response {
    let Ok(held) = app.service.tasks().hold("GET /export") else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let lines = ticks().map(move |()| {
        let _held = &held;
        Ok::<_, Infallible>("row\n")
    });
    Body::from_stream(lines).into_response()
}
// ANCHOR_END: deaf

fn ticks() -> impl Stream<Item = ()> {
    stream::unfold((), |()| async {
        sleep(TICK).await;
        Some(((), ()))
    })
}
