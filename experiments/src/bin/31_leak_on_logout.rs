//! # 31 · leak on logout
//!
//! Leaking at the end of a process is acceptable because the process ends. At a logout it goes on,
//! and the write-up of Robrix's logout says so: there the client is dropped, and not leaked, because
//! a leak would be one per login (claim B5). What would one cost?
//!
//! A process logs in and out, over and over, on one store: a login starts a runtime and opens the
//! store with four idle connections, a logout gets rid of both, in one of five ways. After some
//! cycles, for what is allocated once, the trial counts threads and descriptors, the memory that the
//! system has given the process, and the part of it that Rust's allocator has handed out; it counts
//! again [`CYCLES`] cycles later, and records the growth per cycle. A trial *fails* where threads or
//! descriptors have grown, or memory by more than [`NOTHING`] per cycle.
//!
//! - `forget/all`: runtime and client are forgotten;
//! - `forget/client`: the client is forgotten, and the runtime shut down;
//! - `by-hand`: the client is dropped in the context of its runtime, and the runtime after it;
//! - `kit/teardown` and `kit/session`: the client is torn down, by itself or as the only one of a
//!   session that is closed, and the runtime shut down.
//!
//! The figures come from `/proc`, and so from Linux alone.

use std::{
    alloc::System,
    error::Error,
    fs, mem,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use experiments::{CONNECTIONS, runtime};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    Trial, TrialResult, always, control, cure, every, hazard,
};
use mock_sdk::store::{Generation, Store};
use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use sundown::{session::Session, teardown::teardown_blocking};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often it is measured: it takes many cycles each time.
const TRIALS: u32 = 10;

/// How many cycles are measured, and how many go before them.
const CYCLES: i64 = 20;
const WARM_UP: i64 = 10;

/// What is still no growth of memory, in KiB per cycle: an allocator gives back and takes as it sees
/// fit. A single connection is more than four times as much.
const NOTHING: i64 = 32;

/// How long a thread that has ended may still be counted.
const PATIENCE: Duration = Duration::from_millis(150);

const LIMIT: Duration = Duration::from_secs(8);

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("What does it cost to leak at a logout?")
        .hypothesis(
            "Threads, descriptors and memory, at every login anew, until the process has no more. \
             A client that is torn down, and a runtime that is shut down, cost nothing.",
        )
        .variant(
            hazard("forget/all", always(Failed), |trial| log_in_and_out(trial, "forget/all"))
                .about("runtime and client are forgotten")
                .trials(TRIALS),
        )
        .variant(
            hazard("forget/client", always(Failed), |trial| log_in_and_out(trial, "forget/client"))
                .about("the client is forgotten, the runtime shut down")
                .trials(TRIALS),
        )
        .variant(
            control("by-hand", always(Clean), |trial| log_in_and_out(trial, "by-hand"))
                .about("the client is dropped in the context of its runtime, which is shut down")
                .trials(TRIALS),
        )
        .variant(
            cure("kit/teardown", always(Clean), |trial| log_in_and_out(trial, "kit/teardown"))
                .about("the client is torn down, and the runtime shut down")
                .trials(TRIALS),
        )
        .variant(
            cure("kit/session", always(Clean), |trial| log_in_and_out(trial, "kit/session"))
                .about("the client is guarded by a session, which is closed; then the runtime")
                .trials(TRIALS),
        )
        .part("cycles", cycles)
        .claim("B5", "On logout, leaking would leak at every login.")
        .supported_if(
            every("forget/*").observed("descriptors_per_cycle").always_at_least(1)
                & every("forget/*").observed("kib_per_cycle").always_at_least(NOTHING)
                & every("by-hand").observed("descriptors_per_cycle").always_at_most(0)
                & every("kit/*").observed("descriptors_per_cycle").always_at_most(0),
        )
        .refuted_if(
            every("forget/*").observed("descriptors_per_cycle").always_at_most(0)
                & every("forget/*").observed("kib_per_cycle").always_at_most(NOTHING),
        )
        .run()
}

