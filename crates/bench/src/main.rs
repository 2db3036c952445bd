//! Peers beside us: what a signal, a group of tasks, a latch and a teardown cost. `bench --help` says what is
//! measured; `cargo xtask bench` builds and runs this.

#![deny(unsafe_code)]

mod allocator;
mod clock;
mod dropped;
mod figure;
mod flavour;
mod group;
mod guard;
mod latch;
mod options;
mod output;
mod rounds;
mod task;
mod teardown;
mod turn;

use std::{io, process::ExitCode};

use clap::Parser as _;

use options::Options;
use output::{Output, note};

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

/// A bench: measures what is asked for, and prints it.
type Bench = fn(&Options, &mut Output) -> io::Result<()>;

fn main() -> ExitCode {
    allocator::keep_pages();
    let options = Options::parse();
    if let Err(message) = options.check() {
        note(&format!("error: {message}"));
        return ExitCode::from(2);
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let mut output = Output::new(options.format);
    let benches: [(&str, Bench); 6] = [
        ("group", group::run),
        ("turn", turn::run),
        ("drop", dropped::run),
        ("latch", latch::run),
        ("teardown", teardown::run),
        ("guard", guard::run),
    ];
    for (name, bench) in benches {
        if options.is_bench(name) {
            bench(options, &mut output)?;
        }
    }
    Ok(())
}
