//! 70 off context: does the real SDK's client panic when its last owner is dropped on a thread without
//! runtime context? As in 01, with the SDK itself: two versions of matrix-sdk, with a client that has
//! logged in, synced, and is idle. Page: `docs/src/70-off-context.md`.

use experiments::{
    prelude::*,
    real_sdk::{self, CONFIRMED, VERSIONS, becomes},
};

/// Where the reports say that it panics, and where that call is in the pool of 0.18.
const REPORTED: &str = "deadpool-runtime-0.1.4/src/lib.rs:101:22";
const NEWER: &str = "deadpool-runtime-0.3.1/src/lib.rs:125:18";

fn main() -> ExitCode {
    let body = |arguments: &'static [&'static str]| {
        move |trial: &Trial<'_>| becomes(trial, "off_context.rs", arguments)
    };
    let hazard = |name, arguments| lab::hazard(name, Aborted, body(arguments)).versions(VERSIONS);
    let control = |name, arguments| lab::control(name, body(arguments)).versions(VERSIONS);
    let cure =
        |name, arguments| lab::cure(name, body(arguments)).versions(VERSIONS).trials(CONFIRMED);
    let experiment = Experiment::new(file!())
        .question(
            "Does the real SDK's client panic when its last owner is dropped on a thread without runtime \
             context?",
        )
        .hypothesis(
            "Yes, in either version, whether its runtime is alive or has been shut down, and if a room is \
             the last owner as well: 0.13 at the line of the reports, 0.18 at the same call, which is on \
             another line of its newer pool. On a thread with a context, and with a handle of a session, \
             nothing happens.",
        )
        .holds_only_if(
            every("0.13/client/outside-*|0.13/room/outside-*").panics_at(REPORTED)
                & every("0.18/client/outside-*|0.18/room/outside-*").panics_at(NEWER),
        )
        .variants([
            hazard("client/outside-alive", &["plain", "client", "outside", "alive"])
                .about("the client, on the main thread; its runtime is alive"),
            hazard("client/outside-down", &["plain", "client", "outside", "down"])
                .about("the same, after shutdown_background()"),
            hazard("room/outside-alive", &["plain", "room", "outside", "alive"])
                .about("a room, which has outlived the client; its runtime is alive"),
            hazard("room/outside-down", &["plain", "room", "outside", "down"])
                .about("the same, after shutdown_background()"),
            control("client/inside-alive", &["plain", "client", "inside", "alive"])
                .about("the main thread has entered the runtime, which is alive"),
            control("client/inside-down", &["plain", "client", "inside", "down"])
                .about("the same, after shutdown_background()"),
        ])
        .variants([
            cure("kit/client/outside-alive", &["kit", "client", "alive"])
                .about("the client, in a session"),
            cure("kit/client/outside-down", &["kit", "client", "down"])
                .about("the same, after shutdown_background()"),
            cure("kit/room/outside-alive", &["kit", "room", "alive"])
                .about("a room that the session has derived from the client"),
            cure("kit/room/outside-down", &["kit", "room", "down"])
                .about("the same, after shutdown_background()"),
        ])
        .kit_claim(
            "A session's handle of the real client can be dropped on a thread without a context. Once the \
             session has closed, no file of the store is open.",
        );
    real_sdk::needed_by(experiment).run()
}
