//! The census: the same questions about the end of a runtime, asked of released crates by trials.
//!
//! The lab's harness runs the trials: each is a process of its own with a deadline. `--cells` lists what is asked of
//! whom, and why something is not. `cargo xtask census` runs this program and writes the results.

mod look;
mod question;
mod real;
mod server;
mod subject;
mod subjects;
mod trial;

use std::{io::Write as _, process::ExitCode};

use lab::Experiment;

use crate::{question::Question, subject::Card};

fn main() -> ExitCode {
    let cards = subjects::all();
    if std::env::args().nth(1).as_deref() == Some("--cells") {
        let lines: String = cards.iter().map(|card| format!("{}\n", declared(card))).collect();
        let printed = std::io::stdout().write_all(lines.as_bytes());
        return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    Experiment::new("00_census")
        .question(
            "What do released crates do when the runtime that they need ends, or is not there?",
        )
        .hypothesis("Nothing panics, hangs or is lost.")
        .needs(server::prepare)
        .needs(real::prepare)
        .variants(cards.into_iter().flat_map(|card| card.variants))
        .run()
}

/// What is asked of a subject, for `cargo xtask census`.
fn declared(card: &Card) -> serde_json::Value {
    let asked = Question::ALL.map(|question| {
        let not_asked = card.not_asked.iter().find(|(it, _)| *it == question);
        serde_json::json!({
            "question": question.code(),
            "about": question.about(),
            "not_asked": not_asked.map(|(_, because)| because),
        })
    });
    serde_json::json!({
        "code": card.code,
        "package": card.package,
        "lock": card.lock,
        "source": card.source,
        "value": card.value,
        "call": card.call,
        "close": card.close,
        "accepts": card.accepts,
        "server": card.server,
        "cells": asked,
    })
}
