//! 62 real clients: how often does an interpreter crash that ends with a real client of etcd in it
//! (claims C1, C2, C8–C10, C12, C14)? Two versions that the notes of etcd-client-py may be about, the one
//! that came of them, and the kit's extension, in the notes' scenarios. A trial becomes
//! `experiments/python/etcd_exit.py CLIENT SCENARIO ENDING`. Page: `docs/src/62-real-clients.md`.

use experiments::{
    prelude::*,
    real_clients::{self, EARLIER, NEW, OLD, WRONG_STATE, crashes},
};
use lab::{Condition, Outcome::Signalled, Prediction, Subject, Suite, server::Kind};

/// Nothing here takes a second, on a machine that has the time.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often a race is run here: if one exit in twelve crashes, a run that misses it is a
/// one-in-a-million event.
const RACE: u32 = 150;

/// How few are enough where exits mostly end as is predicted: one in three, and mostly far more.
const FREQUENT: u32 = 40;

/// Of a client that is closed, so many percent of the exits fail at most.
const HARDLY_EVER: u32 = 2;

/// From how many cores on a machine is fast. The notes do not say.
const FAST: i64 = 8;

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("How often does an interpreter crash that ends with a real client in it?")
        .first_expected(
            "With a runtime that nobody shuts down: in every scenario, however the program ends. With \
             one that the client shuts down when it is closed: never if it is closed, and in every \
             scenario if it is not.",
        )
        .hypothesis(
            "With a runtime that nobody shuts down, however the program ends: in every scenario of 0.4.1, \
             and with watches in 0.4.0. With one that the client shuts down when it is closed: hardly ever \
             if it is closed, and in every scenario if it is not.",
        )
        .holds_only_if(shut_down().fails_together_in(0..=HARDLY_EVER))
        .needs(real_clients::packages)
        .needs(real_clients::server(Kind::Etcd))
        .variants(scenarios("0.4.0/closed", 100, with_watches))
        .variants(scenarios("0.4.0/returned", 100, with_watches))
        .variants(scenarios("0.4.1/closed", RACE, crashing))
        .variants(scenarios("0.4.1/returned", RACE, crashing))
        .variants(scenarios("0.5.1/closed", 75, with_a_close))
        .variants(scenarios("0.5.1/returned", RACE, crashing))
        .variants(
            [
                ("operations-in-flight", "50 operations at once, which nobody waits for or cancels"),
                ("operations-cancelled", "the same, but asyncio.run cancels them"),
                ("active-watch-in-flight", "a watch, which nothing cancels"),
                ("single-put/1-core", "an operation; the process is pinned to one core"),
                ("single-put/2-cores", "an operation; the process is pinned to two cores"),
            ]
            .map(|(name, about)| {
                hazard(format!("0.4.1/closed/{name}"), may_crash(), trial)
                    .about(about)
                    .trials(RACE)
                    .fewest_trials(FREQUENT)
                    .deadline(DEADLINE)
                    .sometimes_at("")
            }),
        )
        .variants([
            hazard("0.4.1/original-test", misses_it(), |scene| repeated(scene, "5", "one-by-one"))
                .about("5 exits after one operation, and a look at the exit codes")
                .trials(60)
                .deadline(DEADLINE),
            hazard("0.4.1/at-once", misses_it(), |scene| repeated(scene, "8", "at-once"))
                .about("8 exits after one operation, at the same time")
                .trials(20)
                .deadline(DEADLINE),
            control("machine", machine).about("how many cores it has").trials(5),
        ])
        .variants(scenarios("kit/closed", 20, |name| cure(name, trial)))
        .variants(scenarios("kit/returned", 20, |name| cure(name, trial)))
        .claim(
            "C1",
            "About half of the exits crash, on fast machines: between 25 and 75 of 100, all scenarios together.",
        )
        .supported_if(in_one(|of| closed(of).fails_together_in(25..=75)) & on_a_fast_machine())
        .refuted_if(
            in_both(|of| closed(of).fails_together_in(0..=10) | closed(of).fails_together_in(90..=100))
                & on_a_fast_machine(),
        )
        .claim("C2", "The original test, of five single operations, shows it less than the scenarios.")
        .supported_if(in_one(|of| {
            Condition::all(suites(of).map(|suite| original_test(of).passes_more_often_than(suite)))
        }))
        .refuted_if(in_both(|of| {
            Condition::any(suites(of).map(|suite| suite.passes_more_often_than(original_test(of))))
        }))
        .claim(
            "C8",
            "A watch is more likely to hit the race than an operation.",
        )
        // Like is compared with like. Not significantly more often is not yet less often.
        .supported_if(in_one(|of| more_often(of, "active-watch", "single-put")))
        .refuted_if(in_both(|of| more_often(of, "single-put", "active-watch")))
        .finding("C8b", "In 0.5.1, left open, a watch makes exits fail more often than an operation.")
        .supported_if(watch_of_0_5_1().fails_more_often_than(operation_of_0_5_1()))
        .refuted_if(operation_of_0_5_1().fails_more_often_than(watch_of_0_5_1()))
        .claim("C9a", "With more concurrent tasks, 50 operations, it is hit more often than with one.")
        .open_in_some_runs()
        .supported_if(in_one(|of| more_often(of, "operations", "single-put")))
        .refuted_if(in_both(|of| more_often(of, "single-put", "operations")))
        .claim("C10", "If the runtime can be taken out of its cell, closing the client can shut it down.")
        // One control differs only in that nothing is closed, the other has a cell that keeps its runtime.
        .supported_if(
            left_open().fails_more_often_than(shut_down())
                & closed(OLD.number).fails_more_often_than(shut_down())
                & shut_down().fails_together_in(0..=HARDLY_EVER),
        )
        .refuted_if(
            !left_open().fails_more_often_than(shut_down())
                | !closed(OLD.number).fails_more_often_than(shut_down()),
        )
        .claim("C12a", "Exits are ended by SIGABRT.")
        .supported_if(exits().once(Aborted))
        .refuted_if(!exits().once(Aborted))
        .claim("C12b", "Exits are ended by SIGSEGV.")
        .supported_if(exits().once(Signalled))
        .refuted_if(!exits().once(Signalled))
        .claim("C12c", "Exits end with a fatal error of `PyGILState_Release`.")
        .supported_if(exits().observed("says").once_reads(WRONG_STATE))
        .refuted_if(!exits().observed("says").once_reads(WRONG_STATE))
        .claim("C14", "3 watches and 30 operations hit the race more often than any other scenario.")
        .open_in_some_runs()
        .supported_if(in_one(|of| {
            Condition::all(OTHERS.map(|other| more_often(of, LAST, other)))
        }))
        .refuted_if(in_both(|of| {
            Condition::any(OTHERS.map(|other| more_often(of, other, LAST)))
        }))
        .kit_claim("with the kit's runtime no exit crashes, whether the client is closed or not")
        .run()
}

