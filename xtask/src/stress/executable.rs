//! An executable with tests, run again and again.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use lab::{
    interrupt::Interrupt,
    nearest,
    sandbox::{Ended, Ending, Sandbox, Sandboxed, Surroundings},
    stderr::panics,
};

use super::options::Selected;
use crate::{
    build::{Artifact, build},
    experiments::again::Found,
    failure::Failure,
    output,
    workspace::Workspace,
};

/// How many of the tests that did not end are named.
const NAMED: usize = 10;

/// An executable with tests.
pub struct Executable {
    package: String,
    artifact: Artifact,
    filter: Option<String>,
    /// The tests that are chosen, by name.
    chosen: BTreeSet<String>,
    timeout: Duration,
}

/// What a seed decides about a run of tests.
struct Drawn {
    threads: usize,
    proptest: u64,
}

impl Drawn {
    /// Few tests at a time, as many as there are processors, or many more.
    fn from(seed: u64) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let threads = [1, cores, 4 * cores];
        let at = (seed % 3) as usize;
        Self { threads: threads.get(at).copied().unwrap_or(cores), proptest: seed }
    }

    fn variables(&self) -> [(&'static str, String); 2] {
        [
            ("RUST_TEST_THREADS", self.threads.to_string()),
            ("PROPTEST_RNG_SEED", self.proptest.to_string()),
        ]
    }
}

/// Finds out whether there is such a package, among these.
pub fn check_package(name: &str, packages: &[String]) -> Result<(), Failure> {
    if packages.iter().any(|package| package == name) {
        return Ok(());
    }
    let nearest = nearest::of(name, packages.iter().map(String::as_str));
    let guess = nearest.map_or_else(String::new, |it| format!(": did you mean `{it}`?"));
    Err(Failure::Usage(format!("the workspace has no package `{name}`{guess}")))
}

/// Builds the executables that have the selected tests, or may have.
pub fn build_tests(
    selected: &Selected,
    timeout: Duration,
    workspace: &Workspace,
    interrupt: &Interrupt,
) -> Result<Vec<Executable>, Failure> {
    let Selected { package, name } = selected;
    let called = format!("the tests of {package}");
    let built =
        build(&called, &["test", "--package", package, "--no-run"], "", workspace, interrupt)?;
    let tests = built.into_iter().filter(Artifact::is_test);
    let executable = |artifact| {
        let (package, filter) = (package.clone(), name.clone());
        Executable { package, artifact, filter, chosen: BTreeSet::new(), timeout }
    };
    Ok(tests.map(executable).collect())
}

/// Asks the executables which of their tests are selected, and leaves those out that have none.
pub fn with_tests(
    selected: &Selected,
    executables: Vec<Executable>,
    sandbox: &Sandbox,
    interrupt: &Interrupt,
) -> Result<Vec<Executable>, Failure> {
    let Selected { package, name } = selected;
    let mut found = Vec::new();
    for mut executable in executables {
        executable.chosen = executable.list(sandbox, interrupt)?;
        if !executable.chosen.is_empty() {
            found.push(executable);
        }
    }
    if interrupt.raised() {
        return Err(Failure::Interrupted("nothing had begun"));
    }
    if found.is_empty() {
        return Err(Failure::Usage(match name {
            Some(name) => format!("no test of package {package} has `{name}` in its name"),
            None => format!("package {package} has no tests"),
        }));
    }
    Ok(found)
}

impl Executable {
    /// What the executable is called in a report: `core, tests/latch.rs`.
    pub fn title(&self) -> String {
        let filter = self.filter.as_ref().map_or(String::new(), |filter| format!("::{filter}"));
        format!("{}{filter} {}", self.package, self.selector().join(" "))
    }

    /// The options that choose the executable among those of its package.
    fn selector(&self) -> Vec<String> {
        let name = self.artifact.target.name.clone();
        for kind in ["test", "bin", "example", "bench"] {
            if self.artifact.is(kind) {
                return vec![format!("--{kind}"), name];
            }
        }
        vec!["--lib".to_owned()]
    }

