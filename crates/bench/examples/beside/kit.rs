//! With sundown: its page `A web server`.

use sundown::service::Service;
use tokio::net::TcpListener;

use crate::app::{BoxError, LIMIT, Situation, background, pages};

pub fn run(situation: Situation) -> Result<(), BoxError> {
    let service = Service::builder("web").limit(LIMIT).stop_on_failure();
    let report = service.run(move |service| async move {
        service.spawn("background", move |stop| background(situation, stop));
        let stop = service.stop_signal();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let pages = pages({
            let stop = stop.clone();
            move || stop.clone()
        });
        axum::serve(listener, pages).with_graceful_shutdown(stop).await?;
        Ok(())
    })?;
    eprintln!("{report}");
    Ok(())
}
