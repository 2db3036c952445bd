//! Bench `group`: from the first spawn until all have registered for the signal, from the signal
//! until all have ended, and what each needs of the heap in between.

pub mod peers;

use std::io;

use tokio::runtime::Runtime;

use crate::{
    allocator,
    clock::{Clock, Took},
    figure::Figure,
    flavour::{Flavour, cores},
    options::Options,
    output::{Output, note},
    rounds::{Reference, Sample, interleaved, summary},
    task::{UNREGISTERED, Work},
};
use peers::{MAKERS, Maker};

/// What is measured, in the order in which it happens.
const CASES: [&str; 2] = ["spawn", "stop"];

/// Small groups are measured many times over in a round: this many tasks in all, at the least.
const TASKS_IN_A_ROUND: usize = 2000;
const GROUPS_IN_A_ROUND: usize = 200;

/// From here on a round takes seconds, and a usual run has few.
const MILLION: usize = 1_000_000;
const ROUNDS_OF_MILLIONS: usize = 5;

/// Runs the bench.
pub fn run(options: &Options, output: &mut Output) -> io::Result<()> {
    for flavour in options.flavours() {
        for &n in &options.sizes(&[1, 100, 10_000, 100_000, MILLION], 10_000) {
            measure(flavour, n, options, output)?;
        }
    }
    Ok(())
}

fn measure(flavour: Flavour, n: usize, options: &Options, output: &mut Output) -> io::Result<()> {
    let asked: Vec<_> =
        MAKERS.into_iter().filter(|maker| options.is_subject(maker.subject)).collect();
    let (makers, left_out): (Vec<_>, Vec<_>) =
        asked.into_iter().partition(|maker| options.slow || n <= maker.usual_limit);
    note(&format!("group, {n} tasks, {flavour}"));
    if !left_out.is_empty() {
        let names: Vec<_> = left_out.iter().map(|maker| maker.subject).collect();
        note(&format!("  left out because slow at {n} (--slow includes it): {}", names.join(", ")));
    }
    let rounds = options.rounds(11, 3);
    let rounds = if n >= MILLION && options.rounds.is_none() {
        rounds.min(ROUNDS_OF_MILLIONS)
    } else {
        rounds
    };
    let runtime = flavour.runtime(cores())?;
    let samples = interleaved(rounds, &makers, |maker| time(&runtime, maker, n));
    let sundown = makers.iter().position(|maker| maker.subject == "sundown");
    let reference = Reference { floor: 0, sundown };
    let bytes: Vec<_> = makers.iter().map(|maker| bytes(&runtime, maker, n)).collect();
    for (case, name) in CASES.into_iter().enumerate() {
        for (at, maker) in makers.iter().enumerate() {
            let figure = Figure::new("group", name, n, flavour, maker.subject);
            let figure = figure.measured(summary(&samples, at, case, reference));
            output.figure(Figure { bytes: Some(bytes[at]), ..figure })?;
        }
    }
    output.tables()
}

/// One round of one subject: both phases, for each task. What a group consists of before it has a
/// task, and what is left of it afterwards, belongs to neither.
fn time(runtime: &Runtime, maker: &Maker, n: usize) -> [Sample; 2] {
    let repeats = (TASKS_IN_A_ROUND / n).clamp(1, GROUPS_IN_A_ROUND);
    runtime.block_on(async {
        let (mut spawn, mut stop) = (Took::default(), Took::default());
        for _ in 0..repeats {
            let mut group = (maker.make)(n);
            UNREGISTERED.begin(n);
            let clock = Clock::start();
            group.spawn(n, Work::Measured);
            UNREGISTERED.at_zero().await;
            spawn += clock.read();

            let clock = Clock::start();
            group.stop().await;
            stop += clock.read();
            drop(group);
        }
        [spawn, stop].map(|took| Sample::per(took, repeats * n))
    })
}

/// By how much the live heap has grown for each task when all have registered, with all that the
/// group consists of.
fn bytes(runtime: &Runtime, maker: &Maker, n: usize) -> f64 {
    runtime.block_on(async {
        UNREGISTERED.begin(n);
        allocator::begin();
        let mut group = (maker.make)(n);
        group.spawn(n, Work::Measured);
        UNREGISTERED.at_zero().await;
        let grown = allocator::end();
        group.stop().await;
        ((grown as f64 / n as f64) * 10.0).round() / 10.0
    })
}
