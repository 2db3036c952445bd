//! 46 overhead: does it cost about 40 bytes, a cycle or two and nothing in normal operation that a task
//! can be told to stop, as the pattern's write-up claims (D7)? `experiments/overhead` measures, in a
//! release build. Page: `docs/src/46-overhead.md`.

use experiments::{measured, prelude::*};

/// One yardstick for the write-up's figures, all of which are approximate: up to twice, or down to half of
/// one is about the same. About 40 bytes; 1–2 cycles, in hundredths; and 50–100 cycles or more for a lock,
/// in hundredths, against 1–2, which is at least 25 times as many.
const ABOUT_40: i64 = 2 * 40;
const ABOUT_2_CYCLES: i64 = 2 * 200;
const ABOUT_25_TIMES: i64 = 25 / 2;

/// A thousandth of the write-up's shortest interval, 100 µs, and a hundredth, in nanoseconds.
const NEXT_TO_NOTHING: i64 = 100;
const SOMETHING: i64 = 1000;

fn main() -> ExitCode {
    let measures = |name, about| control(name, measure).about(about).trials(5);
    let kit = |name, about| cure(name, measure).about(about).trials(5);
    Experiment::new(file!())
        .question("What does it cost that a task can be told to stop?")
        .hypothesis(
            "More than the 40 bytes of a flag and a channel: the pattern's component takes at least \
             twice that beyond a bare task.",
        )
        .holds_only_if(every("bytes/pattern").observed("bytes_added").always_at_least(ABOUT_40 + 1))
        .needs(measured::built("experiments/overhead"))
        .variants([
            measures("bytes/pattern", "heap of a component of the pattern, beyond a bare task"),
            kit("bytes/kit-task", "heap of a BackgroundTask, beyond a bare task"),
            kit("bytes/kit-group-member", "heap of a member of a TaskGroup, beyond a bare task"),
            measures("flag", "reading a flag without contention: an atomic, and in an RwLock"),
            measures("turns", "a turn of a busy loop: bare, and what a signal to select on adds"),
        ])
        .keeps("bytes_of_the_flag", [16, 32])
        .keeps("bytes_of_the_channel", [48, 96])
        // The pattern's, a member's, and a task's.
        .keeps("bytes_added", [150, 220, 340, 1200, 1800])
        .keeps("atomic_centicycles", [ABOUT_2_CYCLES])
        .keeps("pattern_adds", [SOMETHING])
        .claim("D7a", "A flag and a channel are about 40 bytes, without the counters of their `Arc`s.")
        .supported_if(every("bytes/pattern").observed("without_counters").always_at_most(ABOUT_40))
        .refuted_if(every("bytes/pattern").observed("without_counters").always_at_least(ABOUT_40 + 1))
        .finding("D7f", "A component takes more than twice the 40 bytes of a flag and a channel, beyond a bare task.")
        .supported_if(every("bytes/pattern").observed("bytes_added").always_at_least(ABOUT_40 + 1))
        .refuted_if(every("bytes/pattern").observed("bytes_added").always_at_most(ABOUT_40))
        .claim("D7b", "Reading the atomic flag takes a cycle or two.")
        .supported_if(every("flag").observed("atomic_centicycles").mostly_at_most(ABOUT_2_CYCLES))
        .refuted_if(every("flag").observed("atomic_centicycles").always_at_least(ABOUT_2_CYCLES + 1))
        .claim("D7d", "Reading it in an RwLock takes much longer than reading an atomic: about 25 times, or more.")
        .supported_if(every("flag").observed("lock_in_atomics").mostly_at_least(ABOUT_25_TIMES))
        .refuted_if(every("flag").observed("lock_in_atomics").mostly_at_most(ABOUT_25_TIMES - 1))
        .claim(
            "D7c",
            "No cost in normal operation: next to nothing, in a loop with an interval of 100 µs.",
        )
        .supported_if(every("turns").observed("pattern_adds").mostly_at_most(NEXT_TO_NOTHING))
        .refuted_if(every("turns").observed("pattern_adds").always_at_least(SOMETHING))
        .run()
}

/// Measures what the variant's name says.
fn measure(scene: &Scene<'_>) -> TrialResult {
    measured::record(scene, scene.variant())
}
