//! The command line.

use clap::Parser;

use crate::{flavour::Flavour, output::Format};

/// The names of the benches.
pub const BENCHES: [&str; 6] = ["group", "turn", "drop", "latch", "teardown", "guard"];

/// Measure what the kit costs, with its peers beside it in one process.
///
/// group: from the first spawn until all tasks have registered for the signal, and from the signal
/// until all have ended, per task, for one task up to a million; and the bytes of heap per task.
/// turn: what it adds to a turn of a loop to select on the signal, in one task and in one task per
/// core at the same time; the cases with `-signal` leave out the cost of `select!` itself. drop: what
/// happens to the tasks when the thing that holds them is dropped without a shutdown. latch: from the
/// registration of all waiters through the firing until all have passed. teardown: a pool of SQLite
/// connections, from the drop until all of them are closed, with and without something left to write;
/// one value with the closing service running (`sundown`) and not (`sundown-teardown`); and the threads
/// and the memory of a thousand open sessions.
/// guard: a handle of a session beside an `Arc`, and the drop of the last one.
///
/// Subjects are measured in interleaved rounds, and medians are shown. A ratio is the median of the
/// ratios within each round, so that other load on the machine affects both sides. The floor is the
/// least code that does the job, written by hand. Nothing here asserts a time: the figures are to be
/// read.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench", disable_help_subcommand = true)]
pub struct Options {
    /// Only these benches (group, turn, drop, latch, teardown, guard), or these subjects (the floor is always there)
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub only: Vec<String>,

    /// How many rounds; each bench has a default
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: Option<u32>,

    /// How many tasks, waiters or connections
    #[arg(long, value_name = "N", num_args = 1.., value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..))]
    pub n: Vec<u32>,

    /// Only on this flavour of runtime
    #[arg(long, value_enum)]
    pub runtime: Option<Flavour>,

    /// Few rounds and small numbers: shows whether it works, not what it costs
    #[arg(long)]
    pub quick: bool,

    /// Also slow peers in large numbers, which takes minutes and gigabytes
    #[arg(long)]
    pub slow: bool,

    /// How to print the figures
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

impl Options {
    /// Checks the names after `--only`. An error names one that is neither a bench nor a subject.
    pub fn check(&self, subjects: &[&str]) -> Result<(), String> {
        for name in &self.only {
            let known = || BENCHES.iter().chain(subjects);
            if !known().any(|other| other == name) {
                let near = |known| strsim::jaro_winkler(known, name);
                let nearest = known().max_by(|one, other| near(one).total_cmp(&near(other)));
                return Err(format!(
                    "there is no bench and no subject `{name}`; did you mean `{}`?",
                    nearest.copied().unwrap_or_default()
                ));
            }
        }
        Ok(())
    }

    /// Whether to run a bench.
    pub fn is_bench(&self, name: &str) -> bool {
        let mut benches = self.only.iter().filter(|only| BENCHES.contains(&only.as_str()));
        benches.clone().next().is_none() || benches.any(|only| only == name)
    }

    /// Of a bench's subjects, those to measure: the floors, and all others unless some are named.
    pub fn subjects<S: Clone>(&self, all: &[S], name: impl Fn(&S) -> &'static str) -> Vec<S> {
        let named = || self.only.iter().filter(|only| !BENCHES.contains(&only.as_str()));
        let is_asked = |name: &str| {
            name.starts_with("floor")
                || named().next().is_none()
                || named().any(|only| only == name)
        };
        all.iter().filter(|subject| is_asked(name(subject))).cloned().collect()
    }

    /// The flavours to measure on.
    pub fn flavours(&self) -> impl Iterator<Item = Flavour> {
        let asked = self.runtime;
        Flavour::ALL.into_iter().filter(move |flavour| asked.is_none_or(|asked| asked == *flavour))
    }

    /// The number of rounds.
    pub fn rounds(&self, usual: usize, quick: usize) -> usize {
        let usual = if self.quick { quick } else { usual };
        self.rounds.map_or(usual, |rounds| usize::try_from(rounds).unwrap_or(usize::MAX))
    }

    /// The numbers of tasks, waiters or connections.
    pub fn sizes(&self, usual: &[usize], quick_limit: usize) -> Vec<usize> {
        if self.n.is_empty() {
            let limit = if self.quick { quick_limit } else { usize::MAX };
            return usual.iter().copied().filter(|n| *n <= limit).collect();
        }
        self.n.iter().filter_map(|n| usize::try_from(*n).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECTS: [&str; 3] = ["floor", "sundown", "swansong"];

    fn options(only: &[&str]) -> Options {
        Options::parse_from(["bench", "--only"].iter().chain(only))
    }

    #[test]
    fn an_unknown_name_suggests_the_nearest() {
        let message = options(&["gruop"]).check(&SUBJECTS).unwrap_err();
        assert!(message.contains("did you mean `group`"), "{message}");
        assert_eq!(options(&["group,sundown"]).check(&SUBJECTS), Ok(()));
    }

    #[test]
    fn a_name_is_that_of_a_bench_or_of_a_subject() {
        let subjects = |options: &Options| options.subjects(&SUBJECTS, |name| name);
        let bench = options(&["latch"]);
        assert!(bench.is_bench("latch") && !bench.is_bench("group"));
        assert_eq!(subjects(&bench), SUBJECTS);
        let subject = options(&["sundown"]);
        assert!(subject.is_bench("group"));
        assert_eq!(subjects(&subject), ["floor", "sundown"]);
    }
}
