//! 15 dependency chain: by which crates does the Matrix SDK reach the one that panics? A lock file of
//! matrix-sdk 0.13.0 says it: the claimed chain has the right crates in a wrong order, and leaves out
//! the one whose destructor it is. Page: `docs/src/15-dependency-chain.md`.

use experiments::prelude::*;
use lab::Condition;
use toml::Table;

/// The links of the chain as claim A1 gives it.
const CLAIMED: [&str; 4] = [
    "matrix-sdk → matrix-sdk-sqlite",
    "matrix-sdk-sqlite → rusqlite",
    "rusqlite → deadpool-sqlite",
    "deadpool-sqlite → deadpool-runtime",
];

/// The other links by which the SDK reaches the crate that panics.
const REAL: [&str; 4] = [
    "matrix-sdk-sqlite → deadpool-sqlite",
    "deadpool-sqlite → rusqlite",
    "deadpool-sqlite → deadpool-sync",
    "deadpool-sync → deadpool-runtime",
];

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("By which crates does the Matrix SDK reach the one that panics?")
        .hypothesis(
            "By `deadpool-sqlite` and `deadpool-sync`, whose destructor it is: the pool depends on \
             `rusqlite`, and not the reverse.",
        )
        .variants([control("dependency-chain", dependency_chain)
            .about("who depends on whom, from a lock file of matrix-sdk 0.13.0")
            .trials(5)])
        .claim(
            "A1",
            "The chain is matrix-sdk → matrix-sdk-sqlite → rusqlite → deadpool-sqlite → \
             deadpool-runtime.",
        )
        .supported_if(all_there(CLAIMED))
        .refuted_if(!all_there(CLAIMED))
        .run()
}

fn dependency_chain(scene: &Scene<'_>) -> TrialResult {
    let lock: Table = include_str!("../../locks/matrix-sdk-0.13.0.lock").parse()?;
    for link in CLAIMED {
        scene.record(link, is_there(&lock, link));
    }
    for link in REAL {
        let is_there = is_there(&lock, link);
        scene.record(link, is_there);
        scene.check(link, is_there);
    }
    Ok(())
}

/// Whether one package depends directly on the other, in a link `one → other` of a lock file.
fn is_there(lock: &Table, link: &str) -> bool {
    let Some((from, to)) = link.split_once(" → ") else { return false };
    let packages = lock.get("package").and_then(|packages| packages.as_array());
    packages
        .into_iter()
        .flatten()
        .filter(|package| package.get("name").and_then(|name| name.as_str()) == Some(from))
        .filter_map(|package| package.get("dependencies")?.as_array())
        .flatten()
        // The entry of a name that occurs in several versions is `name version`.
        .filter_map(|entry| entry.as_str()?.split(' ').next())
        .any(|dependency| dependency == to)
}

fn all_there([first, second, third, fourth]: [&str; 4]) -> Condition {
    let is_there = |link| every("dependency-chain").observed(link).always_reads("true");
    is_there(first) & is_there(second) & is_there(third) & is_there(fourth)
}
