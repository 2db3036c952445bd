//! Real servers that single crates need. Unlike `server.rs`, this file counts only in the digests of the rows that use
//! it: a server that is added here makes no other cells older than the code.

use std::{env, net::SocketAddr};

use lab::{
    Equipment, Lack, Preparation, TrialResult, Variant,
    server::{Kind, Server},
};

use crate::subject::Card;

/// The variable with the reason why the server is missing.
fn lacks(kind: Kind) -> String {
    format!("{}_MISSING", kind.variable())
}

/// Starts those that the machine has.
pub fn prepare(preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    let mut equipment = Equipment::new();
    for kind in [Kind::Nats, Kind::Postgres] {
        match Server::start(kind, preparation.sandbox(), preparation.interrupt()) {
            Ok(running) => {
                equipment = equipment
                    .version(running.program(), running.version())
                    .variable(kind.variable(), running.address().to_string())
                    .keeping(running);
            }
            Err(Lack::Missing { what, remedy }) => {
                equipment = equipment.variable(&lacks(kind), format!("{what}: {remedy}"));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(equipment)
}

/// Where it listens.
pub fn address(kind: Kind) -> TrialResult<SocketAddr> {
    Ok(env::var(kind.variable())?.parse()?)
}

/// A row whose trials need this server. They are skipped if it is missing.
pub fn with(kind: Kind, card: Card) -> Card {
    let variants = match env::var(lacks(kind)) {
        Err(_) => card.variants,
        Ok(why) => card.variants.iter().map(|it| skipped(it, &why)).collect(),
    };
    Card { server: Some(kind.name()), variants, ..card }
}

fn skipped(variant: &Variant, why: &str) -> Variant {
    let why = why.to_owned();
    lab::control(variant.name(), move |trial| {
        trial.record("missing", &*why);
        trial.record("answer", "skipped");
        Ok(())
    })
}
