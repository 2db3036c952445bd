//! 72 last owner: who holds a client of the real SDK when the application has dropped all it has? Its own
//! tasks do, at some moments and not at others. The table of the mock's owners is a prediction here: the
//! SDK of its generation must hold to it. Page: `docs/src/72-last-owner.md`.

use experiments::{
    prelude::*,
    real_sdk::{self, VERSIONS, becomes},
};
use mock_sdk::owners::{Moment, OWNERS};

/// A wait is most of each trial.
const TRIALS: u32 = 10;

fn main() -> ExitCode {
    let experiment = Experiment::new(file!())
        .question("Who holds a client of the real SDK when the application has dropped all it has of it?")
        .hypothesis(
            "In 0.13 the owners in the mock's table, at the same moments, and the owners that the mock leaves \
             out: an event handler that captured the client holds it for ever, and the event cache holds \
             its store. In 0.18 a sync service that was stopped and dropped holds the client as well, and \
             the event cache nothing. In both, the tasks of a timeline hold the client for a moment after the timeline \
             was dropped: whoever drops the client then is not its last owner.",
        )
        .first_expected(
            "Before a look at each moment by hand: in both versions the owners in the mock's table, and no \
             others.",
        )
        .holds_only_if(
            every("*/event-handler").observed("held_until").always_reads("the process ends")
                & every("0.13/event-cache").observed("holds").always_reads("a store")
                & every("0.18/event-cache").observed("holds").always_reads("nothing"),
        )
        .variants(OWNERS.map(|owner| held("0.13", owner.moment, owner.keeps_client)))
        .variants(OWNERS.map(|owner| {
            let is_stopped = owner.moment == Moment::SyncServiceStopped;
            held("0.18", owner.moment, owner.keeps_client || is_stopped)
        }))
        .variants(["0.13", "0.18"].into_iter().flat_map(beyond_the_mock))
        .variants(after_a_timeline())
        .each(|variant| variant.trials(TRIALS).waits().deadline(Duration::from_secs(60)))
        .keeps("holds", [])
        .keeps("held_until", []);
    real_sdk::needed_by(experiment).run()
}

/// A moment of the mock's table, with the SDK.
fn held(version: &str, moment: Moment, is_held: bool) -> Variant {
    let (name, about) = match moment {
        Moment::Initializing => ("initializing", "it has logged in, and is not initialized"),
        Moment::Idle => ("idle", "it is initialized, and has sent a message"),
        Moment::Sending => ("sending", "it sends a message, which is not answered yet"),
        Moment::SyncServiceHeld => ("sync-service-held", "there is a sync service, not started"),
        Moment::Syncing => ("syncing", "a sync service runs"),
        Moment::SyncServiceDropped => {
            ("sync-service-dropped", "a sync service was dropped while it ran")
        }
        Moment::SyncServiceStopped => {
            ("sync-service-stopped", "a sync service was stopped and dropped")
        }
        Moment::RoomHeld => ("room-held", "there is a handle of a room"),
        Moment::TimelineHeld => ("timeline-held", "there is a timeline"),
        Moment::TimelineDropped => ("timeline-dropped", "a timeline was made, and dropped"),
    };
    variant(version, name, about, is_held)
}

/// What the mock does not have.
fn beyond_the_mock(version: &str) -> [Variant; 3] {
    [
        variant(version, "sync-loop", "a task of the application syncs", true),
        variant(version, "event-handler", "an event handler captured the client", true),
        variant(version, "event-cache", "the event cache was subscribed to", false),
    ]
}

/// The client is dropped after its timeline, and nobody has a context. Where the last owner goes then is a matter of who
/// is faster, but hardly so: the task has to be woken first.
fn after_a_timeline() -> [Variant; 2] {
    let body = |when: &'static str| {
        move |trial: &Trial<'_>| becomes(trial, "owners.rs", &["after-a-timeline", when])
    };
    [
        lab::control("timeline-dropped/at-once", body("at-once"))
            .predict(seen(Clean).allowing([Aborted]))
            .sometimes_at("")
            .about("a thread without a context drops a timeline and then the client")
            .versions(VERSIONS),
        lab::hazard("timeline-dropped/later", Aborted, body("later"))
            .about("the same, and the client a second after the timeline")
            .versions(VERSIONS),
    ]
}

fn variant(version: &str, name: &'static str, about: &str, is_held: bool) -> Variant {
    let body = move |trial: &Trial<'_>| becomes(trial, "owners.rs", &[name]);
    let variant = match is_held {
        true => lab::hazard(name, Failed, body),
        false => lab::control(name, body),
    };
    variant.about(about).versions([version])
}
