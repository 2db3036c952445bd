//! Reports to the lab, as its programs do: one line of JSON at a time, to the descriptor in `LAB_REPORT`.
//! Without that variable the lines go to standard output.

use std::{
    env,
    fs::OpenOptions,
    io::{self, Write as _},
    time::Duration,
};

use serde_json::{Value, json};

/// Records an observation.
pub fn record(name: &str, value: impl Into<Observed>) {
    let Observed(value) = value.into();
    line(&json!({ "observation": { "name": name, "value": value } }));
}

/// Checks what must hold in a clean trial. Returns whether it does.
pub fn check(what: &str, holds: bool) -> bool {
    if !holds {
        line(&json!({ "problem": what }));
    }
    holds
}

/// What can be recorded: an integer, a duration, a flag, a short text.
pub struct Observed(Value);

impl From<usize> for Observed {
    fn from(number: usize) -> Self {
        Self(json!({ "integer": number }))
    }
}

impl From<i64> for Observed {
    fn from(number: i64) -> Self {
        Self(json!({ "integer": number }))
    }
}

impl From<Duration> for Observed {
    fn from(time: Duration) -> Self {
        Self(json!({ "nanoseconds": u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) }))
    }
}

impl From<bool> for Observed {
    fn from(flag: bool) -> Self {
        Self(json!({ "flag": flag }))
    }
}

impl From<&str> for Observed {
    fn from(text: &str) -> Self {
        Self(json!({ "text": text }))
    }
}

fn line(value: &Value) {
    let line = format!("{value}\n");
    let written = match env::var("LAB_REPORT") {
        // One `write` for each line: other threads may report at the same time.
        Ok(descriptor) => OpenOptions::new()
            .write(true)
            .open(format!("/dev/fd/{descriptor}"))
            .and_then(|mut pipe| pipe.write_all(line.as_bytes())),
        Err(_) => io::stdout().write_all(line.as_bytes()),
    };
    // Nobody reads any more: the trial is over.
    drop(written);
}
