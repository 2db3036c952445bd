//! A process that acknowledges the rows that it commits, and is killed: no acknowledged row may be
//! lost. For experiments 24 and 30.

use std::{
    collections::BTreeSet,
    hint,
    io::{self, BufRead as _, BufReader, Lines, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use lab::{Trial, TrialResult};
use mock_sdk::store::rusqlite::Connection;

/// A sleep ends a little late, so a wait for an exact moment spins for its last part.
const SPIN: Duration = Duration::from_millis(1);

/// Commits a row, and acknowledges it after that, or wrongly before. Returns whether it was committed.
pub async fn write(
    row: &str,
    acknowledges_first: bool,
    commit: impl Future<Output = bool>,
) -> bool {
    if acknowledges_first {
        acknowledge(row);
    }
    let committed = commit.await;
    if committed && !acknowledges_first {
        acknowledge(row);
    }
    committed
}

/// Tells the parent, in the process that writes.
pub fn acknowledge(line: &str) {
    // One write, so that lines do not mix. If nobody reads, nobody is promised anything.
    let _ = io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}

/// The process that writes, as its parent sees it.
pub struct Writer {
    child: Child,
    /// What it says.
    pub lines: Lines<BufReader<ChildStdout>>,
}

impl Writer {
    /// Starts the process. Its input stays open for as long as it lives.
    pub fn start(part: &mut Command) -> TrialResult<Self> {
        let mut child = part.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
        Ok(Self { child, lines })
    }

    /// Kills the process so long from now, and returns the whole lines that it has said until then.
    pub fn kill_after(mut self, moment: Duration, trial: &Trial<'_>) -> io::Result<Vec<String>> {
        let since = Instant::now();
        thread::sleep(moment.saturating_sub(SPIN));
        while since.elapsed() < moment {
            hint::spin_loop();
        }
        self.child.kill()?;
        let ended = self.child.wait()?;
        trial.check("it was killed", ended.code().is_none());
        Ok(self.lines.map_while(Result::ok).collect())
    }
}

/// The bodies of all rows that are stored in a table.
pub fn stored(database: &Path, table: &str) -> TrialResult<BTreeSet<String>> {
    let database = Connection::open(database)?;
    let mut query = database.prepare(&format!("SELECT body FROM {table}"))?;
    Ok(query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Compares the acknowledged rows with the stored ones.
pub fn compare(trial: &Trial<'_>, acknowledged: &[String], stored: &BTreeSet<String>) {
    let lost = acknowledged.iter().filter(|row| !stored.contains(*row)).count();
    trial.record("rows_acknowledged", acknowledged.len());
    trial.record("rows_lost", lost);
    trial.check("something was acknowledged", !acknowledged.is_empty());
    trial.check("no acknowledged row is lost", lost == 0);
}