    /// The command that runs the tests again as they were run here.
    pub fn rerun(&self, seed: u64) -> String {
        let variables =
            Drawn::from(seed).variables().map(|(name, value)| format!("{name}={value}"));
        let filter = self.filter.as_ref().map_or(String::new(), |filter| format!(" {filter}"));
        format!(
            "{} cargo test --package {} {}{filter}",
            variables.join(" "),
            self.package,
            self.selector().join(" ")
        )
    }

    fn command(
        &self,
        arguments: &[&str],
        variables: Vec<(&'static str, OsString)>,
    ) -> Sandboxed<'_> {
        let arguments = self.filter.iter().map(String::as_str).chain(arguments.iter().copied());
        // As cargo runs them: in the folder of their package.
        let directory = self.artifact.manifest_path.parent().unwrap_or(Path::new("."));
        Sandboxed {
            program: &self.artifact.executable,
            arguments: arguments.map(OsString::from).collect(),
            surroundings: Surroundings::Inherited { directory, variables },
            deadline: self.timeout,
        }
    }

    /// The names of the tests that are chosen; none, where the executable knows nothing of tests.
    fn list(&self, sandbox: &Sandbox, interrupt: &Interrupt) -> Result<BTreeSet<String>, Failure> {
        let command = self.command(&["--list", "--format", "terse"], Vec::new());
        let ended = sandbox.run(&command, interrupt)?;
        if !matches!(ended.ending, Ending::Exited(0) | Ending::Interrupted) {
            let title = self.title();
            output::note(&format!("{title} does not tell which tests it has, and is left out"));
        }
        let listed = ended.stdout.text();
        let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
        Ok(names.map(str::to_owned).collect())
    }

    /// Runs the tests once more, with what this seed decides.
    pub fn run(
        &self,
        seed: u64,
        sandbox: &Sandbox,
        interrupt: &Interrupt,
    ) -> Result<Found, Failure> {
        let package: PathBuf = self.artifact.manifest_path.with_file_name("");
        let drawn = Drawn::from(seed).variables().map(|(name, value)| (name, value.into()));
        let variables = drawn.into_iter().chain([("CARGO_MANIFEST_DIR", package.into())]).collect();
        let ended = sandbox.run(&self.command(&[], variables), interrupt)?;
        Ok(match ended.ending {
            Ending::Interrupted => Found::Interrupted,
            Ending::Exited(0) => Found::TheSame,
            _ => Found::SomethingElse(self.described(&ended)),
        })
    }

    /// Says which tests failed, and what they panicked with.
    fn described(&self, ended: &Ended) -> String {
        let stdout = ended.stdout.text();
        let results = stdout.lines().filter_map(|line| line.strip_prefix("test "));
        let results: Vec<_> = results.filter_map(|line| line.split_once(" ... ")).collect();
        let failed = results.iter().filter(|(_, result)| result.starts_with("FAILED"));
        let mut lines: Vec<_> = failed.map(|(name, _)| format!("{name} failed")).collect();
        for panic in panics(&stdout).into_iter().chain(panics(&ended.stderr.text())) {
            lines.push(format!("  {}: {} ({})", panic.thread, panic.message, panic.site));
        }
        if !matches!(ended.ending, Ending::Exited(_)) {
            let has_ended = |name: &&String| results.iter().any(|(ended, _)| ended == name);
            let silent: Vec<_> = self.chosen.iter().filter(|name| !has_ended(name)).collect();
            let (shown, count) = (silent.iter().take(NAMED), silent.len());
            lines.extend(shown.map(|name| format!("  {name} had not ended")));
            if count > NAMED {
                lines.push(format!("  and {} more had not ended", count - NAMED));
            }
        }
        format!("{}: {}\n{}", self.title(), ended.ending, lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::Drawn;

    #[test]
    fn a_seed_decides_how_many_tests_run_at_a_time() {
        let threads = |seed| Drawn::from(seed).threads;
        assert_eq!(threads(0), 1);
        assert_eq!(threads(2), 4 * threads(1));
        assert_eq!(threads(3), threads(0));
    }
}
