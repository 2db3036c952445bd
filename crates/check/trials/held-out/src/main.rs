//! Types that the check was judged with, and not corrected.

#![expect(clippy::async_yields_async, reason = "some of the values are futures, to be dropped")]

use std::process::ExitCode;

mod databases;
mod helpers;
mod messages;
mod network;
mod pools;
mod servers;
mod testing;

type Row = Vec<u8>;

fn main() -> ExitCode {
    let cases: Vec<_> = [
        databases::cases(),
        pools::cases(),
        network::cases(),
        messages::cases(),
        testing::cases(),
        helpers::cases(),
    ]
    .into_iter()
    .flatten()
    .collect();
    trials::run(&cases)
}
