//! What the sandbox costs: an empty trial in it, beside a bare spawn of the same program.
//!
//! The two take turns in one process, several rounds, and medians are compared: machines are noisy.
//! An empty trial does all that a trial does but for its body: it takes over the report pipe, sets
//! the panic hook, and says that it is done. `cargo bench -p lab` prints the ratio and the trials
//! per second.

use std::{
    env,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use lab::{
    Experiment, control,
    interrupt::Interrupt,
    sandbox::{Ending, Sandbox, Sandboxed, Surroundings},
};

const ROUNDS: usize = 7;
const TRIALS: usize = 100;

fn main() -> ExitCode {
    match env::args().nth(1).as_deref() {
        // What `cargo bench` passes.
        None | Some("--bench") => match compare() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        },
        Some("--empty") => ExitCode::SUCCESS,
        // A trial, or the guardian.
        Some(_) => Experiment::new("91_empty")
            .question("What does an empty trial cost?")
            .hypothesis("At most half as much again as starting the program costs.")
            .variants([control("empty", |_| Ok(()))])
            .run(),
    }
}

fn compare() -> Result<(), Box<dyn std::error::Error>> {
    let program = env::current_exe()?;
    let interrupt = Interrupt::install()?;
    let sandbox = Sandbox::open()?;
    let command = Sandboxed {
        program: &program,
        arguments: ["__trial", "empty", "0"].map(Into::into).to_vec(),
        surroundings: Surroundings::Bare { variables: &[] },
        deadline: Duration::from_secs(10),
    };
    let mut ratios = Vec::new();
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let (mut bare, mut sandboxed) = (Vec::new(), Vec::new());
        for _ in 0..TRIALS {
            let began = Instant::now();
            let output = Command::new(&program)
                .arg("--empty")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .output()?;
            bare.push(began.elapsed());
            assert!(output.status.success());

            let began = Instant::now();
            let ended = sandbox.run(&command, &interrupt)?;
            sandboxed.push(began.elapsed());
            assert_eq!(ended.ending, Ending::Exited(0));
            assert_eq!(ended.report.bytes, b"\"done\"\n");
        }
        let (bare, sandboxed) = (median(bare), median(sandboxed));
        println!("bare {bare:>9.1?}   in the sandbox {sandboxed:>9.1?}");
        ratios.push(sandboxed.as_secs_f64() / bare.as_secs_f64());
        rates.push(1.0 / sandboxed.as_secs_f64());
    }
    sandbox.close()?;
    println!("ratio {:.2}, {:.0} trials per second, one at a time", mid(ratios), mid(rates));
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn mid(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
