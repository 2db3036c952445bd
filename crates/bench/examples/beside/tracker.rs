//! With a `TaskTracker` and a `CancellationToken` of tokio-util: their documentation, and Tokio's chapter on
//! graceful shutdown. The limit is ours; neither has one.

use tokio::{
    net::TcpListener,
    signal::{
        ctrl_c,
        unix::{SignalKind, signal},
    },
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::app::{BoxError, LIMIT, Situation, background, pages};

#[tokio::main]
pub async fn run(situation: Situation) -> Result<(), BoxError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let (tracker, token) = (TaskTracker::new(), CancellationToken::new());
    tracker.spawn(background(situation, token.clone().cancelled_owned()));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let pages = pages({
        let token = token.clone();
        move || token.clone().cancelled_owned()
    });
    let stopped = token.clone().cancelled_owned();
    tracker.spawn(async { axum::serve(listener, pages).with_graceful_shutdown(stopped).await });
    tokio::select! {
        interrupted = ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    token.cancel();
    tracker.close();
    if timeout(LIMIT, tracker.wait()).await.is_err() {
        return Err(format!("{} tasks have not ended", tracker.len()).into());
    }
    Ok(())
}
