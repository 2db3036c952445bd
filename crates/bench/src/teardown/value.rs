//! The least that a teardown can cost: one value, whose destructor queues one closure that does nothing.
//! And what open sessions cost.

use std::{error::Error, fs, io, thread, time::Instant};

use sundown::{session::Session, teardown::teardown_blocking};

use super::LIMIT;
use crate::{
    allocator,
    clock::Clock,
    figure::Figure,
    options::Options,
    output::{note, print},
    rounds::{Sample, interleaved},
};

/// How many values a subject tears down, one after another, in each round.
const VALUES: usize = 20;

/// How many sessions are open at the same time.
const SESSIONS: usize = 1_000;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Whether a session is open, so that the closing service runs.
#[derive(Clone, Copy, PartialEq)]
enum Service {
    Runs,
    /// It starts for each value, and ends with it.
    Starts,
}

/// All subjects, the floor first.
const SUBJECTS: [(&str, Option<Service>); 3] = [
    // A thread that does nothing: what the service spares if it runs.
    ("floor", None),
    ("sundown", Some(Service::Runs)),
    ("sundown-teardown", Some(Service::Starts)),
];

struct Value;

impl Drop for Value {
    fn drop(&mut self) {
        drop(tokio::task::spawn_blocking(|| ()));
    }
}

/// Runs the cases.
pub fn run(options: &Options) -> io::Result<()> {
    note("teardown, one value");
    let subjects = options.subjects(&SUBJECTS, |(name, _)| name);
    let samples = interleaved(
        options.rounds(101, 5),
        &subjects,
        |(name, _)| name,
        |(_, service)| Ok([time(*service).map_err(io::Error::other)?]),
    )?;
    print(options.format, &Figure::of_case("teardown", (0, "one value"), 1, "none", &samples))?;
    note(&format!("teardown, {SESSIONS} sessions"));
    let observed = Some(sessions().map_err(io::Error::other)?);
    let figure = Figure::new("teardown", "sessions", SESSIONS, "none", "sundown");
    print(options.format, &[Figure { observed, ..figure }])
}

/// The time of one teardown.
fn time(service: Option<Service>) -> Outcome<Sample> {
    let session = (service == Some(Service::Runs)).then(|| Session::new("bench")).transpose()?;
    let clock = Clock::start();
    for _ in 0..VALUES {
        match service {
            None => drop(thread::spawn(|| ()).join()),
            Some(_) => drop(teardown_blocking(Value, LIMIT)?),
        }
    }
    let sample = Sample::per(clock.read(), VALUES);
    if let Some(session) = session {
        let _ = session.close_blocking(LIMIT)?;
    }
    Ok(sample)
}

/// The threads and the memory of open sessions, and the threads after they have been closed.
fn sessions() -> Outcome<String> {
    let (threads_before, resident_before) = (threads()?, resident()?);
    // The resident memory alone would not show it: the heap keeps pages that earlier cases have used.
    allocator::begin();
    let sessions = (0..SESSIONS).map(|_| Session::new("bench")).collect::<Result<Vec<_>, _>>();
    let heap = allocator::end();
    let sessions = sessions?;
    let threads_open = threads()? - threads_before;
    let resident = resident()?.saturating_sub(resident_before);
    let began = Instant::now();
    for session in &sessions {
        drop(session.guard(Value).map_err(|_| "the session is closed")?);
        let _ = session.close_blocking(LIMIT)?;
    }
    let each = began.elapsed() / SESSIONS as u32;
    let threads_closed = threads()?.saturating_sub(threads_before);
    drop(sessions);
    Ok(format!(
        "open: {threads_open} threads, {:.2} MB of heap, {:.2} MB more resident; closed: {threads_closed} threads; {each:.0?} for each close",
        heap as f64 / 1e6,
        resident as f64 / 1e6
    ))
}

fn threads() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}

/// How many bytes of this process are in memory.
fn resident() -> io::Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.map(|pages| pages * 4096).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
