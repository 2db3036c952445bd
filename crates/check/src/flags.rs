//! The command line.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{baseline::Baseline, kind::Certainty};

/// Checks of a program that depends on Tokio
#[derive(Debug, Parser)]
#[command(name = "cargo sundown", bin_name = "cargo sundown", version)]
pub struct Flags {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Check(Box<Check>),
    Explain(Explain),
}

/// Print what the code of a finding, or of a panic, means, and what to do
///
/// Exits with 2 if there is no such code.
#[derive(Args, Debug)]
pub struct Explain {
    /// The code, as in a report: SD0001
    pub code: String,
}

const EXIT_CODES: &str = "Exit codes:\n  \
    0    checked; with --deny, nothing new was found\n  \
    1    --deny, and something new was found; or the program cannot be built or read, or the report cannot be\n         written\n  \
    2    usage error\n  \
    130  interrupted";

/// Find the destructors in a program that can panic because of Tokio
///
/// Builds the program without optimization and with line numbers, in a target directory of its own, and follows the
/// calls of every destructor in it. Reports the types whose destructor needs a runtime context, and those whose
/// destructor blocks, which async code must not. The program itself is not changed, and not run
/// (`--try` runs a program of its own, which uses the library). x86-64 Linux.
///
/// A finding says `will` if a way of plain calls leads to the panic, and neither a context nor a condition on it prevents
/// it: a value that is alive and not empty panics when it is dropped in the wrong place. It says `may` if the way leads
/// through a virtual call or the address of a function, or past a context, a check such as `try_current`, or a flag that
/// something other than the destructor sets.
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Check {
    #[command(flatten)]
    pub target: Target,

    /// Try what is found: make live values with the constructors in this TOML file, and drop them in the wrong place
    #[arg(long = "try", value_name = "FILE", conflicts_with = "binary", help_heading = "Trials")]
    pub constructors: Option<PathBuf>,

    /// Report only types with this in their name; several times: with one of these
    #[arg(long, value_name = "TYPE", help_heading = "Report")]
    pub only: Vec<String>,

    /// Report findings that are at least this sure
    #[arg(
        long, value_enum, default_value_t = Certainty::May, conflicts_with_all = ["deny", "accept"],
        help_heading = "Report"
    )]
    pub sure: Certainty,

    /// Show all types with a culprit, not only the first ones
    #[arg(long, help_heading = "Report")]
    pub verbose: bool,

    /// The output format
    #[arg(long, value_enum, default_value_t = Format::Text, help_heading = "Report")]
    pub format: Format,

    /// Exit with 1 if there is a finding that the baseline does not accept, and that is at least this sure
    #[arg(
        long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "will",
        value_name = "CERTAINTY", help_heading = "For CI"
    )]
    pub deny: Option<Certainty>,

    /// The file of accepted findings [default: sundown-check.txt, if there is one]
    #[arg(long, value_name = "FILE", help_heading = "For CI")]
    pub baseline: Option<PathBuf>,

    /// Write what is found to the baseline
    #[arg(long, conflicts_with_all = ["deny", "only"], help_heading = "For CI")]
    pub accept: bool,
}

impl Check {
    /// The file of accepted findings.
    pub fn baseline(&self) -> &Path {
        self.baseline.as_deref().unwrap_or(Path::new(Baseline::FILE))
    }
}

/// What is checked.
#[derive(Args, Debug)]
#[command(next_help_heading = "What to check")]
pub struct Target {
    /// A binary of the package; the default if it has only one
    #[arg(long, value_name = "NAME", group = "which")]
    pub bin: Option<String>,

    /// A test binary
    #[arg(long, value_name = "NAME", group = "which")]
    pub test: Option<String>,

    /// An example
    #[arg(long, value_name = "NAME", group = "which")]
    pub example: Option<String>,

    /// The library: all its types that are not generic
    #[arg(long, group = "which")]
    pub lib: bool,

    /// A program that is built already, without optimization and not stripped
    #[arg(
        long, value_name = "FILE", group = "which",
        conflicts_with_all = ["package", "manifest_path", "features", "all_features", "no_default_features", "locked", "offline"]
    )]
    pub binary: Option<PathBuf>,

    /// The package
    #[arg(long, short, value_name = "NAME")]
    pub package: Option<String>,

    /// The manifest of the package or workspace
    #[arg(long, value_name = "FILE")]
    pub manifest_path: Option<PathBuf>,

    /// Features to build with
    #[arg(long, short = 'F', value_name = "FEATURES")]
    pub features: Vec<String>,

    /// Build with all features
    #[arg(long)]
    pub all_features: bool,

    /// Build without the default feature
    #[arg(long)]
    pub no_default_features: bool,

    /// Fail if Cargo.lock would change
    #[arg(long)]
    pub locked: bool,

    /// Do not use the network
    #[arg(long)]
    pub offline: bool,
}

/// The output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Sentences, one paragraph for each culprit
    Text,
    /// One object; docs/src/check.md describes it
    Json,
}
