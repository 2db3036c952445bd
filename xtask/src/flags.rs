//! The options of every command, and the parsers of their values.

use std::{
    ffi::OsString, fmt::Display, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration,
};

use clap::{Args, Parser, ValueEnum};
use lab::{probe::Signal, sandbox::Input};

/// The project's commands: run the lab's experiments, write the notebook from them, and more.
///
/// Start with `cargo xtask experiments`. Each command has its own --help.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = EXIT_CODES)]
pub enum Command {
    Bench(Bench),
    Book(Book),
    Census(Census),
    Console(Console),
    Experiments(Experiments),
    Explain(Explain),
    Loom(Loom),
    Notebooks(Notebooks),
    Package(Package),
    Probe(Probe),
    Servers(Servers),
}

const EXIT_CODES: &str = "Exit codes, unless a command's --help says otherwise:\n  \
                          0    success\n  \
                          1    something failed, or a check found an error\n  \
                          2    usage error\n  \
                          130  interrupted";

/// The output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables and sentences
    #[default]
    #[value(aliases = ["auto", "table"])]
    Text,
    /// JSON; docs/src/tools.md and docs/src/results-format.md describe it
    Json,
}

/// Measure the cost of the kit's signals, tasks and teardowns, and of their peers
///
/// Builds `crates/bench` in release, in a target directory of its own (it is not in the workspace
/// because it builds all the peers), and runs it with these options:
///
///   --only NAME…         only these benches (group, turn, drop, latch, teardown, guard) or subjects
///   --rounds N           how many rounds
///   --n N,…              how many tasks, waiters or connections
///   --runtime FLAVOUR    only on current-thread or on multi-thread
///   --quick              few rounds, no large numbers
///   --slow               slow peers in large numbers as well
///   --format table|json  tables, or JSON lines with one object per figure
///
/// group     spawn until all tasks have registered, and stop until all have ended, per task, for 1
///           task up to a million, with the bytes of heap for each
/// turn      what selecting on the signal adds to a turn of a loop
/// drop      what happens to the tasks when their owner is dropped without a shutdown
/// latch     register, fire and wake, for 1 waiter up to a hundred thousand
/// teardown  a pool of SQLite connections, from the drop until all are closed
/// guard     a handle of a session beside an `Arc`
///
/// All subjects are measured in one process, in interleaved rounds. The tables show medians, ratios to
/// a hand-written floor, processor time and wall time. No time is asserted: the exit code is 0 whatever
/// the figures are. `cargo xtask bench -- --help` is the bench's own help.
///
/// The notebook's page on benchmarks is written from figures as JSON:
///
///   cargo xtask bench --only latch --format json > docs/results/bench/latch.jsonl
///   cargo xtask notebooks
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Bench {
    /// Options of the bench
    #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true, num_args = 0..)]
    pub options: Vec<OsString>,
}

/// Ask released crates the same questions about the end of a runtime, by trials
///
/// Builds `crates/census` with all the crates (it is not in the workspace; minutes the first time, in a target
/// directory of its own), and runs it: is a value dropped off context, in async code, after its runtime? Does
/// its own close wait for the end? Each answer is a cell: a trial is a process of its own with a deadline, and
/// a cell has 20 of them unless --trials says otherwise. Prints a table of the cells, and compares them with those in
/// docs/results/census, from which `cargo xtask notebooks` writes the pages.
///
///   cargo xtask census --only deadpool                  one crate, or one row of it
///   cargo xtask census --accept                         replace the committed cells
///   cargo xtask census --again                          record a second run beside them
///   cargo xtask census --update                         what newer releases would change
///   cargo xtask census --patch deadpool-sync=../mine    what a fix would change
///
/// A --patch is a folder with your copy of a crate, or a file with a unified diff, which is applied to a copy of the
/// release that is locked: `--patch deadpool-sync@0.2.0=docs/patches/deadpool-sync-0.2.0.patch`. With --accept and files
/// of this repository, the cells are recorded in docs/results/census-patched, beside the committed ones.
///
/// A cell differs from a committed one if it has an answer that the committed one never had, or if it lacks one that at
/// least half of the committed trials gave, though it has 20 trials or more. How often the answers of a race come is
/// not compared.
///
/// The exit code is 0 if every cell agrees, and 1 if one differs, is not committed, or a control fails. With --accept,
/// --again, --update and --patch a difference is no failure.
#[derive(Clone, Debug, Default, Args)]
#[command(verbatim_doc_comment)]
pub struct Census {
    /// Ask only these crates or rows: names, as the table has them
    #[arg(long, value_name = "CRATE", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Ask only these questions, by code
    #[arg(long, value_name = "QUESTION", value_delimiter = ',')]
    pub question: Vec<String>,

