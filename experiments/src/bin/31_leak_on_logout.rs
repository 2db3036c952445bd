//! 31 leak on logout: what does it cost to leak at a logout? Descriptors and memory for each forgotten
//! client, threads as well for each forgotten runtime, and nothing if the client is dropped, by hand or
//! by the kit. Page: `docs/src/31-leak-on-logout.md`.

use std::{alloc::System, mem, time::Instant};

use experiments::{
    prelude::*,
    usage::{Usage, measured},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use sundown::{Session, teardown_blocking};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// A trial has many cycles.
const TRIALS: u32 = 10;

/// How many cycles are measured, and how many go before them.
const CYCLES: i64 = 20;
const WARM_UP: i64 = 10;

/// What an allocator does by itself, in KiB per cycle. A single connection takes more than four times
/// as much.
const ALLOWED_KIB: i64 = 32;

/// How long a thread that has ended may still be counted.
const PATIENCE: Duration = Duration::from_millis(150);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("What does it cost to leak at a logout?")
        .hypothesis(
            "Descriptors and memory at every login, and threads if the runtime is forgotten, too. A client \
             that is torn down, and a runtime that is shut down, cost nothing.",
        )
        .holds_only_if(
            every("forget/*").observed("descriptors_per_cycle").always_at_least(1)
                & every("forget/*").observed("kib_per_cycle").always_at_least(ALLOWED_KIB)
                & every("forget/all").observed("threads_per_cycle").always_at_least(1),
        )
        .variants([
            hazard("forget/all", Failed, log_in_and_out).about("runtime and client are forgotten"),
            hazard("forget/client", Failed, log_in_and_out)
                .about("the client is forgotten, the runtime shut down"),
            control("by-hand", log_in_and_out)
                .about("the client is dropped in the context of its runtime, which is shut down"),
            cure("kit/teardown", log_in_and_out)
                .about("the client is torn down, and the runtime shut down"),
            cure("kit/session", log_in_and_out)
                .about("the client is guarded by a session, which is closed; then the runtime"),
        ])
        .each(|variant| variant.trials(TRIALS))
        .keeps("descriptors_per_cycle", [1, 4, 10])
        .keeps("kib_per_cycle", [100])
        .keeps("threads_per_cycle", [1])
        .part("cycles", cycles)
        .claim("B5", "On logout, leaking would leak at every login.")
        .supported_if(
            every("forget/*").observed("descriptors_per_cycle").always_at_least(1)
                & every("forget/*").observed("kib_per_cycle").always_at_least(ALLOWED_KIB)
                & every("by-hand").observed("descriptors_per_cycle").always_at_most(0),
        )
        .refuted_if(
            every("forget/*").observed("descriptors_per_cycle").always_at_most(0)
                & every("forget/*").observed("kib_per_cycle").always_at_most(ALLOWED_KIB),
        )
        .run()
}

fn log_in_and_out(scene: &Scene<'_>) -> TrialResult {
    let growth: Usage = measured(scene, &[scene.variant()])?;
    for (name, count) in Usage::COUNTS {
        scene.record(&format!("{name}_per_cycle"), count(&growth) / CYCLES);
    }
    scene.check("no thread is left", growth.threads <= 0);
    scene.check("no descriptor is left", growth.descriptors <= 0);
    scene.check("Rust's memory does not grow", growth.heap_bytes / CYCLES <= 0);
    scene.check("memory does not grow", growth.kib / CYCLES <= ALLOWED_KIB);
    Ok(())
}

/// The process in which it happens. It prints by how much it has grown.
fn cycles(arguments: &[String]) -> TrialResult {
    let [way] = arguments else { return Err("which way to log out?".into()) };
    let cycle = || -> TrialResult {
        let runtime = runtime()?;
        let client = runtime.block_on(Store::open(".", Generation::Current, CONNECTIONS))?;
        log_out(way, runtime, client)
    };
    (0..WARM_UP).try_for_each(|_| cycle())?;
    let before = settled(0)?;
    (0..CYCLES).try_for_each(|_| cycle())?;
    let after = settled(before.threads)?;
    let growth = Usage {
        threads: after.threads - before.threads,
        descriptors: after.descriptors - before.descriptors,
        kib: after.kib - before.kib,
        heap_bytes: after.heap_bytes - before.heap_bytes,
    };
    println!("{}", serde_json::to_string(&growth)?);
    Ok(())
}

/// Counts when threads that have ended are no longer counted: when there are no more than so many, or
/// after some patience.
fn settled(threads: i64) -> TrialResult<Usage> {
    let since = Instant::now();
    loop {
        let now = Usage::now()?;
        if now.threads <= threads || since.elapsed() > PATIENCE {
            return Ok(now);
        }
        thread::yield_now();
    }
}

fn log_out(way: &str, runtime: Runtime, client: Store) -> TrialResult {
    match way {
        "forget/all" => {
            mem::forget((runtime, client));
            return Ok(());
        }
        "forget/client" => mem::forget(client),
        "by-hand" => {
            let _context = runtime.enter();
            drop(client);
        }
        "kit/teardown" => drop(teardown_blocking(client, PLENTY)?),
        "kit/session" => {
            let session = Session::new("matrix")?;
            // The last handle is dropped without a context.
            drop(session.guard(client)?);
            let _ = session.close_blocking(PLENTY)?;
        }
        _ => return Err("which way to log out?".into()),
    }
    drop(runtime);
    Ok(())
}
