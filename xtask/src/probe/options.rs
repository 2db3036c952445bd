//! What can be asked of `cargo xtask probe`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

/// Run any command many times in the lab's sandbox, and say how it ends and how often.
///
/// Each trial is the command in a process group of its own, in the current directory and with the
/// environment it was given, an empty standard input, and a TMPDIR that is removed afterwards. When
/// it ends, or its time is up, what is left of it is killed. A trial fails when it ends by a signal,
/// is still running when its time is up, exits with another code than 0, or prints a Rust panic,
/// whatever it exits with.
///
/// The command finds the number of the trial in PROBE_TRIAL and a seed of its own in PROBE_SEED.
///
/// Exits 0 when no trial failed, 1 when one did, 2 when it does not understand the command line or
/// there is no such command, 130 when it was interrupted. docs/src/tools.md tells more.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Run the command this often [default: 50; with --until-failure, until then]
    #[arg(long, value_name = "N", value_parser = lab::count::parse)]
    pub trials: Option<u32>,

    /// Run this many trials at a time [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub jobs: Option<u32>,

    /// How long a trial may take before it counts as hung: seconds, or as in 1m30s
    #[arg(long, value_name = "TIME", default_value = "1m",
          value_parser = crate::duration::parse)]
    pub timeout: Duration,

    /// Stop at the first trial that fails
    #[arg(long)]
    pub until_failure: bool,

    /// Run this command as well, trial by trial in turn with the other and with the same seeds, and
    /// say whether their rates of failure differ. One argument, quoted as for a shell; none runs it
    #[arg(long, value_name = "COMMAND", conflicts_with = "until_failure")]
    pub compare: Option<String>,

    /// Derive every trial's seed from this one, in decimal or as 0x… [default: at random]
    #[arg(long, value_parser = lab::seed::parse)]
    pub seed: Option<u64>,

    /// Where to keep what failed trials and the slowest ones printed: a folder that is not there yet
    /// [default: one of its own in `probe` in the target directory]
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,

    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true,
          allow_hyphen_values = true, num_args = 1..)]
    pub command: Vec<OsString>,
}

/// How to print what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables and sentences
    Text,
    /// One JSON object, as docs/src/tools.md describes it
    Json,
}
