//! What can be asked of `cargo xtask experiments`.

use std::{fmt, path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};

/// Run the experiments and hold what they find against the committed snapshots.
///
/// Builds the experiments once, runs them one after another with trials in parallel, prints what
/// they found, and compares it with the snapshots in experiments/snapshots.
///
/// Exits 0 when all of them match, 1 when one does not or an experiment could not be run, 2 when it does not understand
/// the command line, 130 when it was interrupted.
#[derive(Clone, Debug, Default, Args)]
pub struct Options {
    /// Write what was found into the snapshots, instead of comparing the two
    #[arg(long, conflicts_with = "list")]
    pub accept: bool,

    /// Run only these experiments, by number or name (`--only 03,double-panic`)
    #[arg(long, value_name = "EXPERIMENT", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Run each variant this often. Never fewer than a verdict takes, nor than a race needs
    #[arg(long, value_name = "N", value_parser = lab::count::parse)]
    pub trials: Option<u32>,

    /// Derive every trial's seed from this one, in decimal or as 0x… [default: at random]
    #[arg(long, value_parser = lab::seed::parse)]
    pub seed: Option<u64>,

    /// Run fewer trials where the outcome is certain. The same snapshots must match
    #[arg(long, conflicts_with = "trials")]
    pub quick: bool,

    /// Run this many trials at a time [default: two for each core, and beside these more of what
    /// mostly waits]
    #[arg(long, value_name = "N", value_parser = lab::count::parse)]
    pub jobs: Option<u32>,

    /// Run the i-th of n shares of the experiments. For a matrix in CI: the other options must be
    /// the same everywhere, for the shares to be complete
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,

    /// Run nothing: put the results files of all shards together, check that no experiment is
    /// missing or there twice, and go on as if they had been run here
    #[arg(long, value_name = "FILE", num_args = 1..,
          conflicts_with_all = ["list", "only", "trials", "seed", "quick", "jobs", "shard"])]
    pub merge: Vec<PathBuf>,

    /// Run nothing: list the experiments, what each asks, and how many trials it would make
    #[arg(long)]
    pub list: bool,

    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub format: Format,

    /// Where to write the full results [default: experiments/results.json in the target directory]
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,

    /// Where the snapshots are [default: experiments/snapshots]
    #[arg(long, value_name = "FOLDER")]
    pub snapshots: Option<PathBuf>,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table, ruled on a terminal and plain elsewhere
    #[default]
    Auto,
    /// A ruled table, wherever it goes
    Table,
    /// JSON lines, one object per experiment, as docs/src/results-format.md describes them
    Json,
}

/// One of several shares of the experiments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which, from 1.
    pub index: usize,
    /// Of how many.
    pub count: usize,
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(index, count)| {
            Some(Self { index: index.parse().ok()?, count: count.parse().ok()? })
        });
        match numbers {
            None => Err("expected two numbers, as in 1/3".to_owned()),
            Some(shard) if shard.index == 0 => Err("the first shard is 1/n, not 0/n".to_owned()),
            Some(shard) if shard.index > shard.count => {
                Err(format!("there is no shard {} of {}", shard.index, shard.count))
            }
            Some(shard) => Ok(shard),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_one_of_those_there_are() {
        assert_eq!("2/3".parse(), Ok(Shard { index: 2, count: 3 }));
        for wrong in ["3/2", "0/2", "x", "1", "1/0", "-1/2", "1/2/3", ""] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }
}
