//! Programs around sqlx, reqwest, OpenTelemetry and actix. The lab's trials become one of them:
//! `real-libraries sqlx outside`.
//!
//! A program is clean if it prints `the last line` and exits with 0, nothing panicked, and it reported no
//! problem. `crates/real-libraries/README.md` lists the programs.

mod actix;
#[path = "../../real-sdk/src/report.rs"]
mod report;
mod requests;
mod server;
mod sqlite;
mod telemetry;

use std::{env, time::Duration};

use anyhow::{Result, bail};

use crate::{
    actix::document,
    requests::two_tests,
    sqlite::{connections, pool, two_tests_of_a_pool},
    telemetry::{collected, program},
};

/// Longer than anything takes that is not broken, however busy the machine is, and shorter than a trial may.
const PLENTY: Duration = Duration::from_secs(8);

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["actix", how] => document(how)?,
        ["reqwest", when, whose] => two_tests(when, whose)?,
        ["sqlx", "connections", number, runtime, place] => connections(number, runtime, place)?,
        ["sqlx", "pool", how] => pool(how)?,
        ["sqlx", "two-tests"] => two_tests_of_a_pool()?,
        ["telemetry", how] => collected(how)?,
        // A process of its own, which leaves.
        ["spans", how, collector] => return program(how, collector),
        _ => bail!("there is no such program: {arguments:?}"),
    }
    println!("the last line");
    Ok(())
}
