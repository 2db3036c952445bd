//! What this process uses, by `/proc` and by Rust's allocator.

use std::{alloc::System, env, fs, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The allocator of the system reads it when a process starts.
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// What the process uses at one moment.
#[derive(Clone, Copy)]
pub struct Usage {
    pub threads: i64,
    pub descriptors: i64,
    pub kib: i64,
    /// The part of the memory that Rust's allocator has handed out. `SQLite` has an allocator of its own.
    pub heap_bytes: i64,
}

/// A count, and the name that it is recorded under.
pub type Count = (&'static str, fn(&Usage) -> i64);

impl Usage {
    pub const COUNTS: [Count; 4] = [
        ("threads", |usage| usage.threads),
        ("descriptors", |usage| usage.descriptors),
        ("kib", |usage| usage.kib),
        ("heap_bytes", |usage| usage.heap_bytes),
    ];

    pub fn now() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let of = |field: &str| -> Result<i64> {
            let value = status.lines().find_map(|line| line.strip_prefix(field));
            let number = value.and_then(|value| value.split_whitespace().next());
            Ok(number.with_context(|| format!("the system does not report {field}"))?.parse()?)
        };
        let heap = INSTRUMENTED_SYSTEM.stats();
        Ok(Self {
            threads: of("Threads:")?,
            descriptors: fs::read_dir("/proc/self/fd")?.count().try_into()?,
            kib: of("VmRSS:")?,
            heap_bytes: i64::try_from(heap.bytes_allocated)?
                - i64::try_from(heap.bytes_deallocated)?,
        })
    }
}

/// Starts this program again, in this process, with one arena for the allocator of the system: with one
/// for each thread, memory that was given back stays in many places and hides a growth.
pub fn with_one_arena() -> Result<()> {
    if env::var_os(ARENAS).is_some() {
        return Ok(());
    }
    let mut again = Command::new(env::current_exe()?);
    // It returns only if it fails.
    Err(again.args(env::args_os().skip(1)).env(ARENAS, "1").exec().into())
}

/// The least-squares line through a series of counts.
pub struct Line {
    /// The last count.
    pub last: i64,
    /// How far the line rises from one end to the other.
    pub rise: i64,
    /// From the count furthest below the line to the one furthest above it.
    pub scatter: i64,
    /// Whether it rises by no more than the scatter and what is allowed, before rounding.
    pub flat: bool,
}

impl Line {
    /// The line through counts, which may rise by so much from each to the next.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "small counts"
    )]
    pub fn through(counts: &[i64], allowed: i64) -> Self {
        let values: Vec<f64> = counts.iter().map(|count| *count as f64).collect();
        let number = values.len().max(1) as f64;
        let middle = (number - 1.0) / 2.0;
        let mean = values.iter().sum::<f64>() / number;
        let from_middle =
            || values.iter().enumerate().map(|(at, value)| (at as f64 - middle, value));
        let product: f64 = from_middle().map(|(at, value)| at * (value - mean)).sum();
        let squares: f64 = from_middle().map(|(at, _)| at * at).sum();
        let slope = if squares > 0.0 { product / squares } else { 0.0 };
        let off = || from_middle().map(|(at, value)| value - mean - slope * at);
        let scatter = off().fold(0.0, f64::max) - off().fold(0.0, f64::min);
        let rise = slope * (number - 1.0);
        Self {
            last: counts.last().copied().unwrap_or(0),
            rise: rise.round() as i64,
            scatter: scatter.round() as i64,
            // A millionth is no rise: the sums are not exact.
            flat: rise <= scatter + allowed as f64 * number + 1e-6,
        }
    }
}

/// Takes the largest step up out of counts, and says how large it was. What is left goes on growing if each logout adds
/// something.
pub fn without_the_largest_step(counts: &mut [i64]) -> i64 {
    let steps =
        counts.windows(2).map(|pair| pair.last().unwrap_or(&0) - pair.first().unwrap_or(&0));
    let Some((before, step)) = steps.enumerate().max_by_key(|(_, step)| *step) else { return 0 };
    let step = step.max(0);
    for count in counts.iter_mut().skip(before + 1) {
        *count -= step;
    }
    step
}
