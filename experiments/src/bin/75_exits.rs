//! 75 exits: how does a process end that has a client of the real SDK? As in 07, 08, 30, 32 and 33: the
//! client in a thread-local, in a static, forgotten, or in an exit plan. Page: `docs/src/75-exits.md`.

use experiments::{
    prelude::*,
    real_sdk::{self, VERSIONS, becomes, tasks_may_panic},
};
use lab::Condition;

/// A race that is seen in most trials: a run that misses it is less likely than one in a million.
const RACE: u32 = 40;

const CURES: u32 = 100;

/// Of what waits for twelve seconds. Up to two of five panic before they hang: that all do is a
/// one-in-a-hundred-thousand event.
const STUCK: u32 = 12;

fn main() -> ExitCode {
    let body = |arguments: &'static [&'static str]| {
        move |trial: &Trial<'_>| becomes(trial, "exits.rs", arguments)
    };
    let hazard =
        |name, outcome, arguments| lab::hazard(name, outcome, body(arguments)).versions(VERSIONS);
    let aborts = |name, arguments| hazard(name, Aborted.into(), arguments);
    let control = |name, arguments| lab::control(name, body(arguments)).versions(VERSIONS);
    let cure = |name, arguments| lab::cure(name, body(arguments)).versions(VERSIONS);
    let experiment = Experiment::new(file!())
        .question("How does a process end that still has a client of the real SDK?")
        .hypothesis(
            "As with the lab's own store. In a thread-local the client aborts the process, also by \
             std::process::exit; in a static, or forgotten, it harms nothing, even while it syncs. No \
             value whose write had returned is lost, as with kill -9, and the write-ahead logs stay. A \
             process that tears down by hand hangs if something in it does, and tasks of the SDK may panic \
             in it.",
        )
        .holds_only_if(
            every("*/behind/static|*/behind/forgotten|*/behind/killed")
                .observed("log_bytes_left")
                .always_at_least(1)
                & every("*/hangs/by-hand").observed("gone").always_reads("false"),
        )
        .first_expected("The same, without a panic in the process that hangs.")
        .variants([
            aborts("thread-local/main-returns", &["here", "thread-local"])
                .about("a thread-local of the main thread has the client when main returns"),
            aborts("thread-local/thread-ends", &["here", "thread-that-ends"])
                .about("a thread-local of a plain thread has it, and the thread ends"),
            aborts("thread-local/process-exit", &["here", "process-exit"])
                .about("as the first, left by std::process::exit"),
            aborts("thread-local/members", &["here", "members"])
                .about("the globals were cleared, and the members of a room are in a cache"),
            control("thread-local/cleared", &["here", "cleared"])
                .about("it is taken out in a context before main returns"),
            control("static/main-returns", &["here", "static"])
                .about("the client is in a static, and its sync service runs"),
            aborts("forgotten/not", &["here", "dropped"])
                .about("the client is dropped, and the cache still has the members of a room"),
            control("forgotten/main-returns", &["here", "forgotten"])
                .about("the same, and the client is forgotten"),
        ])
        .variants([
            control("behind/static", &["behind", "static"])
                .about("a second process, which leaves in the middle of its writes"),
            control("behind/forgotten", &["behind", "forgotten"])
                .about("the same, and what was in the static is forgotten"),
            control("behind/killed", &["behind", "killed"]).about("the first, killed"),
            hazard(
                "behind/killed-early",
                seen(Failed).allowing([Clean]),
                &["behind", "killed-early"],
            )
            .about("killed, and values are acknowledged before they are written")
            .trials(RACE),
            tasks_may_panic(
                hazard(
                    "hangs/by-hand",
                    seen(Failed).allowing([Panicked]),
                    &["hangs", "by-hand"],
                )
                .about("something hangs in the second process, which tears all down in order")
                .trials(STUCK)
                .waits(),
            ),
        ])
        .variants([
            cure("kit/thread-local", &["here", "guarded"])
                .about("a session's handle in a thread-local when main returns")
                .trials(CURES),
            cure("plan/thread-local", &["here", "plan"])
                .about("the bare client in a thread-local; an empty plan leaves")
                .trials(CURES),
            cure("plan/torn-down", &["behind", "plan"])
                .about("a second process, which leaves by a plan in the middle of its writes"),
            cure("plan/hangs", &["hangs", "plan"])
                .about("something hangs in the second process, and a tab has a handle")
                .waits(),
        ])
        .claim(
            "B3a",
            "A cache that is cleared late, by the destructors of the thread-locals, crashes; one that is \
             cleared in a context before that does not.",
        )
        .supported_if(
            every("*/thread-local/main-returns").is(Aborted)
                & every("*/thread-local/members").is(Aborted)
                & every("*/thread-local/cleared").is(Clean),
        )
        .refuted_if(
            every("*/thread-local/main-returns").is(Clean)
                | every("*/thread-local/cleared").is(Aborted),
        )
        .claim("B4a", "Doing nothing at process exit is safe for a client in a static.")
        .supported_if(
            every("*/static/main-returns").is(Clean)
                & every("*/behind/static").is(Clean)
                & a_loss_is_seen(),
        )
        .refuted_if(!every("*/static/main-returns").is(Clean) | !every("*/behind/static").is(Clean))
        .finding(
            "B4c",
            "Doing nothing at process exit is not safe if a thread-local of the main thread still holds \
             the client.",
        )
        .supported_if(every("*/thread-local/main-returns").is(Aborted))
        .refuted_if(every("*/thread-local/main-returns").is(Clean))
        .claim("A6a", "`mem::forget` works: what is forgotten does not panic at the end.")
        .supported_if(
            every("*/forgotten/main-returns").is(Clean) & every("*/forgotten/not").is(Aborted),
        )
        .refuted_if(every("*/forgotten/main-returns").is(Aborted))
        .claim("B5", "Leaking at exit is acceptable.")
        .supported_if(
            every("*/behind/forgotten").observed("values_lost").always_at_most(0)
                & every("*/behind/forgotten").is(Clean)
                & every("*/forgotten/main-returns").is(Clean)
                & a_loss_is_seen(),
        )
        .refuted_if(
            every("*/behind/forgotten").observed("values_lost").once_at_least(1)
                | !every("*/forgotten/main-returns").is(Clean),
        )
        .kit_claim(
            "A session's handle in a thread-local harms nothing. An exit plan leaves a bare client there, \
             closes the stores without a loss, and ends the process in time if something hangs.",
        );
    real_sdk::needed_by(experiment).run()
}

/// What makes a clean second process mean something: the same look finds values that were never written.
fn a_loss_is_seen() -> Condition {
    every("*/behind/killed-early").observed("values_lost").once_at_least(1)
}
