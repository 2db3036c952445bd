//! The cost of an exit by an empty plan, compared with `std::process::exit`.
//!
//! The program starts itself for each kind of exit, and measures the time from just before the call
//! until the parent knows that the process has ended. The kinds take turns, and medians are compared.
//! `cargo bench -p leak-strategy` prints them.

use std::{
    env,
    error::Error,
    io::Read as _,
    path::PathBuf,
    process::{self, Command, ExitCode, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use leak_strategy::plan::{Exit, ExitPlan};

const EXITS: usize = 1400;

/// The others are compared with the first.
const KINDS: [&str; 4] =
    ["std::process::exit", "a plan, at once", "a plan, with a ledger", "a plan, by a normal exit"];

fn main() -> ExitCode {
    let kind = env::args().nth(1).and_then(|kind| kind.parse().ok());
    match kind {
        Some(kind) => leave(kind),
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

fn leave(kind: usize) -> ! {
    let plan = ExitPlan::builder(Duration::from_secs(3));
    let directory = PathBuf::from(env::args().nth(2).unwrap_or_default());
    println!("{}", now());
    match kind {
        0 => process::exit(0),
        1 => plan.build().leave(0),
        2 => plan.ledger(directory.join("exit.json")).build().leave(0),
        _ => plan.by(Exit::Normal).build().leave(0),
    }
}

fn compare() -> Result<(), Box<dyn Error>> {
    let program = env::current_exe()?;
    let directory = tempfile::tempdir()?;
    let mut took = KINDS.map(|_| Vec::new());
    for _ in 0..EXITS {
        for (kind, took) in took.iter_mut().enumerate() {
            let mut child = Command::new(&program)
                .arg(kind.to_string())
                .arg(directory.path())
                .stdout(Stdio::piped())
                .spawn()?;
            let status = child.wait()?;
            let end = now();
            let mut began = String::new();
            child.stdout.take().ok_or("no pipe")?.read_to_string(&mut began)?;
            if !status.success() {
                return Err(format!("{}: {status}", KINDS[kind]).into());
            }
            took.push(end.saturating_sub(began.trim().parse()?));
        }
    }
    let medians = took.map(median);
    for (kind, median) in KINDS.iter().zip(medians) {
        let added = median.saturating_sub(medians[0]);
        println!("{kind}: {:.0} µs, {:.0} µs more", median as f64 / 1e3, added as f64 / 1e3);
    }
    Ok(())
}

fn median(mut values: Vec<u128>) -> u128 {
    values.sort_unstable();
    values[values.len() / 2]
}
