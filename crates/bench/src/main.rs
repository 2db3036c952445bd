//! Measures the cost of the kit and its peers: a signal, a group of tasks, a latch, a teardown.
//! `bench --help` describes the benches; `cargo xtask bench` builds and runs this.

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
mod teardown;
mod turn;
mod workload;

use std::{io, process::ExitCode};

use clap::Parser as _;

use options::{BENCHES, Options};
use output::note;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

fn main() -> ExitCode {
    allocator::keep_pages();
    let options = Options::parse();
    let subjects = (group::peers::MAKERS.map(|maker| maker.subject).into_iter())
        .chain(turn::SUBJECTS.map(|(name, _)| name))
        .chain(latch::SUBJECTS.map(|(name, _)| name))
        .chain(teardown::SUBJECTS.map(|(name, _)| name));
    if let Err(message) = options.check(&subjects.collect::<Vec<_>>()) {
        note(&format!("error: {message}"));
        return ExitCode::from(2);
    }
    let benches: [fn(&Options) -> io::Result<()>; 6] =
        [group::run, turn::run, dropped::run, latch::run, teardown::run, guard::run];
    for (name, run) in BENCHES.into_iter().zip(benches) {
        if options.is_bench(name)
            && let Err(error) = run(&options)
        {
            note(&format!("error: {error}"));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