    /// Run each trial this many times, at least 5 [default: 20]
    #[arg(long, value_name = "N", value_parser = lab::arguments::parse_count)]
    pub trials: Option<u32>,

    /// Run this many trials at a time [default: two per core]
    #[arg(long, value_name = "N", value_parser = lab::arguments::parse_count)]
    pub jobs: Option<u32>,

    /// Write the cells into docs/results/census instead of comparing
    #[arg(long)]
    pub accept: bool,

    /// With --accept: add the trials to those of the committed cells. A cell that differs then has both answers, with
    /// the count of each
    #[arg(long, requires = "accept")]
    pub add: bool,

    /// Write the cells into docs/results/census-again, as those of a second run of the same code: the page compares them
    /// with the committed ones
    #[arg(long, conflicts_with_all = ["accept", "update", "patch", "list", "question"])]
    pub again: bool,

    /// Build in a copy with the newest compatible releases, and print which versions and cells differ from the committed ones
    #[arg(long, conflicts_with_all = ["accept", "list"])]
    pub update: bool,

    /// Build in a copy with this folder, or with this diff of a release, in place of a released crate, as `[patch]`
    /// does, and print which cells differ
    #[arg(long, value_name = "CRATE[@VERSION]=PATH", conflicts_with_all = ["add", "list"])]
    pub patch: Vec<Patch>,

    /// Build, and run nothing: list the rows, and what each is not asked, with the reason
    #[arg(long)]
    pub list: bool,

    /// The output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// A folder in place of a released crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    pub name: String,
    /// Which of the locked releases a diff is of, if there are several.
    pub version: Option<String>,
    /// A folder, or a file with a diff.
    pub from: PathBuf,
}

impl FromStr for Patch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (of, from) = text.split_once('=').unwrap_or_default();
        let (name, version) = match of.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (of, None),
        };
        if name.is_empty() || from.is_empty() || version == Some("") {
            return Err("expected a crate and a path, as in deadpool-sync=../mine or in \
                        deadpool-sync@0.2.0=fix.patch"
                .to_owned());
        }
        let version = version.map(str::to_owned);
        Ok(Self { name: name.to_owned(), version, from: from.into() })
    }
}

/// Keep an experiment running after its shutdown, and watch its tasks with tokio-console
///
/// Builds the experiment with Tokio's instrumentation (`--cfg tokio_unstable` and
/// console-subscriber; takes minutes the first time, in a target directory of its own), starts one of
/// its variants, shuts the runtime down after `--before`, and then keeps the process running until
/// Ctrl-C or for `--for`. Meanwhile, in another terminal:
///
///   cargo install --locked tokio-console
///   tokio-console http://127.0.0.1:6669
///
/// The console shows the tasks before and after the shutdown. The notebook's chapter on watching tasks
/// says what to look for.
///
/// The exit code is 0 when the time is up. No process is left running.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Console {
    /// The experiment, by number or name; only 09 can be kept running
    #[arg(value_name = "EXPERIMENT")]
    pub experiment: String,

    /// The generation of the pool, and the shutdown method
    #[arg(long, value_name = "NAME", default_value = VARIANTS[0], value_parser = VARIANTS)]
    pub variant: String,

    /// How long the runtime lives before it is shut down: seconds, or as in 1m30s
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub before: Duration,

    /// How long to keep it running after the shutdown [default: until Ctrl-C]
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub time: Option<Duration>,

    /// The local port for tokio-console; 0 takes a free one and prints it
    #[arg(long, value_name = "PORT", default_value_t = 6669, value_parser = whole_number(0..=u16::MAX))]
    pub port: u16,
}

/// The variants of 09 that can be kept running. The example has the same list; checking here fails
/// before a build that takes minutes.
const VARIANTS: [&str; 6] = [
    "old/background",
    "old/timeout-too-short",
    "old/drop",
    "current/background",
    "current/timeout-too-short",
    "current/drop",
];

