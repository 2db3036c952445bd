//! The same service three times, as each library's own documentation writes it: how many lines it takes, and
//! how it ends. `beside [ROUNDS]` prints a table; nothing is asserted.

use std::process::ExitCode;

mod app;
mod graceful;
mod kit;
mod rounds;
mod tracker;

/// A library, the service written with it, and its source.
pub struct Peer {
    name: &'static str,
    service: fn(app::Situation) -> Result<(), app::BoxError>,
    source: &'static str,
}

const PEERS: [Peer; 3] = [
    Peer { name: "sundown", service: kit::run, source: include_str!("kit.rs") },
    Peer {
        name: "tokio-graceful-shutdown",
        service: graceful::run,
        source: include_str!("graceful.rs"),
    },
    Peer { name: "TaskTracker", service: tracker::run, source: include_str!("tracker.rs") },
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let result = match &*arguments {
        [serve, peer, situation] if serve == "--serve" => {
            let peer = PEERS.iter().find(|known| known.name == peer);
            let situation = app::Situation::ALL.into_iter().find(|it| it.word() == situation);
            match (peer, situation) {
                (Some(peer), Some(situation)) => (peer.service)(situation),
                _ => Err("no such service".into()),
            }
        }
        [] => rounds::run(21),
        [number] => number.parse().map_err(Into::into).and_then(rounds::run),
        _ => Err("usage: beside [ROUNDS]".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // As `main` does with an error that it returns.
            eprintln!("Error: {error:?}");
            ExitCode::FAILURE
        }
    }
}
