//! A web server that ends in good order at SIGTERM and at Ctrl-C.

use std::{env, error::Error};

use axum::{Router, routing::get};
use sundown::{Service, service::BoxError};
use tokio::net::TcpListener;

fn main() -> Result<(), Box<dyn Error>> {
    let report = sundown::service::run("web", serve)?;
    println!("{report}");
    Ok(())
}

async fn serve(service: Service) -> Result<(), BoxError> {
    let address = env::args().nth(1).unwrap_or_else(|| "0.0.0.0:8080".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("{}", listener.local_addr()?);
    let pages = Router::new().route("/", get(async || "hello\n"));
    axum::serve(listener, pages).with_graceful_shutdown(service.stop_signal()).await?;
    Ok(())
}