/// Run the experiments and compare the results with the committed snapshots
///
/// Builds the experiments, and runs each as soon as it is built: two at a time, with trials in parallel. (With
/// --accept, --only, --jobs or --chaos they run one at a time, so that nothing else is measured. With --all, those that
/// a default run leaves out also run alone.) Prints a line for each, and compares the results with the snapshots in
/// experiments/snapshots. A difference is written next to its snapshot for `cargo insta review`, unless the variable CI
/// is set.
///
/// Without --only, --accept, --trials or --chaos it runs few trials where the outcome is certain. --full runs as many
/// as the pages have.
///
/// Lines fit the terminal, or COLUMNS, which counts as 40 if it is less. NO_COLOR turns colours off.
///
/// The exit code is 0 if all snapshots match, and 1 if one does not or an experiment cannot run.
#[derive(Clone, Debug, Default, Args)]
pub struct Experiments {
    /// Write the results into the snapshots instead of comparing
    #[arg(long, conflicts_with = "list")]
    pub accept: bool,

    /// Run only these experiments, by number, range or name (`--only 03,34-36,double-panic`)
    #[arg(long, value_name = "EXPERIMENT", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Run all experiments, also those that must first build or install for minutes what they need, such as
    /// an extension for Python
    #[arg(long, conflicts_with = "only")]
    pub all: bool,

    /// Run each variant this many times; more often if a verdict or a race needs it
    #[arg(long, value_name = "N", value_parser = lab::arguments::parse_count)]
    pub trials: Option<u32>,

    /// Derive every trial's seed from this one, in decimal or as 0x… [default: random]
    #[arg(long, value_parser = lab::seed::parse)]
    pub seed: Option<u64>,

    /// Run few trials of variants whose outcome is certain, also with --only or --accept. The same snapshots
    /// must match
    #[arg(long, conflicts_with_all = ["full", "trials"])]
    pub quick: bool,

    /// Run as many trials as on the pages, also without --only or --accept
    #[arg(long, conflicts_with = "trials")]
    pub full: bool,

    /// Print the table of every experiment: its variants, their counts and intervals, and where they panic
    #[arg(long, short, conflicts_with = "list")]
    pub verbose: bool,

    /// Run this many trials at a time [default: two per core; more for trials that mostly wait]
    #[arg(long, value_name = "N", value_parser = lab::arguments::parse_count)]
    pub jobs: Option<u32>,

    /// Run the I-th of N shares of the experiments, for a matrix in CI. Give all shares the same other
    /// options
    #[arg(long, value_name = "I/N", conflicts_with = "list")]
    pub shard: Option<Shard>,

    /// Run nothing: merge the results files of all shards, check that each experiment occurs exactly
    /// once, and continue as after a run
    #[arg(long, value_name = "FILE", num_args = 1..,
          conflicts_with_all = ["list", "only", "all", "trials", "seed", "quick", "full", "jobs", "shard"])]
    pub merge: Vec<PathBuf>,

    /// Hold the threads of every trial back, as `probe --chaos` does: no cure may fail. What the others do
    /// then is not compared with their snapshots, and no result is written for the notebook
    #[arg(long, conflicts_with_all = ["accept", "list", "merge"])]
    pub chaos: bool,

    /// Build the experiments and run none of them: list their names, their questions, and how many
    /// trials each would run
    #[arg(long)]
    pub list: bool,

    /// The output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// Write the full results to this file [default: experiments/results.json in the target directory]
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,

    /// The folder of the snapshots [default: experiments/snapshots]
    #[arg(long, value_name = "FOLDER")]
    pub snapshots: Option<PathBuf>,
}

impl Experiments {
    /// Whether variants whose outcome is certain have few trials.
    pub fn is_quick(&self) -> bool {
        let is_asked_for = self.full
            || self.accept
            || self.chaos
            || self.trials.is_some()
            || !self.only.is_empty();
        self.quick || !is_asked_for
    }
}

