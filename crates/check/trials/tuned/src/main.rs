//! Types that were looked at while the check was written, or that it was corrected because of.

#![expect(clippy::async_yields_async, reason = "some of the values are futures, to be dropped")]

use std::process::ExitCode;

mod databases;
mod first;
mod helpers;
mod messages;
mod network;
mod pools;
mod servers;
mod testing;

type Row = Vec<u8>;

fn main() -> ExitCode {
    let cases: Vec<_> = [
        first::cases(),
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
