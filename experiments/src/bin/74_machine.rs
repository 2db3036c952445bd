//! 74 machine: does a logout of the real client leave anything behind that adds up? As in 26, with the SDK
//! itself: logins and logouts again and again, driven by the state machine. Page:
//! `docs/src/74-machine.md`.

use experiments::{
    prelude::*,
    real_sdk::{self, VERSIONS, becomes, tasks_may_panic},
};

/// How many cycles a trial makes. The page says how to make more.
const CYCLES: &str = "30";

const TRIALS: u32 = 10;

const IN_ORDER: &str = "no kit: the user interface lets go first, and the runtime is dropped last";

/// A leak shows in each trial, and every login of it waits for a session that cannot close.
const LEAKS: u32 = 5;

/// What does not count as a rise over the fifteen last cycles. A forgotten client takes at least twenty
/// descriptors in them, and three megabytes of heap; a table of the heap grows by five or twelve kilobytes, once.
const FLAT: i64 = 6;
const FLAT_HEAP: i64 = 64 * 1024;
const LEAKED_HEAP: i64 = 1 << 20;

/// For that many cycles, on a busy machine: half a minute.
const DEADLINE: Duration = Duration::from_secs(240);

fn main() -> ExitCode {
    let body =
        |way: &'static str| move |trial: &Trial<'_>| becomes(trial, "machine.rs", &[way, CYCLES]);
    let hazard = |name, outcome, way| lab::hazard(name, outcome, body(way)).versions(VERSIONS);
    let cure = |name, way| lab::cure(name, body(way)).versions(VERSIONS);
    let experiment = Experiment::new(file!())
        .question("Does a logout of the real client leave anything behind that adds up?")
        .hypothesis(
            "Not with the state machine, whether the runtime is restarted or kept: thirty logouts in a \
             row succeed without a warning, nothing panics, and threads, descriptors and memory stay \
             flat. The same measure sees a client, and a thread, that is left at each logout. Without the kit the \
             same application aborts at its second login if the user interface lets go late. In the right \
             order threads, descriptors and heap stay flat, too; with 0.13 tasks of the SDK panic.",
        )
        .holds_only_if(
            every("*/interface-last").observed("logouts").always_at_least(1)
                & every("*/interface-last").observed("logouts").always_at_most(1)
                & every("*/leak/*").observed("descriptors_rise").always_at_least(20)
                & every("*/leak/*").observed("heap_bytes_rise").always_at_least(LEAKED_HEAP)
                & every("*/leak/*").observed("kib_rise").always_at_least(LEAKED_HEAP / 1024)
                & every("*/left/threads").observed("threads_rise").always_at_least(10)
                & every("*/ordered").observed("threads_rise").always_at_most(FLAT)
                & every("*/ordered").observed("descriptors_rise").always_at_most(FLAT)
                & every("*/ordered").observed("heap_bytes_rise").always_at_most(FLAT_HEAP),
        )
        .variants([
            tasks_may_panic(
                hazard("interface-last", Aborted, "interface-last")
                    .about("no kit: the user interface lets go at the next login"),
            ),
            hazard("leak/restart", Failed, "leak-restart")
                .about("the state machine; a clone of the client is forgotten in every cycle")
                .trials(LEAKS)
                .waits(),
            hazard("leak/keep", Failed, "leak-keep")
                .about("the same, with a runtime for each login")
                .trials(LEAKS)
                .waits(),
            hazard("left/threads", Failed, "leave-threads")
                .about("the same, and no clone: a thread that never ends is started in every cycle")
                .trials(LEAKS),
            tasks_may_panic(
                lab::hazard("ordered", seen(Panicked).allowing([Clean]), body("ordered"))
                    .versions(["0.13"])
                    .about(IN_ORDER)
                    .trials(TRIALS),
            ),
            tasks_may_panic(
                lab::control("ordered", body("ordered"))
                    .versions(["0.18"])
                    .about(IN_ORDER)
                    .predict(seen(Clean).allowing([Panicked]))
                    .trials(TRIALS),
            ),
        ])
        .variants([
            cure("restart", "restart")
                .about("the state machine, with one runtime that is restarted")
                .trials(TRIALS),
            cure("keep", "keep")
                .about("the state machine, with a runtime for each login")
                .trials(TRIALS),
        ])
        .keeps("descriptors_rise", [-6, 6, 20])
        .keeps("threads_rise", [-4, 4])
        .keeps("files_open_after_a_logout", [1])
        .keeps("logouts_with_warnings", [1, 30])
        .kit_claim(
            "The state machine logs the real client out thirty times in a row: no panic, no hang, no \
             confirmed end with a file open, and threads, descriptors and memory that stay flat, with \
             either policy.",
        );
    real_sdk::needed_by(experiment).each(|variant| variant.deadline(DEADLINE)).run()
}