/// Print what the code or the message of a panic means, and what to do instead
///
/// The panic hook of `sundown::explain` names a code. This command prints the code's page of the notebook.
/// With a message, or a part of one, it finds the page that has it, or lists the pages. Without an argument, it lists the codes.
///
///   cargo xtask explain SD0001
///   cargo xtask explain "this functionality requires a Tokio context"
///
/// The exit code is 2 if there is no such code, or no page with this message.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Explain {
    /// A code, or a message
    #[arg(value_name = "CODE|MESSAGE", num_args = 0..)]
    pub about: Vec<String>,

    /// The output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Explore the interleavings of the kit's primitives, with loom and with shuttle
///
/// Builds the models of `core` and `state-machine` with `--cfg loom`, in target directories of their
/// own, and runs them: loom tries every order of the atomic steps of the shipped source. A broken twin
/// makes a mistake that the shipped source avoids, and loom must catch it. Then shuttle tries larger
/// models of `core` with random schedules. docs/src/loom.md explains both.
///
/// The exit code is 0 if all models hold and all twins are caught.
///
/// To run the models without this command: RUSTFLAGS="--cfg loom" cargo test -p core -p state-machine --release --test
/// loom --target-dir target/loom
#[derive(Clone, Debug, Args)]
pub struct Loom {
    /// Run only the models whose test name contains this text
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,

    /// The output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Write the notebook (docs/) from the results of a run, or check that it agrees with them
///
/// docs/results has the results of each experiment. This command writes from them the marked blocks of
/// each page (question, hypothesis, result), the table of others' claims (docs/claims.toml), the
/// pictures in docs/src/plots, and the table in README.md. It writes the tables and pictures of the page
/// on benchmarks from the figures in docs/results/bench, and the listings that are files from these. It
/// changes nothing outside the marked blocks.
/// For an experiment without a page, it creates one with headings and comments that say what to write.
/// It neither builds nor runs anything.
#[derive(Clone, Debug, Args)]
pub struct Notebooks {
    /// Write from this file of `cargo xtask experiments` [default: experiments/results.json in the
    /// target directory]
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,

    /// Change nothing: print where notebook, results, snapshots and sources disagree, and broken links.
    /// The exit code is 1 if there are any
    #[arg(long, conflicts_with = "results")]
    pub check: bool,
}

/// Run any command many times in the lab's sandbox, and report how often it fails, and how
///
/// Each trial runs the command in a process group of its own, in the current directory, with your
/// environment, an empty standard input, and a TMPDIR that is removed afterwards. The trial ends when the
/// command exits or its timeout expires. Afterwards the sandbox kills the rest of its group, and at the
/// end of the run, on Linux, what has left the group. A trial fails if the command is ended by a signal, is
/// still running at its timeout, exits with a non-zero code, or prints a Rust panic to standard error,
/// whatever its exit code.
///
/// PROBE_TRIAL is the trial number, PROBE_SEED its seed. `cargo xtask experiments` uses PROBE_SEED as its
/// own seed. docs/src/tools.md says more.
///
/// The exit code is 0 if no trial failed, 1 if one did, 2 for a usage error, 130 if interrupted.
#[derive(Clone, Debug, Args)]
#[command(override_usage = "cargo xtask probe [OPTIONS] [--] COMMAND [ARGUMENT]...")]
pub struct Probe {
    /// Run the command this many times [default: 50, or 200 with --chaos; no limit with
    /// --for or --until-failure]
    #[arg(long, visible_alias = "rounds", value_name = "N", value_parser = lab::arguments::parse_count)]
    pub trials: Option<u32>,

    /// Start no new trial after this time: seconds, or as in 1m30s. The command runs at least once
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub time: Option<Duration>,

    /// Stop at the first trial that fails
    #[arg(long)]
    pub until_failure: bool,

