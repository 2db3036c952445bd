//! With tokio-graceful-shutdown: its README, and its example `15_without_miette`.

use tokio::net::TcpListener;
use tokio_graceful_shutdown::{SubsystemBuilder, SubsystemHandle, Toplevel};

use crate::app::{BoxError, LIMIT, Situation, background, pages};

#[tokio::main]
pub async fn run(situation: Situation) -> Result<(), BoxError> {
    Toplevel::new(async move |subsystem: &mut SubsystemHandle| {
        subsystem.start(SubsystemBuilder::new(
            "background",
            async move |subsystem: &mut SubsystemHandle| {
                background(situation, subsystem.on_shutdown_requested()).await;
                Ok::<_, BoxError>(())
            },
        ));
        subsystem.start(SubsystemBuilder::new("server", server));
    })
    .catch_signals()
    .handle_shutdown_requests(LIMIT)
    .await?;
    Ok(())
}

async fn server(subsystem: &mut SubsystemHandle) -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let token = subsystem.create_cancellation_token();
    let pages = pages({
        let token = token.clone();
        move || token.clone().cancelled_owned()
    });
    axum::serve(listener, pages).with_graceful_shutdown(token.cancelled_owned()).await?;
    Ok(())
}
