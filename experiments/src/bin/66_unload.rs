//! 66 unload: what has to be true of a plugin with a Tokio runtime when its host closes it? The runtime's
//! threads have to be over. A trial becomes a host in C that loads a plugin and closes it again, fifty times.
//! Page: `docs/src/66-unload.md`.

use experiments::{
    plugins::{self, Calls},
    prelude::*,
};
use lab::Outcome::Signalled;

/// How often a trial loads and closes the plugin.
const ROUNDS: u32 = 50;

/// The same where a close hits the moment in one round of several, on some machines of hundreds.
const RACE: u32 = 200;

/// The same in one process, where something may run out.
const THOUSAND: u32 = 1000;

/// A thousand rounds take a few seconds on a machine that has the time. Beside eight busy threads, on two cores, they
/// took more than a minute.
const DEADLINE: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    let failing = |name, about| hazard(name, Failed, trial).about(about);
    let clean = |name, about| control(name, trial).about(about);
    let kit = |name, about| cure(name, trial).about(about);
    let thousand = |name, about| kit(name, about).trials(5);
    Experiment::new(file!())
        .question("What has to be true of a plugin with a runtime when its host closes it?")
        .hypothesis(
            "The runtime's threads have to be over, and not only told to end: after `shutdown_background` \
             a close takes the code away from under them. What waits for them may be closed at any time, \
             and leaves nothing behind. If the host calls the plugin on its main thread, the library \
             stays with its statics, and a static that was used up is used up when it is loaded again.",
        )
        .needs(plugins::plugins)
        .variants([
            hazard("background", seen(Signalled).allowing([Clean, Failed, Aborted]), trial)
                .trials(30)
                .about("the runtime in a static; `shutdown_background`, then the close"),
            failing("left", "the runtime in a static, and nobody ends it"),
            failing(
                "main-thread/background",
                "the host calls it on the main thread; `shutdown_background`",
            ),
            failing(
                "main-thread/once",
                "the host calls it on the main thread; a runtime that starts once",
            ),
            clean("nothing", "a plugin without a runtime"),
            clean("drop", "the runtime in a static is taken out and dropped, which joins its threads"),
            clean("main-thread/drop", "the host calls it on the main thread; the same"),
            kit("kit/cell", "RuntimeCell, shut down"),
            kit("kit/owner", "RuntimeOwner, shut down"),
            kit("kit/session", "Session, closed"),
            kit("kit/teardown", "teardown_blocking of a value that closes on a blocking thread"),
            kit("kit/teardown-async", "the same in async code"),
            kit("kit/group", "TaskGroup, drained"),
            kit("kit/limit", "a limit that has not passed"),
            kit("kit/c", "a plugin in C with the C interface"),
            kit("kit/main-thread/cell", "the host calls it on the main thread; RuntimeCell, restarted"),
            kit("kit/main-thread/c", "the host calls it on the main thread; a plugin in C"),
            thousand("kit/thousand/cell", "RuntimeCell, a thousand times in one process"),
            thousand("kit/thousand/c", "a plugin in C, a thousand times in one process"),
        ])
        .each(|variant| variant.deadline(DEADLINE))
        .kit_claim(
            "what the kit has ended may be closed at once: no thread is left, no descriptor, and the \
             library goes, unless the host calls the plugin on its main thread",
        )
        .run()
}

/// A trial of a design, by the name of the variant.
fn trial(scene: &Scene<'_>) -> TrialResult {
    let name = scene.variant();
    let calls = if name.contains("main-thread") { Calls::Here } else { Calls::Elsewhere };
    let rounds = match name {
        "background" => RACE,
        name if name.contains("thousand") => THOUSAND,
        _ => ROUNDS,
    };
    plugins::becomes(scene, &scene.case().replace('-', "_"), calls, rounds)
}
