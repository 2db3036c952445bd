//! Bench `guard`: what a handle of a session costs beside an `Arc`, and what a thread pays for dropping
//! the last handle of a store with many connections.

use std::{error::Error, hint::black_box, io, ops::Deref, sync::Arc, time::Duration};

use mock_sdk::store::{Generation, Store};
use sundown::session::{Guarded, Session};
use tempfile::TempDir;

use crate::{
    clock::Clock,
    figure::Figure,
    flavour::{Flavour, cores},
    options::Options,
    output::{note, print},
    rounds::{Sample, interleaved},
};

/// How often a handle is cloned and dropped, or dereferenced, in a round.
const TURNS: usize = 100_000;

/// Longer than any close takes.
const LIMIT: Duration = Duration::from_secs(60);

/// All subjects, the floor first: an `Arc`; for the last drop, a value dropped in runtime context.
pub const SUBJECTS: [(&str, bool); 2] = [("floor", false), ("sundown", true)];

type Measured = Result<Sample, Box<dyn Error + Send + Sync>>;
type Measure = fn(bool) -> Measured;

/// Runs the bench.
pub fn run(options: &Options) -> io::Result<()> {
    let cases: [(&str, usize, Measure); 4] = [
        ("clone-and-drop", 1, clone_and_drop),
        ("deref", 1, deref),
        ("last-drop", 16, |ours| last_drop(ours, 16)),
        ("last-drop", 64, |ours| last_drop(ours, 64)),
    ];
    let subjects = options.subjects(&SUBJECTS, |(name, _)| name);
    for (case, n, measure) in cases {
        note(&format!("guard, {case}, {n}"));
        let name = |(name, _): &(&'static str, bool)| *name;
        let samples = interleaved(options.rounds(101, 5), &subjects, name, |(_, ours)| {
            Ok([measure(*ours).map_err(io::Error::other)?])
        })?;
        print(options.format, &Figure::of_case("guard", (0, case), n, "none", &samples))?;
    }
    Ok(())
}

fn clone_and_drop(ours: bool) -> Measured {
    fn measure(handle: &impl Clone) -> Sample {
        timed(|| drop(black_box(handle.clone())))
    }
    if ours { in_session(measure) } else { Ok(measure(&Arc::new(1))) }
}

fn deref(ours: bool) -> Measured {
    fn measure(handle: &impl Deref<Target = i32>) -> Sample {
        timed(|| {
            black_box(**black_box(handle));
        })
    }
    if ours { in_session(measure) } else { Ok(measure(&Arc::new(1))) }
}

fn in_session(measure: impl Fn(&Guarded<i32>) -> Sample) -> Measured {
    let session = Session::new("bench")?;
    let guard = session.guard(1).map_err(|_| "the session is closed")?;
    let sample = measure(&guard);
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

/// What the dropping thread pays. The rest of the work happens elsewhere, and is awaited afterwards.
fn last_drop(ours: bool, connections: usize) -> Measured {
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
