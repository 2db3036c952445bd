//! Bench `group`: from the first spawn until all have registered for the signal, from the signal
//! until all have ended, and the heap that each needs in between.

pub mod peers;

use std::io;

use tokio::runtime::Runtime;

use self::peers::{MAKERS, Maker};
use crate::{
    allocator,
    clock::{Clock, Took},
    figure::Figure,
    flavour::{Flavour, cores},
    options::Options,
    output::{note, print},
    rounds::{Sample, interleaved},
    workload::{UNREGISTERED, Work},
};

/// The phases, in the order in which they happen.
const CASES: [&str; 2] = ["spawn", "stop"];

/// A round repeats small groups until it has at least this many tasks, or this many groups.
const TASKS_IN_A_ROUND: usize = 2000;
const GROUPS_IN_A_ROUND: usize = 200;

/// From here on a round takes seconds, and there are few of them by default.
const MILLION: usize = 1_000_000;
const ROUNDS_OF_MILLIONS: usize = 5;

/// Runs the bench.
pub fn run(options: &Options) -> io::Result<()> {
    for flavour in options.flavours() {
        for &n in &options.sizes(&[1, 100, 10_000, 100_000, MILLION], 10_000) {
            measure(flavour, n, options)?;
        }
    }
    Ok(())
}

fn measure(flavour: Flavour, n: usize, options: &Options) -> io::Result<()> {
    let (makers, left_out): (Vec<_>, Vec<_>) = options
        .subjects(&MAKERS, |maker| maker.subject)
        .into_iter()
        .partition(|maker| options.slow || n <= maker.usual_limit);
    note(&format!("group, {n} tasks, {flavour}"));
    if !left_out.is_empty() {
        let names: Vec<_> = left_out.iter().map(|maker| maker.subject).collect();
        note(&format!("  left out because slow at {n} (--slow includes it): {}", names.join(", ")));
    }
    let rounds = options.rounds(if n >= MILLION { ROUNDS_OF_MILLIONS } else { 11 }, 3);
    let runtime = flavour.runtime(cores())?;
    let name = |maker: &Maker| maker.subject;
    let samples = interleaved(rounds, &makers, name, |maker| Ok(time(&runtime, maker, n)))?;
    let bytes: Vec<_> = makers.iter().map(|maker| bytes(&runtime, maker, n)).collect();
    let mut figures = Vec::new();
    for case in CASES.into_iter().enumerate() {
        let of_case = Figure::of_case("group", case, n, flavour, &samples);
        let with_bytes = of_case.into_iter().zip(&bytes);
        figures.extend(with_bytes.map(|(figure, bytes)| Figure { bytes: Some(*bytes), ..figure }));
    }
    print(options.format, &figures)
}

/// One round of one subject: the time of both phases for each task. What a group is made of before it
/// has a task, and what is left of it afterwards, does not count.
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

/// How much the live heap has grown for each task when all have registered, the group included.
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
