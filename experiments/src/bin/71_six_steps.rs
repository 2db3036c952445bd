//! 71 six steps: does the real SDK panic at the login after a logout, as the write-up of the logout says?
//! As in 20, with the SDK itself, and the application's state where the write-up has it. Page:
//! `docs/src/71-six-steps.md`.

use experiments::{
    prelude::*,
    real_sdk::{self, CONFIRMED, VERSIONS, becomes, tasks_may_panic},
};

/// The line of the report, and the same one in the newer pool.
const REPORTED: &str = "deadpool-runtime-0.1.4/src/lib.rs:101:22";
const NEWER: &str = "deadpool-runtime-0.3.1/src/lib.rs:125:18";

fn main() -> ExitCode {
    let plain =
        |name: &'static str| move |trial: &Trial<'_>| becomes(trial, "steps.rs", &["plain", name]);
    let hazard = |name, about: &str| {
        tasks_may_panic(lab::hazard(name, Aborted, plain(name)).about(about).versions(VERSIONS))
    };
    let control =
        |name, about: &str| lab::control(name, plain(name)).about(about).versions(VERSIONS);
    let shut_down = |name, about: &str| {
        tasks_may_panic(control(name, about).predict(seen(Clean).allowing([Panicked])))
    };
    let experiment = Experiment::new(file!())
        .question("Does the real SDK panic at the login after a logout, and where?")
        .hypothesis(
            "Yes: in either version the process aborts at the login, on the main thread, where the user \
             interface drops what it has of the old client. If it has nothing of it, or the thread has \
             a context, the main thread does not panic. If the runtime is kept, a timeline's tasks are mostly the last \
             owners; without one 0.13 aborts.",
        )
        .first_expected(
            "The same, without the last sentence: nothing was expected of a runtime that is kept.",
        )
        .holds_only_if(
            every("0.13/six-steps|0.13/on-desktop").panics_at(REPORTED)
                & every("0.18/six-steps|0.18/on-desktop").panics_at(NEWER)
                & every("*/six-steps|*/on-desktop").panics_on("main")
                & every("*/six-steps|*/on-desktop").observed("step").always_reads("logging in again")
                & every("*/no-rooms|*/in-context").never_panics_on("main"),
        )
        .variants([
            hazard("six-steps", "rooms on the desktop, logout on the phone, login on the desktop"),
            hazard("on-desktop", "logout on the desktop: the tabs are closed, the cache is not"),
        ])
        .variants([
            shut_down("no-rooms", "no room was opened"),
            shut_down("in-context", "the main thread is in the context of a runtime"),
            control("runtime-kept", "the runtime is not shut down")
                .predict(seen(Clean).allowing([Aborted]))
                .sometimes_at(""),
            hazard("runtime-kept/no-timeline", "the runtime is not shut down, and a tab has no timeline")
                .versions(["0.13"]),
            // The sync service that was stopped holds the client.
            control("runtime-kept/no-timeline", "the same").versions(["0.18"]),
        ])
        .variants([lab::cure("kit/six-steps", |trial| becomes(trial, "steps.rs", &["kit"]))
            .about("the same steps and the same omission, with a session for each login")
            .versions(VERSIONS)
            .trials(CONFIRMED)])
        .claim("B1", "The six steps (desktop with rooms, phone, log out, desktop, log in) panic.")
        .supported_if(
            every("*/six-steps").is(Aborted)
                & every("*/six-steps").panics_on("main")
                & every("*/six-steps").observed("step").always_reads("logging in again"),
        )
        .refuted_if(every("*/six-steps").is(Clean))
        .kit_claim(
            "With a session for each login, a tab that outlives the logout does no harm: the session names \
             it, and closes when it is dropped, on a thread without a context.",
        );
    real_sdk::needed_by(experiment).run()
}