/// The scenarios of the notes; "ultra-rapid" is `single-put`.
const OTHERS: [&str; 4] = ["single-put", "active-watch", "operations", "rapid-clients"];
const LAST: &str = "watches-and-operations";

/// The notes name no release. What they say is supported if it holds in one of the two that nothing shuts
/// down, and refuted if both contradict it.
fn in_one(holds: impl Fn(&str) -> Condition) -> Condition {
    Condition::any([EARLIER.number, OLD.number].map(holds))
}

fn in_both(holds: impl Fn(&str) -> Condition) -> Condition {
    Condition::all([EARLIER.number, OLD.number].map(holds))
}

/// The scenarios of a release, their clients closed as in the notes' tests.
fn closed(release: &str) -> Subject {
    every(&scenarios_of(release, "closed"))
}

fn scenarios_of(release: &str, ending: &str) -> String {
    let scenarios = OTHERS.into_iter().chain([LAST]);
    scenarios.map(|it| format!("{release}/{ending}/{it}")).collect::<Vec<_>>().join("|")
}

/// The exits of the notes' scenarios in both releases, their clients closed or not.
fn exits() -> Subject {
    every(&[EARLIER.number, OLD.number].map(|it| scenarios_of(it, "*")).join("|"))
}

/// Of another machine the notes do not say how many exits crash.
fn on_a_fast_machine() -> Condition {
    every("machine").observed("cores").always_at_least(FAST)
}

/// The original test, as often as five exits in a row end well.
fn original_test(release: &str) -> Suite {
    every(&format!("{release}/closed/single-put")).suite_of(5)
}

