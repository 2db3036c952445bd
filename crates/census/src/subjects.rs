//! The subjects, one file for each crate or family of crates.

mod async_nats;
mod axum;
mod bb8;
mod deadpool;
mod fred;
mod hyper_util;
mod lettre;
mod mobc;
mod mysql_async;
mod object_store;
mod opentelemetry_sdk;
mod postgres;
mod quinn;
mod redis;
mod reqwest;
mod rumqttc;
mod sqlx;
mod tokio_rusqlite;
mod tokio_tungstenite;
mod tonic;
mod tracing_appender;
mod zbus;

use crate::subject::Card;

/// All rows, in the order of their names.
pub fn all() -> Vec<Card> {
    let mut cards: Vec<_> = [
        async_nats::cards(),
        axum::cards(),
        bb8::cards(),
        deadpool::cards(),
        fred::cards(),
        hyper_util::cards(),
        lettre::cards(),
        mobc::cards(),
        mysql_async::cards(),
        object_store::cards(),
        opentelemetry_sdk::cards(),
        postgres::cards(),
        quinn::cards(),
        redis::cards(),
        reqwest::cards(),
        rumqttc::cards(),
        sqlx::cards(),
        tokio_rusqlite::cards(),
        tokio_tungstenite::cards(),
        tonic::cards(),
        tracing_appender::cards(),
        zbus::cards(),
    ]
    .into_iter()
    .flatten()
    .collect();
    cards.sort_by_key(|card| card.code);
    cards
}
