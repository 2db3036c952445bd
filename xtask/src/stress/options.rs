//! What can be asked of `cargo xtask stress`.

use std::{str::FromStr, time::Duration};

use clap::{Args, ValueEnum};

use super::end::End;

/// For how long, unless something else is said.
const USUAL: Duration = Duration::from_mins(1);

/// Run experiments and tests again and again, with the processors busy, and report what is unstable.
///
/// Experiments and tests are built once, and then run one after another, round by round, each time
/// with another seed, until the time is up and each has run at least once, or for so many rounds as
/// `--rounds` says. Busy threads compete with them. Of an experiment it counts as unstable if it finds
/// anything but what its snapshot says; of tests if one fails, or they do not end in time. Each
/// instability is printed as it happens, and again in the end with the command that reruns it.
///
/// What changes with the seed: of an experiment all that its trials draw by lot; of tests how many
/// run at a time, and what proptest tries. Tests in documentation are not run, nor those that need a
/// feature which is off by default.
///
/// Exits 0 when nothing was unstable, 1 when something was, 2 when it does not understand the
/// command line or there is no such experiment or test, 130 when it was interrupted.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Run these experiments, by number or name [default: all, unless there is --test]
    #[arg(long, value_name = "EXPERIMENT", value_delimiter = ',')]
    pub only: Vec<String>,

    /// Run the tests of this package, or those of them whose names contain a text: `core`,
    /// `core::latch`. May be given again
    #[arg(long, value_name = "PACKAGE[::NAME]")]
    pub test: Vec<Selected>,

    /// For how long: seconds, or as in 10m [default: 1m, unless there is --rounds]
    #[arg(long = "for", value_name = "TIME", value_parser = crate::duration::parse)]
    pub time: Option<Duration>,

    /// For so many rounds, however long they take: in each, everything runs once
    #[arg(long, value_name = "N", value_parser = lab::count::parse, conflicts_with = "time")]
    pub rounds: Option<u32>,

    /// How many threads are busy meanwhile [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..1000))]
    pub load: Option<u32>,

    /// How long the tests of one executable may take before they count as hung
    #[arg(long, value_name = "TIME", default_value = "5m",
          value_parser = crate::duration::parse)]
    pub timeout: Duration,

    /// Run fewer trials of experiments where the outcome is certain
    #[arg(long)]
    pub quick: bool,

    /// Derive the seed of every run from this one, in decimal or as 0x… [default: at random]
    #[arg(long, value_parser = lab::seed::parse)]
    pub seed: Option<u64>,

    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

impl Options {
    /// When it is enough.
    pub fn end(&self) -> End {
        match self.rounds {
            Some(rounds) => End::Rounds(rounds),
            None => End::Time(self.time.unwrap_or(USUAL)),
        }
    }
}

/// How to print what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table and sentences
    Text,
    /// JSON lines, one object per experiment or test executable, as docs/src/tools.md describes them
    Json,
}

/// The tests of a package, or those whose names contain a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The package.
    pub package: String,
    /// The text.
    pub name: Option<String>,
}

impl FromStr for Selected {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (package, name) = match text.split_once("::") {
            Some((package, name)) => (package, Some(name)),
            None => (text, None),
        };
        let is_option = |word: &str| word.starts_with('-');
        if package.is_empty()
            || is_option(package)
            || name.is_some_and(|it| it.is_empty() || is_option(it))
        {
            return Err("expected a package, or a package and a name, as in core::latch".into());
        }
        Ok(Self { package: package.to_owned(), name: name.map(str::to_owned) })
    }
}

#[cfg(test)]
mod tests {
    use super::Selected;

    #[test]
    fn a_package_may_be_followed_by_a_name() {
        let selected = |text: &str| text.parse::<Selected>().map(|it| (it.package, it.name));
        assert_eq!(selected("core"), Ok(("core".to_owned(), None)));
        let name = Some("latch::tests".to_owned());
        assert_eq!(selected("core::latch::tests"), Ok(("core".to_owned(), name)));
        for wrong in ["", "::latch", "core::", "--all", "core::--nocapture"] {
            assert!(selected(wrong).is_err(), "{wrong}");
        }
    }
}
