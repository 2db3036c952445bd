//! 20 problem: why does logging in again panic? The six steps of the write-up abort, wherever the user
//! logs out. They are clean if no room holds the client, if the user interface has a context, or if the
//! runtime is kept. The logout is in `story/naive.rs`. Page: `docs/src/20-problem.md`.

use experiments::{
    prelude::*,
    story::{
        Change,
        naive::{Build, six_steps},
    },
};

/// It always ends in the same way, and takes a while.
const TRIALS: u32 = 10;

fn main() -> ExitCode {
    let with = |change| move |scene: &Scene<'_>| six_steps(scene, &Build::first_version(change));
    let runtime_kept = |tasks| {
        let build = Build { main_loop: false, tasks, ..Build::first_version(Change::RuntimeKept) };
        move |scene: &Scene<'_>| six_steps(scene, &build)
    };
    Experiment::new(file!())
        .question("Why does logging in again panic?")
        .hypothesis(
            "Because the user interface is the last to hold the old client, and drops it at the \
             next login on a thread without runtime context. If only the globals hold it, or the \
             thread has a context, nothing happens.",
        )
        .variants([
            hazard("*/six-steps", Aborted, with(Change::Nothing))
                .about("rooms on the desktop, logout on the phone, login on the desktop"),
            hazard("*/on-desktop", Aborted, with(Change::OnDesktop))
                .about("logout on the desktop, where the tabs are closed, and the cache is not"),
            control("*/no-rooms", with(Change::NoRooms)).about("no room was opened"),
            control("*/in-context", with(Change::InContext))
                .about("the user interface's thread is in the context of a runtime"),
            control("*/runtime-kept", with(Change::RuntimeKept))
                .about("the runtime is not shut down, and the old client stays in the main loop"),
            control("*/runtime-kept/no-main-loop", runtime_kept(true))
                .predict(seen(Clean).allowing([Aborted]))
                .about("the same in an application without a main loop; the timelines have tasks"),
            hazard("*/runtime-kept/no-task", Aborted, runtime_kept(false))
                .about("the same in an application without a main loop, and the timelines have no tasks"),
            hazard("*/tasks-ended", Aborted, with(Change::TasksEnded))
                .about("the six steps without a main loop and tasks of timelines; the shutdown finds no task on the runtime"),
        ])
        .each(|variant| variant.trials(TRIALS))
        .shows_first("old/six-steps")
        .keeps("step", [])
        .keeps("tabs_left", [1])
        .keeps("rooms_cached", [1])
        .keeps("tasks_at_shutdown", [1])
        .claim(
            "B1",
            "The six steps (desktop with rooms, phone, log out, desktop, log in) panic, at the second login.",
        )
        .supported_if(
            every("*/six-steps").is(Aborted)
                & every("*/six-steps").observed("step").always_reads("logging in again"),
        )
        .refuted_if(
            every("*/six-steps").is(Clean)
                | every("*/six-steps").observed("step").never_reads("logging in again"),
        )
        .claim(
            "A2a",
            "The reported panic comes from a shutdown of the runtime. (Here: in the application of the six \
             steps.)",
        )
        .supported_if(every("*/six-steps").is(Aborted) & every("*/runtime-kept").is(Clean))
        .refuted_if(every("*/six-steps").is(Clean) | every("*/runtime-kept").is(Aborted))
        .claim("B12a", "In this application, the panic occurs because the runtime is closed.")
        .supported_if(every("*/six-steps").is(Aborted) & every("*/runtime-kept").is(Clean))
        .refuted_if(every("*/six-steps").is(Clean) | every("*/runtime-kept").is(Aborted))
        .claim(
            "B15",
            "In this application, closing the runtime and starting another one is dangerous: with it the six steps \
             panic, and without it they do not.",
        )
        .supported_if(every("*/six-steps").is(Aborted) & every("*/runtime-kept").is(Clean))
        .refuted_if(every("*/six-steps").is(Clean) | every("*/runtime-kept").is(Aborted))
        .finding(
            "B12c",
            "In an application without a main loop, and whose timelines have no tasks, the steps panic although no \
             task exists in the runtime when it is closed.",
        )
        .supported_if(
            every("*/tasks-ended").is(Aborted)
                & every("*/tasks-ended").observed("tasks_at_shutdown").always_at_most(0)
                & every("*/six-steps").observed("tasks_at_shutdown").always_at_least(1),
        )
        .refuted_if(every("*/tasks-ended").is(Clean))
        .claim(
            "B12b",
            "It is the runtime's tasks that panic, because they try to execute without it.",
        )
        // With the same closed runtime and the same tasks, and a context for the user interface alone.
        .supported_if(every("*/six-steps").is(Aborted) & every("*/in-context").is(Aborted))
        .refuted_if(every("*/six-steps").is(Aborted) & every("*/in-context").is(Clean))
        .claim("B13a", "A logout on the phone leaves the state of the desktop behind.")
        .supported_if(
            every("*/six-steps").observed("tabs_left").always_at_least(1)
                & every("*/on-desktop").observed("tabs_left").always_at_most(0),
        )
        .refuted_if(every("*/six-steps").observed("tabs_left").always_at_most(0))
        .claim("B13b", "Closing the tabs of the desktop, too, would not have removed the panic.")
        .supported_if(every("*/on-desktop").is(Aborted))
        .refuted_if(every("*/on-desktop").is(Clean))
        .claim(
            "A12",
            "The client is dropped, the runtime is shut down by `shutdown_background()`, and thread 'main' \
             panics at deadpool-runtime-0.1.4/src/lib.rs:101:22, if rooms in the user interface still hold \
             the client.",
        )
        .supported_if(
            every("old/six-steps").is(Aborted)
                & every("old/six-steps").panics_at("deadpool-runtime-0.1.4/src/lib.rs:101:22")
                & every("old/six-steps").panics_on("main")
                & every("old/no-rooms").is(Clean),
        )
        .refuted_if(
            every("old/six-steps").is(Clean)
                | !every("old/six-steps").panics_at("deadpool-runtime-0.1.4/src/lib.rs:101:22")
                | !every("old/six-steps").panics_on("main"),
        )
        .run()
}
