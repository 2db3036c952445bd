//! 41 second caller: is a second call of `shutdown()` a harmless no-op, as a pattern's write-up
//! claims (D2)? Not if the first caller was dropped half-way: then the pattern answers the second
//! one at once, with the task still running. Page: `docs/src/41-second-caller.md`.

use std::pin::pin;

use experiments::{
    pattern::Owner,
    poll_once,
    prelude::*,
    probe::{on_one_thread, probe},
};
use tokio::sync::oneshot;

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Has the task ended when a second caller's shutdown returns?")
        .hypothesis(
            "In the pattern, only if the first caller waited for the end: after a first call that was \
             dropped half-way the second one returns at once, with the task still running. In the \
             kit, always.",
        )
        .variants([
            control("pattern/sees-it-through", on_one_thread(two_callers))
                .about("the first caller waits for the end"),
            control("pattern/sees-it-through-clone", on_one_thread(two_callers))
                .about("the first caller waits for the end; the second has a clone"),
            hazard("pattern/gives-up", Failed, on_one_thread(two_callers))
                .about("the first caller's future is dropped while pending"),
            hazard("pattern/gives-up-clone", Failed, on_one_thread(two_callers))
                .about("the first caller's future is dropped while pending; the second has a clone"),
            cure("kit/sees-it-through", on_one_thread(two_callers))
                .about("BackgroundTask; the first caller waits for the end"),
            cure("kit/gives-up", on_one_thread(two_callers))
                .about("BackgroundTask; the first caller's future is dropped while pending"),
            cure("kit/gives-up-clone", on_one_thread(two_callers))
                .about("BackgroundTask; the same, and the second has a clone"),
        ])
        .keeps("answered_while_running", [])
        .claim("D2", "Shutdown is idempotent, on clones too: a second call is a harmless no-op.")
        .supported_if(every("pattern/sees-it-through*").is(Clean))
        .refuted_if(
            every("pattern/sees-it-through*").is(Failed)
                | every("pattern/sees-it-through*").observed("answered_while_running").always_reads("true"),
        )
        .finding(
            "D2b",
            "After a first caller that was dropped half-way, the second one is answered while the task \
             runs.",
        )
        .supported_if(
            every("pattern/gives-up*").observed("answered_while_running").always_reads("true"),
        )
        .refuted_if(
            every("pattern/gives-up*").observed("answered_while_running").always_reads("false"),
        )
        .run()
}

/// What the first and the second caller do is in the variant's name.
async fn two_callers(scene: &Scene<'_>) -> TrialResult {
    let ((probe, mut responder), (let_go, is_let_go)) = (probe(), oneshot::channel::<()>());
    let mut let_go = Some(let_go);
    // The task runs until it is told to stop, and then until it is let go.
    let owner = Owner::spawn(scene, "reluctant", |stop| async move {
        responder.until(stop).await;
        responder.until(is_let_go).await;
    })?;
    let clone = owner.clone();
    scene.check("the task has begun", probe.is_running().await);
    {
        let mut first_call = pin!(owner.shutdown());
        let answer = poll_once(first_call.as_mut()).await;
        scene.check("the first caller has to wait", answer.is_pending());
        if scene.variant().contains("sees-it-through") {
            let_go.take();
            first_call.await?;
        }
    }

    let second = if scene.variant().ends_with("-clone") { &clone } else { &owner };
    let mut second_call = pin!(second.shutdown());
    let answer = poll_once(second_call.as_mut()).await;
    let answered_while_running = probe.is_running().await && answer.is_ready();
    scene.record("answered_while_running", answered_while_running);
    scene.check("the second caller is answered after the task has ended", !answered_while_running);

    let_go.take();
    if answer.is_pending() {
        second_call.await?;
        scene.check("the task has ended", probe.has_ended());
    }
    // A task that was left running ends before the trial does.
    probe.ended().await;
    Ok(())
}
