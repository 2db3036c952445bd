//! Bench `guard`: what a handle of a session costs beside an `Arc`, and what the thread pays that
//! happens to drop the last one of a store with so many connections.

use std::{error::Error, hint::black_box, io, sync::Arc, time::Duration};

use mock_sdk::store::{Generation, Store};
use sundown::session::Session;
use tempfile::TempDir;

use crate::{
    clock::Clock,
    figure::Figure,
    flavour::{Flavour, cores},
    options::Options,
    output::{Output, note},
    rounds::{Reference, Sample, interleaved, summary},
};

/// How often a handle is cloned and dropped, or looked through, in a round.
const TURNS: usize = 100_000;

/// Longer than any close takes.
const LIMIT: Duration = Duration::from_secs(60);

/// Everybody, the floor first: an `Arc`; for the last drop, the value in its runtime's context.
pub const SUBJECTS: [(&str, bool); 2] = [("floor", false), ("sundown", true)];

type Measure = fn(bool) -> Result<Sample, Box<dyn Error>>;

/// Runs the bench.
pub fn run(options: &Options, output: &mut Output) -> io::Result<()> {
    let subjects: Vec<_> =
        SUBJECTS.into_iter().filter(|(name, _)| options.is_subject(name)).collect();
    let cases: [(&str, usize, Measure); 4] = [
        ("clone-and-drop", 1, cloned),
        ("deref", 1, looked_through),
        ("last-drop", 16, |ours| last_drop(ours, 16)),
        ("last-drop", 64, |ours| last_drop(ours, 64)),
    ];
    for (case, n, measure) in cases {
        note(&format!("guard, {case}, {n}"));
        let mut failure = None;
        let samples = interleaved(options.rounds(101, 5), &subjects, |(_, ours)| {
            [measure(*ours).unwrap_or_else(|error| {
                failure = Some(error.to_string());
                Sample::default()
            })]
        });
        if let Some(failure) = failure {
            return Err(io::Error::other(failure));
        }
        let sundown = subjects.iter().position(|(name, _)| *name == "sundown");
        for (at, (name, _)) in subjects.iter().enumerate() {
            let figure = Figure::new("guard", case, n, "none", name);
            let reference = Reference { floor: 0, sundown };
            output.figure(figure.measured(summary(&samples, at, 0, reference)))?;
        }
        output.tables()?;
    }
    Ok(())
}

fn cloned(ours: bool) -> Result<Sample, Box<dyn Error>> {
    if !ours {
        let arc = Arc::new(1);
        return Ok(timed(|| drop(black_box(Arc::clone(&arc)))));
    }
    let session = Session::new("bench")?;
    let guard = session.guard(1).map_err(|_| "the session is closed")?;
    let sample = timed(|| drop(black_box(guard.clone())));
    drop(guard);
    let _ = session.close_blocking(LIMIT)?;
    Ok(sample)
}

fn looked_through(ours: bool) -> Result<Sample, Box<dyn Error>> {
    if !ours {
        let arc = Arc::new(1);
        return Ok(timed(|| {
            black_box(**black_box(&arc));
        }));
    }
    let session = Session::new("bench")?;
    let guard = session.guard(1).map_err(|_| "the session is closed")?;
    let sample = timed(|| {
        black_box(**black_box(&guard));
    });
    drop(guard);
    let _ = session.close_blocking(LIMIT)?;
    Ok(sample)
}

fn timed(mut turn: impl FnMut()) -> Sample {
    let clock = Clock::start();
    for _ in 0..TURNS {
        turn();
    }
    Sample::per(clock.read(), TURNS)
}

/// What the dropping thread pays: the rest is somebody else's work, and is waited for afterwards.
fn last_drop(ours: bool, connections: usize) -> Result<Sample, Box<dyn Error>> {
    let directory = TempDir::new()?;
    let runtime = Flavour::MultiThread.runtime(cores())?;
    let store = Store::open(directory.path(), Generation::Current, connections);
    let store = runtime.block_on(store)?;
    if !ours {
        let _context = runtime.enter();
        let clock = Clock::start();
        drop(store);
        return Ok(Sample::per(clock.read(), 1));
    }
    let session = Session::new("bench")?;
    let guard = session.guard(store).map_err(|_| "the session is closed")?;
    let clock = Clock::start();
    drop(guard);
    let sample = Sample::per(clock.read(), 1);
    let _ = session.close_blocking(LIMIT)?;
    Ok(sample)
}
