//! The subjects, one file for each crate or family of crates.

mod bb8;
mod deadpool;
mod mobc;
mod reqwest;
mod sqlx;
mod tracing_appender;

use crate::subject::Card;

/// All rows, in the order of their names.
pub fn all() -> Vec<Card> {
    let mut cards: Vec<_> = [
        bb8::cards(),
        deadpool::cards(),
        mobc::cards(),
        reqwest::cards(),
        sqlx::cards(),
        tracing_appender::cards(),
    ]
    .into_iter()
    .flatten()
    .collect();
    cards.sort_by_key(|card| card.code);
    cards
}