/// What is measured happens in a process that does nothing else. Its allocator is told to keep to
/// one arena: with one for each thread, memory that has been given back stays in many places, and
/// its growth says more of them than of us.
fn log_in_and_out(trial: &Trial<'_>, way: &str) -> TrialResult {
    let mut part = trial.part("cycles")?;
    let measured = part.arg(way).env("MALLOC_ARENA_MAX", "1").output()?;
    if !measured.status.success() {
        return Err(String::from_utf8_lossy(&measured.stderr).into());
    }
    let growth: Usage = serde_json::from_slice(&measured.stdout)?;
    trial.record("threads_per_cycle", growth.threads / CYCLES);
    trial.record("descriptors_per_cycle", growth.descriptors / CYCLES);
    trial.record("kib_per_cycle", growth.kib / CYCLES);
    trial.record("heap_bytes_per_cycle", growth.heap_bytes / CYCLES);
    trial.check("no thread is left", growth.threads <= 0);
    trial.check("no descriptor is left", growth.descriptors <= 0);
    trial.check("Rust's memory does not grow", growth.heap_bytes / CYCLES <= 0);
    trial.check("memory does not grow", growth.kib / CYCLES <= NOTHING);
    Ok(())
}

/// The process in which it happens. Prints by how much it has grown.
fn cycles(arguments: &[String]) -> TrialResult {
    let [way] = arguments else { return Err("which way to log out?".into()) };
    let cycle = || -> TrialResult {
        let runtime = runtime()?;
        let client = runtime.block_on(Store::open(".", Generation::Current, CONNECTIONS))?;
        log_out(way, runtime, client)
    };
    (0..WARM_UP).try_for_each(|_| cycle())?;
    let before = Usage::settled(None)?;
    let region = Region::new(ALLOCATOR);
    (0..CYCLES).try_for_each(|_| cycle())?;
    let after = Usage::settled(Some(&before))?;
    let heap = region.change();
    let growth = Usage {
        threads: after.threads - before.threads,
        descriptors: after.descriptors - before.descriptors,
        kib: after.kib - before.kib,
        heap_bytes: i64::try_from(heap.bytes_allocated)? - i64::try_from(heap.bytes_deallocated)?,
    };
    println!("{}", serde_json::to_string(&growth)?);
    Ok(())
}

fn log_out(way: &str, runtime: Runtime, client: Store) -> TrialResult {
    match way {
        "forget/all" => mem::forget((runtime, client)),
        "forget/client" => {
            mem::forget(client);
            drop(runtime);
        }
        "by-hand" => {
            let context = runtime.enter();
            drop(client);
            drop(context);
            drop(runtime);
        }
        "kit/teardown" => {
            teardown_blocking(client, LIMIT)?;
            drop(runtime);
        }
        "kit/session" => {
            let session = Session::new("matrix")?;
            // The last handle dies where there is no context.
            drop(session.guard(client)?);
            let _ = session.close_blocking(LIMIT)?;
            drop(runtime);
        }
        _ => return Err("which way to log out?".into()),
    }
    Ok(())
}

/// What the system says that this process has.
#[derive(Serialize, Deserialize)]
struct Usage {
    threads: i64,
    descriptors: i64,
    kib: i64,
    /// Of Rust's allocator; told by the difference alone.
    heap_bytes: i64,
}

impl Usage {
    /// What it has when threads that have ended are no longer counted: as many as before, or after
    /// some patience.
    fn settled(before: Option<&Self>) -> Result<Self, Box<dyn Error>> {
        let since = Instant::now();
        loop {
            let now = Self::now()?;
            let as_before = before.is_some_and(|before| now.threads <= before.threads);
            if as_before || since.elapsed() > PATIENCE {
                return Ok(now);
            }
            thread::yield_now();
        }
    }

    fn now() -> Result<Self, Box<dyn Error>> {
        let status = fs::read_to_string("/proc/self/status")?;
        let of = |field: &str| -> Result<i64, Box<dyn Error>> {
            let value = status.lines().find_map(|line| line.strip_prefix(field));
            let number = value.and_then(|value| value.split_whitespace().next());
            Ok(number.ok_or_else(|| format!("the system does not tell {field}"))?.parse()?)
        };
        let descriptors = fs::read_dir("/proc/self/fd")?.count().try_into()?;
        Ok(Self { threads: of("Threads:")?, descriptors, kib: of("VmRSS:")?, heap_bytes: 0 })
    }
}
