//! What it costs to leave by an empty plan, beside `std::process::exit`.
//!
//! The program starts itself for each way to leave. It measures the time from just before the call
//! until the parent knows that the process has ended. The ways take turns in several rounds, and
//! medians are compared. `cargo bench -p leak-strategy` prints them.

use std::{
    env,
    error::Error,
    io::Read as _,
    path::PathBuf,
    process::{self, Command, ExitCode, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use leak_strategy::plan::{Exit, ExitPlan};

const ROUNDS: usize = 7;
const EXITS: usize = 200;

/// The others are compared with the first.
const WAYS: [&str; 4] =
    ["std::process::exit", "a plan, at once", "a plan, with a ledger", "a plan, by a normal exit"];

fn main() -> ExitCode {
    let way = env::args().nth(1).and_then(|way| way.parse().ok());
    match way {
        Some(way) => leave(way),
        None => match compare() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

/// Nanoseconds on a clock that parent and child share.
fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos())
}

fn leave(way: usize) -> ! {
    let plan = ExitPlan::builder(Duration::from_secs(3));
    let directory = PathBuf::from(env::args().nth(2).unwrap_or_default());
    println!("{}", now());
    match way {
        0 => process::exit(0),
        1 => plan.build().leave(0),
        2 => plan.ledger(directory.join("exit.json")).build().leave(0),
        _ => plan.by(Exit::Normal).build().leave(0),
    }
}

fn compare() -> Result<(), Box<dyn Error>> {
    let program = env::current_exe()?;
    let directory = tempfile::tempdir()?;
    let mut added = WAYS.map(|_| Vec::new());
    for _ in 0..ROUNDS {
        let mut took = WAYS.map(|_| Vec::new());
        for _ in 0..EXITS {
            for (way, took) in took.iter_mut().enumerate() {
                let mut child = Command::new(&program)
                    .arg(way.to_string())
                    .arg(directory.path())
                    .stdout(Stdio::piped())
                    .spawn()?;
                let status = child.wait()?;
                let end = now();
                let mut began = String::new();
                child.stdout.take().ok_or("no pipe")?.read_to_string(&mut began)?;
                if !status.success() {
                    return Err(format!("{}: {status}", WAYS[way]).into());
                }
                took.push(end.saturating_sub(began.trim().parse()?));
            }
        }
        let medians = took.map(median);
        for (at, (way, median)) in WAYS.iter().zip(medians).enumerate() {
            print!("{}{way} {:.0} µs", if at == 0 { "" } else { "   " }, median as f64 / 1e3);
            added[at].push(median.saturating_sub(medians[0]));
        }
        println!();
    }
    for (way, added) in WAYS.iter().zip(added).skip(1) {
        println!("{way}: {:.0} µs more than {}", median(added) as f64 / 1e3, WAYS[0]);
    }
    Ok(())
}

fn median(mut values: Vec<u128>) -> u128 {
    values.sort_unstable();
    values[values.len() / 2]
}