    /// Run this many CPU-busy threads during the trials
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole_number(0..=1000_u32))]
    pub load: u32,

    /// Run this many trials at a time [default: one per processor]
    #[arg(long, value_name = "N", value_parser = whole_number(1..=1000_u32))]
    pub jobs: Option<u32>,

    /// How long a trial may run before it is killed and counts as hung
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = time)]
    pub timeout: Duration,

    /// What the command reads: nothing (null), nothing but standard input stays open, as at a terminal
    /// where nobody types (open), or a file
    #[arg(long, value_name = "null|open|FILE", default_value = "null", hide_default_value = true,
          value_parser = input)]
    pub stdin: Input,

    /// Send each trial this signal so long after its start, to provoke a shutdown: TERM@200ms. The
    /// command alone gets it, as from a supervisor, not its children. May be given several times
    #[arg(long, value_name = "SIGNAL@TIME", value_parser = signal)]
    pub signal: Vec<(String, Duration, Signal)>,

    /// Run the command as process 1 of a namespace of its own, as in a container without an init
    #[arg(long)]
    pub pid1: bool,

    /// Hold the command's threads back, for a few milliseconds, where races of a shutdown live. Half of
    /// the trials [default: 200 in all] try all policies, the others the one that made the most fail. Finds
    /// what is rare; the rate is not the natural one
    #[arg(long, conflicts_with = "pid1")]
    pub chaos: bool,

    /// Hold threads in one way only, in all trials; `--policy help` names them all
    #[arg(long, value_name = "NAME")]
    pub policy: Option<String>,

    /// Also run COMMAND, alternating trial by trial with the same seeds, and report whether the failure
    /// rates differ. Pass it as one shell-quoted argument; no shell runs it. With --chaos, and without
    /// COMMAND: the same command with nothing held back
    #[arg(long, value_name = "COMMAND", num_args = 0..=1, conflicts_with = "until_failure")]
    pub compare: Option<Option<String>>,

    /// Derive every trial's seed from this one, in decimal or as 0x… [default: random]
    #[arg(long, value_parser = lab::seed::parse)]
    pub seed: Option<u64>,

    /// Keep the output of failed trials and of the slowest clean ones in this folder, which must not
    /// exist yet [default: target/probe/TIME-PROCESS]
    #[arg(long, value_name = "FOLDER")]
    pub keep: Option<PathBuf>,

    /// The output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// The command and its arguments
    #[arg(value_name = "COMMAND", required_unless_present = "policy", trailing_var_arg = true,
          allow_hyphen_values = true, num_args = 1..)]
    pub command: Vec<OsString>,
}

impl Probe {
    /// The options for standard input, signals and process 1, as they were given.
    pub fn provoked(&self) -> String {
        let mut options = Vec::new();
        match &self.stdin {
            Input::Empty => {}
            Input::Open => options.push("--stdin open".to_owned()),
            Input::File(path) => options.push(format!("--stdin {}", path.display())),
        }
        options.extend(self.signal.iter().map(|(text, ..)| format!("--signal {text}")));
        options.extend(self.pid1.then(|| "--pid1".to_owned()));
        options.join(" ")
    }
}

/// Build the book, docs/, and serve it on this machine
///
/// Prints the book's address, rebuilds it when a page changes, and runs until Ctrl-C. The pages can also be read as they
/// are, in docs/src.
///
/// Needs mdBook. If it is not installed, builds it once, into the target folder.
#[derive(Clone, Debug, Args)]
pub struct Book {
    /// Build the book, print where it is, and serve nothing; a warning of mdBook's is an error
    #[arg(long)]
    pub build: bool,

    /// The port of 127.0.0.1 to serve at [default: a free one]
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true,
        value_parser = whole_number(0..=u16::MAX),
        conflicts_with = "build"
    )]
    pub port: u16,
}

/// Package the kit as a registry would get it, and try that
///
/// A registry accepts no package called `core`. So this copies the packages of the kit into a workspace in
/// `target/publish`, under the names sundown-core, sundown-logout, sundown-exit and sundown, packages
/// them, builds each from its packaged files, and runs `cargo publish --dry-run`. It prints the paths of the
/// packaged files. It publishes nothing.
#[derive(Clone, Debug, Args)]
pub struct Package {
    /// Where to put the workspace: a new folder, an empty one, or one that this command wrote
    /// [default: target/publish]
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,

    /// Do not use the registry: everything needed was downloaded before
    #[arg(long)]
    pub offline: bool,
}

/// Start the servers that real clients talk to: etcd, Redis or Valkey, NATS and PostgreSQL
///
/// Each server listens on a free port of 127.0.0.1 and keeps its data in a temporary directory. When all
/// accept connections, this command prints their addresses, one line each as `VARIABLE=host:port`, or as
/// JSON. The servers run until Ctrl-C. With a command after `--`, they run until that command ends; it
/// has the addresses in its environment. Then the servers are stopped and their directories removed, even
/// if this command is killed.
///
/// Experiments 62, 63 and 69 and the census start servers of their own, in the same way.
///
/// The exit code is 0 after Ctrl-C, and 1 if a server is missing (the error says what to install) or ends
/// by itself. With a command, it is the command's exit code.
#[derive(Clone, Debug, Args)]
pub struct Servers {
    /// Start only these servers [default: all]
    #[arg(long, value_name = "SERVER", value_enum, value_delimiter = ',')]
    pub only: Vec<Server>,

