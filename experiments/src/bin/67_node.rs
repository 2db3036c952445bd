//! 67 node: what has to be true of an addon with a Tokio runtime when its environment of Node ends, because a
//! worker is terminated or the program is done? Its threads must not call back any more. A trial becomes
//! `node program.js ADDON DESIGN ENDING`. Page: `docs/src/67-node.md`.

use experiments::{plugins::addons, prelude::*};
use lab::Outcome::Signalled;

/// A second is enough, on a machine that has nothing else to do.
const DEADLINE: Duration = Duration::from_secs(120);

/// What the addon says of a job that blocks for longer than the environment waits.
const SAID: &str = "`addon` has not ended after 1.0s";

fn main() -> ExitCode {
    let crashing = |name, about| {
        hazard(name, seen(Aborted).allowing([Signalled, Failed, Clean]), trial)
            .about(about)
            .trials(10)
            .deadline(DEADLINE)
    };
    let clean = |name, about| control(name, trial).about(about).trials(10).deadline(DEADLINE);
    let kit = |name, about| cure(name, trial).about(about).deadline(DEADLINE);
    Experiment::new(file!())
        .question("What has to be true of an addon with a runtime when its environment of Node ends?")
        .hypothesis(
            "No thread of it may call back any more. Node takes the functions that it calls away, \
             whether a worker is terminated, returns, or the program has nothing left to do, and a \
             late call aborts the process. A cleanup hook of the environment that ends the runtime within a \
             limit is enough if nothing outlives the limit; with a gate it is enough in any case.",
        )
        .needs(addons::addon)
        .variants([
            crashing("nothing/terminated", "no hook; workers are terminated"),
            crashing("nothing/returned", "no hook; workers return by themselves"),
            crashing("nothing/left", "no hook; the main thread has nothing left to do"),
            crashing(
                "ungated/terminated",
                "a hook waits, jobs block beyond its limit and call back; workers are terminated",
            )
            .waits(),
            clean("idle/terminated", "no hook, and jobs that never call back; workers are terminated"),
            clean("idle/returned", "the same; workers return"),
            clean("idle/left", "the same; the main thread has nothing left to do"),
            clean("hook/terminated", "a hook waits, and jobs end within its limit; workers are terminated"),
            clean("hook/returned", "the same; workers return"),
            clean("hook/left", "the same; the main thread has nothing left to do"),
            clean("nothing/exit", "no hook; process.exit, which ends no environment"),
            kit("kit/waits/terminated", "the hook waits and closes a gate; workers are terminated"),
            kit("kit/waits/returned", "the same; workers return"),
            kit("kit/waits/left", "the same; the main thread has nothing left to do"),
            kit("kit/waits/exit", "the same; process.exit"),
            kit("kit/blocks/terminated", "the same, and jobs block beyond the limit")
                .waits(),
            kit("kit/blocks/returned", "the same; workers return").waits(),
            kit("kit/blocks/left", "the same; the main thread has nothing left to do").waits(),
        ])
        .kit_claim(
            "with the C interface a worker may be terminated and a program may end while jobs run, and \
             also while they block beyond the limit; then the addon names them",
        )
        .run()
}

/// A trial of a design with an ending, by the name of the variant.
fn trial(scene: &Scene<'_>) -> TrialResult {
    let name = scene.variant();
    let (design, ending) = name.trim_start_matches("kit/").split_once('/').ok_or("half a name")?;
    addons::becomes(scene, design, ending, |program| match design {
        "blocks" => program.complains(SAID),
        _ => program,
    })
}
