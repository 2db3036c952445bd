//! Background tasks and groups.

mod both;
mod callers;
mod failures;
mod foreign;
mod group;
mod hold;
mod large;
mod listeners;
mod stop;
mod task;

use std::{future::pending, sync::Arc};

use sundown::stop::Stop;

/// A task that does not listen to its signal, and owns something.
async fn deaf(_stop: Stop, _owned: Arc<()>) {
    pending::<()>().await;
}
