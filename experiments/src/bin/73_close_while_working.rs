//! 73 close while working: can a session of the real SDK be closed while the SDK works? Right after a
//! login, while its sync service runs, while tasks use the store, while a loop syncs, and with an event
//! handler that holds the client. Page: `docs/src/73-close-while-working.md`.

use experiments::{
    prelude::*,
    real_sdk::{self, VERSIONS, becomes, tasks_may_panic},
};

/// What goes on.
const WORK: [(&str, &str); 5] = [
    ("login", "right after the login"),
    ("service", "the sync service runs"),
    ("eight", "eight tasks use the store"),
    ("loop", "a task syncs"),
    ("handler", "an event handler holds the client"),
];

/// Where the SDK works.
const RUNTIMES: [&str; 4] = ["current-thread", "one-worker", "two-workers", "global"];

/// A race that must be seen occurs in at least one trial of five: a run that misses it is a one-in-a-million
/// event.
const RACE: u32 = 60;

/// A race that may be seen: it occurs in none to a quarter of the trials, so no run is certain to see it.
const SELDOM: u32 = 20;

/// For each of a hundred cells. `--trials 300` runs them as often as other cures.
const TRIALS: u32 = 10;

fn main() -> ExitCode {
    let experiment = Experiment::new(file!())
        .question("Can a session of the real SDK be closed while the SDK works?")
        .hypothesis(
            "Yes, or it says that it cannot confirm the end: with the SDK's own shutdown in a hook or without, on a \
             runtime of its own or on the application's, nothing panics. A session with evidence says Ok only when no \
             file of the store is open. Without the kit, tasks of 0.13 panic in some runs in which a multi-thread runtime is dropped while the \
             sync service runs or tasks use the store.",
        )
        .variants(VERSIONS.into_iter().flat_map(plain))
        .variants([paused()])
        .variants(VERSIONS.into_iter().flat_map(with_the_kit))
        .keeps("answer", [])
        .kit_claim(
            "While the real SDK works, a session closes, or says that it cannot confirm the end: nothing panics, \
             nothing hangs, and Ok is said only when what it speaks of is over.",
        );
    real_sdk::needed_by(experiment).run()
}

/// The application drops what it has, in context, and then the runtime. A global one goes on.
fn plain(version: &'static str) -> Vec<Variant> {
    let mut variants = Vec::new();
    for (work, about) in WORK {
        for on in RUNTIMES {
            let (name, body) = (format!("plain/{work}/{on}"), body(&["plain", work, on]));
            let variant = match (work, on) {
                // Nothing ends what holds the client, or what it holds.
                ("handler", _) | ("service" | "eight" | "loop", "global") => {
                    lab::hazard(name, Failed, body).trials(TRIALS)
                }
                ("service" | "eight", "one-worker" | "two-workers") if version == "0.13" => {
                    let race = seen(Panicked).allowing([Clean]);
                    lab::hazard(name, race, body).trials(RACE)
                }
                // It can panic, and seldom does.
                (_, "one-worker" | "two-workers") => {
                    let seldom = seen(Clean).allowing([Panicked]);
                    lab::control(name, body).predict(seldom).trials(SELDOM)
                }
                _ => lab::control(name, body).trials(TRIALS),
            };
            variants.push(tasks_may_panic(variant.about(about).versions([version])));
        }
    }
    variants
}

/// What 0.18 has, and 0.13 has not: an end that an application can ask for.
fn paused() -> Variant {
    lab::control("paused", body(&["paused"]))
        .about("the client is paused, and then dropped without a context")
        .trials(TRIALS)
        .versions(["0.18"])
}

/// The application drops its handles, and closes the session.
fn with_the_kit(version: &'static str) -> Vec<Variant> {
    let mut variants = Vec::new();
    let mut cell = |work: &str, about: &str, on: &str, options: &[&str], confirmed: bool| {
        let has = |option| options.contains(&option);
        let (hook, said) = if has("hook") { ("hook", "with a hook") } else { ("bare", "no hook") };
        let unseen = if has("evidence") { "" } else { "/no-evidence" };
        let name = format!("kit/{work}/{on}/{hook}{unseen}");
        let answer = if confirmed { "ok" } else { "unconfirmed" };
        let arguments = [&["kit", work, on, answer], options].concat();
        let mut variant = lab::cure(name, body(&arguments)).trials(TRIALS);
        if !(confirmed && has("hook")) {
            variant = variant.waits();
        }
        let about = match (unseen, confirmed) {
            ("", true) => format!("{about}; {said}"),
            ("", false) => format!("{about}; {said}: it says that it cannot confirm the end"),
            _ => format!("{about}; {said}, without evidence"),
        };
        variants.push(variant.about(about).versions([version]));
    };
    for (work, about) in WORK {
        for on in RUNTIMES {
            let with_a_hook = match (work, version) {
                // Only a client that can be paused closes files that it goes on holding.
                ("handler", "0.13") => false,
                // A task of the event cache, which nothing ends, holds one of the stores.
                ("service", "0.13") => on != "global",
                _ => true,
            };
            let without = work == "login" || (work != "handler" && on != "global");
            cell(work, about, on, &["evidence", "hook"], with_a_hook);
            cell(work, about, on, &["evidence"], without);
        }
        cell(work, about, "two-workers", &["hook"], true);
    }
    let weak = "an event handler holds a weak handle";
    for on in RUNTIMES {
        cell("weak-handler", weak, on, &["evidence"], true);
    }
    variants
}

fn body(arguments: &[&str]) -> impl Fn(&Trial<'_>) -> TrialResult + Send + Sync + 'static {
    let arguments: Vec<_> = arguments.iter().map(|it| (*it).to_owned()).collect();
    move |trial| {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        becomes(trial, "close.rs", &arguments)
    }
}
