//! 76 practice: what do the three ways cost that applications use today? A wrapper that enters a context
//! in its destructor, as in the SDK's own bindings; leaking; and a runtime that is kept for ever. Page:
//! `docs/src/76-practice.md`.

use experiments::{
    prelude::*,
    real_sdk::{self, VERSIONS, becomes, tasks_may_panic},
};

/// A race that is lost in two trials of five at least: a run that misses it is a one-in-a-million event.
const RACE: u32 = 40;

/// A trial of these logs in eight times.
const LOGINS: u32 = 5;

const CURES: u32 = 100;

fn main() -> ExitCode {
    let body = |arguments: &'static [&'static str]| {
        move |trial: &Trial<'_>| becomes(trial, "practice.rs", arguments)
    };
    let hazard =
        |name, outcome, arguments| lab::hazard(name, outcome, body(arguments)).versions(VERSIONS);
    let control = |name, arguments| lab::control(name, body(arguments)).versions(VERSIONS);
    let cure = |name, arguments| lab::cure(name, body(arguments)).versions(VERSIONS);
    let experiment = Experiment::new(file!())
        .question("What do the ways cost that applications use today to let a client go?")
        .hypothesis(
            "Each does what it is for. A wrapper that enters a context makes the drop safe on any thread, \
             but not in a thread-local that was touched before Tokio, and not for what is not wrapped; \
             and files may be open when the drop returns. What is leaked never panics, and stays: its \
             files and its memory. On a runtime that is kept for ever, a client that was idle leaves \
             no file and nothing in Rust's heap; one whose sync service has run leaves files or memory at \
             each logout, stopped or paused. A runtime for each login, dropped by hand, leaves neither, \
             whether a task of the SDK panics in it or not.",
        )
        .holds_only_if(
            every("*/leaked/each-login").observed("files_left_per_login").always_at_least(1)
                & every("*/leaked/each-login").observed("heap_bytes_per_login").always_at_least(64 * 1024)
                & every("*/restarted/by-hand").observed("files_left_per_login").always_at_most(0),
        )
        .first_expected("The same, and nothing panics if the runtime is dropped by hand, after the client.")
        .variants([
            control("wrapper/any-thread", &["wrapper", "any-thread"])
                .about("client, clone and members are wrapped, and dropped on three threads"),
            control("wrapper/touched-last", &["wrapper", "touched-last"])
                .about("in a thread-local that was touched after Tokio was, when main returns"),
            hazard("wrapper/touched-first", Aborted.into(), &["wrapper", "touched-first"])
                .about("in a thread-local that was touched before Tokio was, when main returns"),
            hazard("wrapper/something-bare", Aborted.into(), &["wrapper", "something-bare"])
                .about("the client is wrapped, and the members of a room are not"),
            hazard("wrapper/is-over", seen(Failed).allowing([Clean]), &["wrapper", "is-over"])
                .about("is a file open when the drop of the last wrapper returns?")
                .trials(RACE),
            control("in-a-task/client", &["in-a-task", "client"])
                .about("client and members, not wrapped, in a task of the runtime"),
            hazard("in-a-task/block-on", Panicked.into(), &["in-a-task", "block-on"])
                .about("a value whose destructor calls `block_on`, in the same place"),
        ])
        .variants([
            control("leaked/once", &["leaked"])
                .about("the client is never dropped; all else is, on a plain thread"),
            hazard("leaked/each-login", Failed.into(), &["logins", "forgotten"])
                .about("eight logins, each of which leaks its client")
                .trials(LOGINS)
                .waits(),
        ])
        .variants([
            control("kept/idle", &["logins", "idle"])
                .about("eight logins on a runtime that is kept; nothing goes on at the logout")
                .trials(LOGINS),
            hazard("kept/stopped", Failed.into(), &["logins", "stopped"])
                .about("the same; a sync service has run, and was stopped")
                .trials(LOGINS)
                .waits(),
            lab::hazard("kept/paused", Failed, body(&["logins", "paused"]))
                .about("the same, and the client is paused, as 0.18 can")
                .versions(["0.18"])
                .trials(LOGINS),
            tasks_may_panic(
                control("restarted/by-hand", &["logins", "restarted"])
                    .about(
                        "as the one before (0.13: as kept/stopped), on a runtime for each login; client, then runtime, \
                         dropped by hand",
                    )
                    .predict(seen(Clean).allowing([Panicked]))
                    .trials(2 * LOGINS),
            ),
        ])
        .variants([
            cure("kit/any-thread", &["guarded", "any-thread"])
                .about("handles of a session, which is then closed")
                .trials(CURES),
            cure("kit/touched-first", &["guarded", "touched-first"])
                .about("a handle in a thread-local that was touched before Tokio was")
                .trials(CURES),
            cure("kit/each-login", &["logins", "kit"])
                .about("eight logins, with a session and a runtime for each")
                .trials(LOGINS),
        ])
        .keeps("files_left_per_login", [1, 7, 15, 40])
        .keeps("heap_bytes_per_login", [18_000, 150_000, 600_000])
        .claim("F1", "What is wrapped can be dropped on a thread without a context; what is not panics there.")
        .supported_if(
            every("*/wrapper/any-thread").is(Clean) & every("*/wrapper/something-bare").is(Aborted),
        )
        .refuted_if(
            !every("*/wrapper/any-thread").is(Clean) | every("*/wrapper/something-bare").is(Clean),
        )
        .finding(
            "F2b",
            "With the deadpool of matrix-sdk 0.13 and of 0.18, the client's drop calls no `block_on` of Tokio's in a \
             task.",
        )
        // Where `block_on` panics, so would a destructor that calls it. On a thread without a context the same
        // drop aborts, so it does come to deadpool's destructor.
        .supported_if(
            every("*/in-a-task/block-on").is(Panicked)
                & every("*/in-a-task/client").is(Clean)
                & every("*/wrapper/something-bare").is(Aborted),
        )
        .refuted_if(
            every("*/in-a-task/block-on").is(Panicked) & every("*/in-a-task/client").is(Panicked),
        )
        .finding(
            "B3c",
            "A wrapper that enters a context in its destructor works only if the thread touched Tokio \
             before it touched the variable.",
        )
        .supported_if(
            every("*/wrapper/touched-first").is(Aborted)
                & every("*/wrapper/touched-last").is(Clean),
        )
        .refuted_if(
            every("*/wrapper/touched-first").is(Clean) | every("*/wrapper/touched-last").is(Aborted),
        )
        .claim("B5", "On logout, leaking would leak at every login.")
        .supported_if(
            every("*/leaked/each-login").observed("files_left_per_login").always_at_least(1)
                & every("*/restarted/by-hand").observed("files_left_per_login").always_at_most(0),
        )
        .refuted_if(
            every("*/leaked/each-login").observed("files_left_per_login").always_at_most(0),
        )
        .kit_claim(
            "A session's handles do what the wrapper does, in a thread-local that was touched before Tokio \
             too, and its close says when it is over. No file, descriptor or thread is left at each login.",
        );
    real_sdk::needed_by(experiment).run()
}
