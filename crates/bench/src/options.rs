//! What can be asked for on the command line.

use clap::{Parser, ValueEnum};

use crate::{flavour::Flavour, group::peers::MAKERS, latch, teardown, turn};

/// The benches.
pub const BENCHES: [&str; 6] = ["group", "turn", "drop", "latch", "teardown", "guard"];

/// Measure what the kit costs, with its peers beside it in one process.
///
/// group: from the first spawn until all tasks have registered for the signal, and from the signal
/// until all have ended, per task, for one task up to a million; and the bytes of heap for each.
/// turn: what it adds to a turn of a loop that the loop selects on the signal in it, in one task and
/// in one for each core at the same time; the cases with `-signal` leave out what `select!` itself
/// costs. drop: what becomes of the tasks when the thing that holds
/// them is dropped without a shutdown. latch: all that it takes to have so many waiters register,
/// to fire, and to have all of them through. teardown: a pool of so many SQLite connections, from
/// the drop until all of them are closed, with and without something left to write. guard: a handle
/// of a session beside an `Arc`, and the drop of the last one.
///
/// Subjects are measured in interleaved rounds and medians are shown. A ratio is the median of the
/// ratios within each round, so that other load on the machine strikes both sides. The floor is the
/// least that does the job, written by hand. Nothing here asserts a time: figures are to be read.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench", disable_help_subcommand = true)]
pub struct Options {
    /// Only these benches (group, turn, drop, latch, teardown, guard), or these subjects (the floor is always there)
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub only: Vec<String>,

    /// How many rounds; as many as each bench needs if not said
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,

    /// How many tasks, waiters or connections
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub n: Vec<u32>,

    /// Only on this flavour of runtime
    #[arg(long, value_enum)]
    pub runtime: Option<Flavour>,

    /// Few rounds, no large numbers: whether it works, rather than what it costs
    #[arg(long)]
    pub quick: bool,

    /// Slow peers in large numbers as well, which takes minutes and gigabytes
    #[arg(long)]
    pub slow: bool,

    /// How to print the figures
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// How to print the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables
    Table,
    /// JSON lines, one object per figure
    Json,
}

impl Options {
    /// Whether all names are names of something; if not, what to say.
    pub fn check(&self) -> Result<(), String> {
        let known = || BENCHES.into_iter().chain(subjects());
        for name in &self.only {
            if !known().any(|other| other == name) {
                let nearest = known().max_by(|one, other| {
                    let near = |known| strsim::jaro_winkler(known, name);
                    near(one).total_cmp(&near(other))
                });
                let nearest = nearest.unwrap_or_default();
                return Err(format!(
                    "there is no bench and no subject `{name}`; did you mean `{nearest}`?"
                ));
            }
        }
        Ok(())
    }

    /// Whether a bench is asked for.
    pub fn is_bench(&self, name: &str) -> bool {
        let mut benches = self.only.iter().filter(|only| BENCHES.contains(&only.as_str()));
        benches.clone().next().is_none() || benches.any(|only| only == name)
    }

    /// Whether a subject is asked for.
    pub fn is_subject(&self, name: &str) -> bool {
        let mut subjects = self.only.iter().filter(|only| !BENCHES.contains(&only.as_str()));
        name.starts_with("floor")
            || subjects.clone().next().is_none()
            || subjects.any(|only| only == name)
    }

    /// Which flavours.
    pub fn flavours(&self) -> impl Iterator<Item = Flavour> {
        let asked = self.runtime;
        Flavour::ALL.into_iter().filter(move |flavour| asked.is_none_or(|asked| asked == *flavour))
    }

    /// How many rounds: what is asked for, or the usual number.
    pub fn rounds(&self, usual: usize, quick: usize) -> usize {
        let usual = if self.quick { quick } else { usual };
        self.rounds.map_or(usual, |rounds| usize::try_from(rounds).unwrap_or(usize::MAX))
    }

    /// Which numbers: what is asked for, or the usual ones, or those of them that are quick.
    pub fn sizes(&self, usual: &[usize], quick_limit: usize) -> Vec<usize> {
        if self.n.is_empty() {
            let limit = if self.quick { quick_limit } else { usize::MAX };
            return usual.iter().copied().filter(|n| *n <= limit).collect();
        }
        self.n.iter().filter_map(|n| usize::try_from(*n).ok()).collect()
    }
}

/// All subjects of all benches.
fn subjects() -> impl Iterator<Item = &'static str> {
    let groups = MAKERS.iter().map(|maker| maker.subject);
    groups
        .chain(turn::SUBJECTS.map(|(name, _)| name))
        .chain(latch::SUBJECTS.map(|(name, _)| name))
        .chain(teardown::SUBJECTS.map(|(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Options {
        Options::parse_from(["bench"].iter().chain(arguments))
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        let message = options(&["--only", "gruop"]).check().unwrap_err();
        assert!(message.contains("did you mean `group`"), "{message}");
        assert_eq!(options(&["--only", "group,sundown"]).check(), Ok(()));
    }

    #[test]
    fn benches_and_subjects_are_told_apart() {
        let benches = options(&["--only", "latch"]);
        assert!(benches.is_bench("latch") && !benches.is_bench("group"));
        assert!(benches.is_subject("sundown"));
        let subjects = options(&["--only", "sundown"]);
        assert!(subjects.is_bench("group") && subjects.is_subject("floor"));
        assert!(!subjects.is_subject("swansong"));
    }
}
