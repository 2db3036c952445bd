//! 73 close while working: can a session of the real SDK be closed while the SDK works? Right after a
//! login, while its sync service runs, while tasks use the store, while a loop syncs, and with an event
//! handler that holds the client. Page: `docs/src/73-close-while-working.md`.

use experiments::{
    prelude::*,
    real_sdk::{self, VERSIONS, becomes},
};

/// What goes on, and what is started for it.
const WORK: [(&str, &str); 5] = [
    ("login", "right after the login"),
    ("service", "the sync service runs, and a friend talks"),
    ("eight", "eight tasks with a clone of the client use the store"),
    ("loop", "a task with a clone of the client syncs, and a friend talks"),
    ("handler", "an event handler of the client holds the client"),
];

/// Where the SDK works.
const RUNTIMES: [&str; 4] = ["current-thread", "one-worker", "two-workers", "global"];

/// The rarest of the races happens in one trial of fifteen: a run that misses it is a one-in-a-million
/// event.
const RACE: u32 = 200;

fn main() -> ExitCode {
    let experiment = Experiment::new(file!())
        .question("Can a session of the real SDK be closed while the SDK works?")
        .hypothesis(
            "Yes. If a runtime of several threads is simply dropped, tasks of the SDK panic, and an event \
             handler that holds its client keeps the files open. A session closes without a panic, \
             whatever goes on, with the SDK's own shutdown or without; and where something is left, \
             it says that it cannot confirm the end.",
        )
        .variants(plain())
        .variants(kit())
        .keeps("answer", [])
        .kit_claim(
            "A session of the real SDK closes while the SDK works: nothing panics, nothing hangs, and Ok \
             is said only when what it speaks of is over.",
        );
    real_sdk::needed_by(experiment).run()
}

/// The application drops what it has, in context, and then the runtime. A global one goes on.
fn plain() -> Vec<Variant> {
    let mut variants = Vec::new();
    for (work, about) in WORK {
        for on in RUNTIMES {
            let name = format!("plain/{work}/{on}");
            let about = format!("{about}; client and runtime are dropped");
            variants.push(match (work, on) {
                // Files stay open: nothing ends what holds the client.
                ("handler", _) | ("service" | "eight" | "loop", "global") => {
                    lab::hazard(name, Failed, body(work, on, &["plain"])).about(about)
                }
                ("service" | "eight", "one-worker" | "two-workers") => {
                    let race = seen(Panicked).allowing([Clean, Aborted]);
                    lab::hazard(name, race, body(work, on, &["plain"])).about(about).trials(RACE)
                }
                _ => lab::control(name, body(work, on, &["plain"])).about(about),
            });
        }
    }
    variants.into_iter().map(|variant| variant.versions(VERSIONS)).collect()
}
