//! Peers beside us: what a signal, a group of tasks, a latch and a teardown cost. `bench --help` says
//! what is measured; `cargo xtask bench` builds and runs this.

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
mod peers;
mod rounds;
mod task;
mod teardown;
mod turn;

use std::{io, process::ExitCode};

use clap::Parser as _;

use options::{BENCHES, Options};
use output::note;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

fn main() -> ExitCode {
    allocator::keep_pages();
    let options = Options::parse();
    let subjects = (peers::MAKERS.map(|maker| maker.subject).into_iter())
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
