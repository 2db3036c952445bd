//! What a process uses, by `/proc` and by its allocator, for experiments 25, 26 and 31.

use std::fs;

use lab::{Trial, TrialResult};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use stats_alloc::INSTRUMENTED_SYSTEM;

/// What the system has given to this process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Usage {
    /// Its threads.
    pub threads: i64,
    /// Its descriptors.
    pub descriptors: i64,
    /// Its memory.
    pub kib: i64,
    /// The part of it that Rust's allocator has handed out. Zero if the process does not use
    /// [`INSTRUMENTED_SYSTEM`].
    pub heap_bytes: i64,
}

/// A count, and the name that it is recorded under.
pub type Count = (&'static str, fn(&Usage) -> i64);

impl Usage {
    /// Every count.
    pub const COUNTS: [Count; 4] = [
        ("threads", |usage| usage.threads),
        ("descriptors", |usage| usage.descriptors),
        ("kib", |usage| usage.kib),
        ("heap_bytes", |usage| usage.heap_bytes),
    ];

    /// Counts.
    pub fn now() -> TrialResult<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let of = |field: &str| -> TrialResult<i64> {
            let value = status.lines().find_map(|line| line.strip_prefix(field));
            let number = value.and_then(|value| value.split_whitespace().next());
            Ok(number.ok_or_else(|| format!("the system does not report {field}"))?.parse()?)
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

/// Runs the part `cycles` of an experiment, a process that does nothing but what is measured, and
/// returns what it prints. Its allocator keeps to one arena: with one for each thread, memory that was
/// given back stays in many places and hides the growth.
pub fn measured<T: DeserializeOwned>(trial: &Trial<'_>, arguments: &[&str]) -> TrialResult<T> {
    let mut part = trial.part("cycles")?;
    let measured = part.args(arguments).env("MALLOC_ARENA_MAX", "1").output()?;
    if !measured.status.success() {
        return Err(String::from_utf8_lossy(&measured.stderr).into());
    }
    Ok(serde_json::from_slice(&measured.stdout)?)
}