/// The suites of the notes, likewise.
fn suites(release: &str) -> [Suite; 5] {
    let exits = [50, 20, 20, 20, 30];
    let [single, watch, operations, clients] = OTHERS;
    let names = [single, watch, operations, clients, LAST];
    std::array::from_fn(|nth| {
        every(&format!("{release}/closed/{}", names[nth])).suite_of(exits[nth])
    })
}

/// One scenario of a release fails more often than another.
fn more_often(release: &str, one: &str, other: &str) -> Condition {
    let of = |scenario| every(&format!("{release}/closed/{scenario}"));
    of(one).fails_more_often_than(of(other))
}

fn shut_down() -> Subject {
    every("0.5.1/closed/*")
}

fn left_open() -> Subject {
    every("0.5.1/returned/*")
}

fn watch_of_0_5_1() -> Subject {
    every("0.5.1/returned/active-watch")
}

fn operation_of_0_5_1() -> Subject {
    every("0.5.1/returned/single-put")
}

/// 0.4.0 crashes with watches, mostly, and may without.
fn with_watches(name: String) -> Variant {
    let prediction = if name.contains("watch") { crashes() } else { may_crash() };
    hazard(name, prediction, trial).fewest_trials(FREQUENT)
}

/// The close of 0.5.1 waits, but not for everything: on a busy machine one of its exits failed.
fn with_a_close(name: String) -> Variant {
    control(name, trial).predict(may_crash()).fewest_trials(FREQUENT)
}

/// The other releases crash in some of the exits, after an operation in very few of them on a machine with
/// nothing else to do: in 6 of 200 of 0.4.1, if nothing is closed. No option reduces that.
fn crashing(name: String) -> Variant {
    let is_seldom = name.ends_with("single-put");
    let variant = hazard(name, crashes(), trial);
    if is_seldom { variant } else { variant.fewest_trials(RACE) }
}

/// Exits may crash, and not all do.
fn may_crash() -> Prediction {
    seen(Clean).allowing([Aborted, Panicked, Signalled, Failed])
}

/// A test passes at least once, although what it tests for is there.
fn misses_it() -> Prediction {
    seen(Clean).allowing([Failed])
}

/// All scenarios of one client and ending.
fn scenarios(
    client_and_ending: &str,
    trials: u32,
    declare: impl Fn(String) -> Variant,
) -> impl Iterator<Item = Variant> {
    // The first crashes least often, if nothing is closed.
    let seldom = if client_and_ending.ends_with("returned") { 3 } else { 2 };
    let scenarios = [
        ("single-put", seldom, "an operation: the original test, and \"ultra-rapid\""),
        ("active-watch", 2, "a watch"),
        ("operations", 2, "50 operations at once"),
        ("rapid-clients", 1, "5 clients, one after another, with an operation each"),
        (LAST, 2, "3 watches, and 30 operations at once"),
    ];
    scenarios.into_iter().map(move |(scenario, times, about)| {
        declare(format!("{client_and_ending}/{scenario}"))
            .about(about)
            .trials(times * trials)
            .deadline(DEADLINE)
            // Where a late thread panics depends on how late it is.
            .sometimes_at("")
    })
}

/// A trial of a client with an ending and a scenario, by the name of the variant.
fn trial(scene: &Scene<'_>) -> TrialResult {
    let words: Vec<_> = scene.variant().split('/').collect();
    let [client, ending, scenario, ref cores @ ..] = words[..] else {
        return Err("fewer than three words".into());
    };
    let (version, client) = match client {
        "0.4.0" => (EARLIER, "package"),
        "0.4.1" => (OLD, "package"),
        "0.5.1" => (NEW, "package"),
        kit => (NEW, kit),
    };
    let scenario = scenario.replace('-', "_");
    // `1-core`: the number of cores.
    let cores = cores.first().and_then(|cores| cores.split('-').next());
    let arguments: Vec<_> = [client, &scenario, ending].into_iter().chain(cores).collect();
    version.becomes(scene, "etcd_exit.py", &arguments)
}

/// Several exits after one operation, as the original test has them.
fn repeated(scene: &Scene<'_>, exits: &str, how: &str) -> TrialResult {
    OLD.becomes(scene, "original_test.py", &[exits, how])
}

/// Records what the exits depend on.
fn machine(scene: &Scene<'_>) -> TrialResult {
    scene.record("cores", i64::try_from(thread::available_parallelism()?.get())?);
    Ok(())
}
