//! What the three services have in common: the pages, and a task in the background.

use std::{convert::Infallible, error::Error, future::Future, thread, time::Duration};

use axum::{Router, body::Body, response::IntoResponse, routing::get};
use futures::{StreamExt as _, stream};
use tokio::time::sleep;

pub type BoxError = Box<dyn Error + Send + Sync>;

/// How long a service may take to end.
pub const LIMIT: Duration = Duration::from_secs(1);

const TICK: Duration = Duration::from_millis(10);

/// What a service is in the middle of when it gets its signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Situation {
    /// A connection is kept alive.
    Idle,
    /// An answer takes 100 ms.
    Request,
    /// A stream of events that listens to the stop signal.
    Events,
    /// One that does not.
    Deaf,
    /// A task has called `spawn_blocking`, with a closure that does not end.
    Blocking,
    /// A task does not yield.
    Spinning,
    /// A task has panicked.
    Panic,
}

impl Situation {
    pub const ALL: [Self; 7] = [
        Self::Idle,
        Self::Request,
        Self::Events,
        Self::Deaf,
        Self::Blocking,
        Self::Spinning,
        Self::Panic,
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Request => "request",
            Self::Events => "events",
            Self::Deaf => "deaf",
            Self::Blocking => "blocking",
            Self::Spinning => "spinning",
            Self::Panic => "panic",
        }
    }
}

/// The pages. `until` makes a future that is ready when the service should stop.
pub fn pages<F>(until: impl Fn() -> F + Clone + Send + Sync + 'static) -> Router
where
    F: Future<Output = ()> + Send + 'static,
{
    Router::new()
        .route("/", get(async || "hello"))
        .route("/work", get(work))
        .route("/deaf", get(async || Body::from_stream(ticks())))
        .route(
            "/events",
            get(async move || Body::from_stream(ticks().take_until(Box::pin(until())))),
        )
}

async fn work() -> impl IntoResponse {
    let rest = stream::once(async {
        sleep(TICK * 10).await;
        Ok("done\n")
    });
    Body::from_stream(stream::once(async { Ok::<_, Infallible>("begun\n") }).chain(rest))
}

fn ticks() -> impl stream::Stream<Item = Result<&'static str, Infallible>> + Send + 'static {
    stream::unfold((), |()| async {
        sleep(TICK).await;
        Some((Ok("data: tick\n\n"), ()))
    })
}

/// The task in the background.
pub async fn background(situation: Situation, until: impl Future<Output = ()>) {
    if situation == Situation::Panic {
        panic_now();
    }
    until.await;
    match situation {
        Situation::Blocking => {
            let (begun, has_begun) = tokio::sync::oneshot::channel();
            drop(tokio::task::spawn_blocking(|| {
                let _ = begun.send(());
                thread::sleep(Duration::from_secs(3600));
            }));
            let _ = has_begun.await;
        }
        Situation::Spinning => loop {
            std::hint::spin_loop();
        },
        _ => {}
    }
}

#[allow(clippy::panic, reason = "that is the situation")]
fn panic_now() {
    panic!("a bad byte");
}