    /// The output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,

    /// A command to run while the servers run, and its arguments. The addresses are then not printed
    #[arg(value_name = "COMMAND", last = true, num_args = 0..)]
    pub command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Server {
    /// The key-value store
    Etcd,
    /// Redis or Valkey, whichever is installed
    Redis,
    /// The message broker
    Nats,
    /// PostgreSQL, whose user `postgres` needs no password
    Postgres,
}

/// One share of the experiments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The number of the share, from 1.
    pub index: usize,
    pub count: usize,
}

const MOST_SHARDS: usize = 1000;

/// Parses a whole number in this range.
fn whole_number<N>(
    range: RangeInclusive<N>,
) -> impl Fn(&str) -> Result<N, String> + Clone + Send + Sync + 'static
where
    N: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            format!("expected a whole number from {} to {}", range.start(), range.end())
        })
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(index, count)| {
            Some(Self { index: index.parse().ok()?, count: count.parse().ok()? })
        });
        match numbers {
            None => Err("expected two numbers, as in 1/3".to_owned()),
            Some(shard) if shard.count > MOST_SHARDS => {
                Err(format!("there are {MOST_SHARDS} shards at most"))
            }
            Some(shard) if shard.index == 0 => Err("the first shard is 1/n, not 0/n".to_owned()),
            Some(shard) if shard.index > shard.count => {
                Err(format!("there is no shard {} of {}", shard.index, shard.count))
            }
            Some(shard) => Ok(shard),
        }
    }
}

/// `null`, `open` or a file.
fn input(text: &str) -> Result<Input, std::convert::Infallible> {
    Ok(match text {
        "null" => Input::Empty,
        "open" => Input::Open,
        file => Input::File(file.into()),
    })
}

/// `TERM@200ms`.
fn signal(text: &str) -> Result<(String, Duration, Signal), String> {
    const SIGNALS: [(&str, Signal); 9] = [
        ("TERM", Signal::TERM),
        ("INT", Signal::INT),
        ("HUP", Signal::HUP),
        ("QUIT", Signal::QUIT),
        ("KILL", Signal::KILL),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("STOP", Signal::STOP),
        ("CONT", Signal::CONT),
    ];
    let (name, after) = text.split_once('@').ok_or("expected a signal and a time: TERM@200ms")?;
    let name = name.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let known = SIGNALS.iter().find(|(known, _)| *known == name);
    let (_, signal) = known.ok_or_else(|| {
        let names = SIGNALS.map(|(name, _)| name);
        let like = lab::nearest::of(name, names).map(|it| format!("; did you mean {it}?"));
        format!("no signal {name}{}: {}", like.unwrap_or_default(), names.join(", "))
    })?;
    Ok((text.to_owned(), time(after)?, *signal))
}

fn time(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected seconds, or a time as in 1m30s";
    let time = match text.parse::<f64>() {
        Ok(seconds) if seconds <= 0.0 => Ok(Duration::ZERO),
        Ok(seconds) if seconds.is_nan() => Err(EXPECTED),
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|_| "that is too long"),
        Err(_) => humantime::parse_duration(text).map_err(|_| EXPECTED),
    };
    match time {
        Ok(time) if time.is_zero() => Err("expected more than 0".to_owned()),
        time => time.map_err(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_exists() {
        assert_eq!("2/3".parse(), Ok(Shard { index: 2, count: 3 }));
        for wrong in ["3/2", "0/2", "x", "1", "1/0", "-1/2", "1/2/3", ""] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_is_in_seconds_unless_it_has_a_unit() {
        for (text, milliseconds) in [("10", 10_000), ("2.5", 2_500), ("1m30s", 90_000), ("5ms", 5)]
        {
            assert_eq!(time(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for wrong in ["", "0", "0s", "-1", "NaN", "inf", "1e300", "soon"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
