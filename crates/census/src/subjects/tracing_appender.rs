//! tracing-appender, which writes lines on a thread of its own.

use std::{fs, io::Write as _};

use lab::TrialResult;
use tracing_appender::{
    non_blocking::{NonBlocking, WorkerGuard},
    rolling,
};

use crate::subject::{Card, Subject};

const FILE: &str = "census.log";

struct OfGuard;

impl Subject for OfGuard {
    type Live = (NonBlocking, Option<WorkerGuard>);

    const CODE: &'static str = "tracing-appender-guard";
    const PACKAGE: &'static str = "tracing-appender";
    const VALUE: &'static str = "a `NonBlocking` writer to a file, and then its `WorkerGuard`";
    const CALL: &'static str = "a line is written";
    const CLOSE: Result<&'static str, &'static str> = Ok("the drop of its `WorkerGuard`");
    const CLOSES_ONCE: Option<&'static str> = Some("its close is the drop of its `WorkerGuard`");
    const ACCEPTS: Result<&'static str, &'static str> =
        Ok("lines, which a thread writes into the file");

    async fn live() -> TrialResult<Self::Live> {
        let (writer, guard) = tracing_appender::non_blocking(rolling::never(".", FILE));
        Ok((writer, Some(guard)))
    }

    async fn call((writer, _): &mut Self::Live) -> TrialResult {
        Ok(writer.write_all(b"a line\n")?)
    }

    async fn close((_, guard): &mut Self::Live) -> TrialResult {
        drop(guard.take());
        Ok(())
    }

    async fn accept(live: &mut Self::Live) -> TrialResult {
        Self::call(live).await
    }

    fn arrived() -> usize {
        fs::read_to_string(FILE).map_or(0, |text| text.lines().count())
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfGuard>(file!())]
}
