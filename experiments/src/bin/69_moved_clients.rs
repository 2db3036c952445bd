//! 69 moved clients: do the exits of published clients become clean if their sources name the kit's crate for
//! extensions? Each client is built twice from its sources, as it is and moved over. A trial becomes
//! `experiments/python/watched.py`, which watches exits of it. Page: `docs/src/69-moved-clients.md`.

use experiments::{
    moved_clients::{self, Client, ETCD_NEW, ETCD_OLD, EXITS, NATSRPY, TAUNICORN},
    prelude::*,
    real_clients,
};
use lab::{Prediction, server::Kind};

/// Of a hundred exits one to forty fail, by client and by what else the machine does. Of the client where it is one, a run
/// in ten misses it.
const RACE: u32 = 30;

/// Nothing here takes ten seconds, on a machine that has the time.
const DEADLINE: Duration = Duration::from_secs(600);

/// A client, and what its programs do.
struct Subject {
    name: &'static str,
    client: Client,
    /// It leaves work behind that nobody waits for.
    in_flight: &'static str,
    leaves: &'static str,
    /// These wait for everything.
    answered: &'static [&'static str],
    does: &'static str,
}

const SUBJECTS: [Subject; 4] = [
    Subject {
        name: "etcd-0.4.1",
        client: ETCD_OLD,
        in_flight: "package operations_in_flight closed",
        leaves: "50 operations, which nothing cancels",
        answered: &OF_THE_NOTES,
        does: "the scenarios of the notes, the client closed or not",
    },
    Subject {
        name: "etcd-0.5.1",
        client: ETCD_NEW,
        in_flight: "package watches_and_operations returned",
        leaves: "3 watches, which asyncio.run cancels; the client is not closed",
        answered: &CLOSED_OF_THE_NOTES,
        does: "the scenarios of the notes, the client closed",
    },
    Subject {
        name: "natsrpy",
        client: NATSRPY,
        in_flight: "objects_returned",
        leaves: "an object on its way into a file, ten times",
        answered: &["publishes_closed", "publishes_returned", "messages_closed"],
        does: "50 messages; all are waited for",
    },
    Subject {
        name: "taunicorn",
        client: TAUNICORN,
        in_flight: "in_flight",
        leaves: "20 messages and 5 accepts",
        answered: &["messages_closed", "messages_returned", "connections_closed"],
        does: "20 messages, or 10 connections; all are waited for",
    },
];

const CLOSED_OF_THE_NOTES: [&str; 5] = [
    "package single_put closed",
    "package active_watch closed",
    "package operations closed",
    "package rapid_clients closed",
    "package watches_and_operations closed",
];

const OF_THE_NOTES: [&str; 10] = [
    "package single_put closed",
    "package active_watch closed",
    "package operations closed",
    "package rapid_clients closed",
    "package watches_and_operations closed",
    "package single_put returned",
    "package active_watch returned",
    "package operations returned",
    "package rapid_clients returned",
    "package watches_and_operations returned",
];

fn main() -> ExitCode {
    moved_clients::needed_by(Experiment::new(file!()))
        .question("Do the exits of published clients become clean if their sources name another crate?")
        .first_expected(
            "Built as it is, taunicorn 0.1.10 panics in some exits that leave operations in flight. Built on \
             sundown-pyo3, it fails in none.",
        )
        .hypothesis(
            "Built as they are, etcd-client-py 0.4.1 and 0.5.1, natsrpy 0.1.4 and taunicorn 0.1.10 panic, abort or are \
             ended by a signal in some exits that leave operations in flight. Built on sundown-pyo3, they fail in none.",
        )
        .needs(real_clients::server(Kind::Etcd))
        .needs(real_clients::server(Kind::Nats))
        .variants(SUBJECTS.iter().flat_map(variants))
        .each(|variant| variant.deadline(DEADLINE))
        .kit_claim(
            "a client that is built on sundown-pyo3 crashes no exit and prints no panic, with operations in flight and \
             without",
        )
        .run()
}

fn variants(of: &'static Subject) -> [Variant; 5] {
    let (name, client) = (of.name, of.client);
    let moved = format!("the same; changed lines in its sources: {}", client.changed_lines());
    [
        control(format!("{name}/bare/imported"), move |scene| {
            client.becomes_imported(scene, "bare")
        })
        .about(format!("{EXITS} exits with the client imported, and not used"))
        .trials(5),
        hazard(format!("{name}/bare/in-flight"), fails(), move |scene| {
            client.becomes(scene, "bare", &[of.in_flight])
        })
        .about(format!("{EXITS} exits that leave {}", of.leaves))
        .trials(RACE),
        hazard(format!("{name}/bare/answered"), may_fail(), move |scene| {
            client.becomes(scene, "bare", of.answered)
        })
        .about(format!("{EXITS} exits after {}", of.does)),
        cure(format!("{name}/moved/in-flight"), move |scene| {
            client.becomes(scene, "moved", &[of.in_flight])
        })
        .about(&*moved)
        .trials(RACE),
        cure(format!("{name}/moved/answered"), move |scene| {
            client.becomes(scene, "moved", of.answered)
        })
        .about(moved),
    ]
}

/// In some trials an exit panics, aborts or is ended by a signal: the program that watches them fails then.
fn fails() -> Prediction {
    seen(Failed).allowing([Clean])
}

/// Some may, and most do not.
fn may_fail() -> Prediction {
    seen(Clean).allowing([Failed])
}
