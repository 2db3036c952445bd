//! A workspace made for one test: its experiments print what the test wants them to print.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use lab::{
    Observation, Outcome, Outcomes, Role, Value, Verdict,
    results::{ClaimResult, ExperimentResult, VariantResult},
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;
use tempfile::TempDir;

/// Far more than anything here takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

pub const SITE: &str = "deadpool-runtime-0.1.4/src/lib.rs:101:22";

/// A script that writes the number of its process into a file, which is never there in part.
pub const TELL_PID: &str = "echo $$ > \"$0.part\"; mv \"$0.part\" \"$0.pid\"\n";

/// A workspace in a temporary directory.
pub struct Workspace {
    folder: TempDir,
}

/// What a command did.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Workspace {
    /// A workspace without experiments.
    pub fn empty() -> Self {
        let workspace = Self { folder: tempfile::tempdir().unwrap() };
        for below in ["xtask", "bin", "experiments/src/bin", "docs/src"] {
            fs::create_dir_all(workspace.path(below)).unwrap();
        }
        workspace.write("artifacts.jsonl", "");
        let versions = [("deadpool", "0.12.3"), ("tokio", "1.54.0")];
        let packages = versions
            .map(|(name, it)| format!("[[package]]\nname = \"{name}\"\nversion = \"{it}\"\n"));
        workspace.write("Cargo.lock", &format!("version = 4\n{}", packages.concat()));
        workspace.write("docs/src/SUMMARY.md", SUMMARY);
        workspace.write("docs/src/introduction.md", "# Introduction\n");
        workspace.write("docs/claims.toml", CLAIMS);
        let blocks =
            ["excerpt", "claims"].map(|it| format!("<!-- {it}:begin -->\n<!-- {it}:end -->\n"));
        workspace.write("README.md", &blocks.concat());
        workspace
    }

    /// A workspace with two experiments and their snapshots.
    pub fn with_two() -> Self {
        let workspace = Self::empty();
        workspace.experiment(&drop_context());
        workspace.experiment(&sleep_duration());
        workspace.run(&["experiments", "--accept"]).expect_code(0);
        workspace
    }

    /// Another one with the same files except for the programs: nothing can run in it.
    pub fn copy(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(self.root(), folder.path());
        Self { folder }
    }

    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.root().join(below)
    }

    pub fn write(&self, below: &str, text: &str) {
        fs::create_dir_all(self.path(below).parent().unwrap()).unwrap();
        fs::write(self.path(below), text).unwrap();
    }

    pub fn read(&self, below: &str) -> String {
        fs::read_to_string(self.path(below)).unwrap_or_else(|error| panic!("{below}: {error}"))
    }

    pub fn remove(&self, below: &str) {
        fs::remove_file(self.path(below)).unwrap();
    }

    /// Replaces a text that must be there.
    pub fn edit(&self, below: &str, from: &str, to: &str) {
        let text = self.read(below);
        assert!(text.contains(from), "{below} does not contain {from:?}:\n{text}");
        self.write(below, &text.replace(from, to));
    }

    pub fn exists(&self, below: &str) -> bool {
        self.path(below).exists()
    }

    /// Writes a program: a script for the shell.
    pub fn program(&self, below: &str, script: &str) -> PathBuf {
        self.write(below, &format!("#!/bin/sh\n{script}"));
        fs::set_permissions(self.path(below), fs::Permissions::from_mode(0o755)).unwrap();
        self.path(below)
    }

    /// Adds an experiment, or changes what one finds.
    pub fn experiment(&self, result: &ExperimentResult) {
        self.scripted(result, "cat \"$0.events\"");
    }

    /// Adds an experiment that runs a script instead of printing its result. The script finds the
    /// result in `$0.events`.
    pub fn scripted(&self, result: &ExperimentResult, script: &str) {
        let binary = binary(result);
        self.write(&format!("experiments/src/bin/{binary}.rs"), "fn main() {}\n");
        let executable = self.stand_in(&binary, "bin", script);
        self.write(&format!("{executable}.declaration"), &declaration(result));
        self.write(&format!("{executable}.events"), &events(result));
    }

    /// A target that cargo has built, which runs a script; its path.
    pub fn stand_in(&self, name: &str, kind: &str, script: &str) -> String {
        let executable = format!("bin/{name}");
        if !self.exists(&executable) {
            let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stand-ins/experiment");
            symlink(stand_in, self.path(&executable)).unwrap();
            let artifact = json!({
                "reason": "compiler-artifact",
                "target": {"name": name, "kind": [kind]},
                "executable": self.path(&executable),
            });
            self.write("artifacts.jsonl", &format!("{}{artifact}\n", self.read("artifacts.jsonl")));
        }
        self.write(&format!("{executable}.script"), script);
        executable
    }

    /// A command, ready to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let stand_ins = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stand-ins");
        command
            .args(arguments)
            .current_dir(self.root())
            .env("CARGO_MANIFEST_DIR", self.path("xtask"))
            .env("CARGO", stand_ins.join("cargo"))
            .env("RUSTC", stand_ins.join("rustc"))
            .env_remove("CI")
            .env_remove("PROBE_SEED")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments))
    }

    /// Runs a command with a variable in its environment.
    pub fn run_with(&self, name: &str, value: &str, arguments: &[&str]) -> Ran {
        let mut command = self.command(arguments);
        command.env(name, value);
        Ran::of(command)
    }

    /// Waits for the process that writes its number into this file.
    pub fn process(&self, below: &str) -> Pid {
        let path = self.path(below);
        let number = wait_for("the start of a process", || fs::read_to_string(&path).ok());
        Pid::from_raw(number.trim().parse().unwrap()).unwrap()
    }
}

impl Ran {
    pub fn of(mut command: Command) -> Self {
        Self::from(command.output().unwrap())
    }

    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Standard output or standard error says this.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        let said = self.stdout.contains(words) || self.stderr.contains(words);
        assert!(said, "no {words:?} in {self}");
        self
    }

    #[track_caller]
    pub fn does_not_say(self, words: &str) -> Self {
        let said = self.stdout.contains(words) || self.stderr.contains(words);
        assert!(!said, "{words:?} in {self}");
        self
    }

    /// The objects that it printed, one on each line.
    pub fn objects(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr } = self;
        write!(f, "exit code {code:?}\n── stdout\n{stdout}\n── stderr\n{stderr}")
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&path, &to),
            kind if kind.is_file() => drop(fs::copy(path, to).unwrap()),
            _ => {}
        }
    }
}

/// Says what is not tested here. Not with `println!`, which the harness shows only of a test that fails.
pub fn skipped(what: &str) {
    io::stdout().write_all(format!("skipped: {what}\n").as_bytes()).unwrap();
}

/// Waits until something is so.
#[track_caller]
pub fn wait_for<T>(what: &str, mut so: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = so() {
            return value;
        }
        assert!(started.elapsed() < DEADLINE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends a signal to a command, and waits for its end.
pub fn end(mut command: Child, signal: Signal) -> Ran {
    kill_process(Pid::from_child(&command), signal).unwrap();
    wait_for("the end of the command", || command.try_wait().unwrap());
    Ran::from(command.wait_with_output().unwrap())
}

/// Waits until a process has ended. It need not have been waited for.
#[track_caller]
pub fn expect_gone(process: Pid) {
    wait_for("the end of a process", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
        let is_zombie =
            stat.is_ok_and(|it| it.rsplit_once(") ").is_some_and(|(_, it)| it.starts_with('Z')));
        (is_zombie || test_kill_process(process).is_err()).then_some(())
    });
}

const SUMMARY: &str = "# Summary\n\n[Introduction](introduction.md)\n\n\
    <!-- experiments:begin -->\n<!-- experiments:end -->\n";

const CLAIMS: &str = "[[source]]\nname = \"a demo\"\nabout = \"What the demo is.\"\n\
    [[source.claim]]\nid = \"A2\"\nstates = \"tasks | runtime\"\n\
    reason = \"It is the context.\"\nexplains = { 01 = \"refuted\" }\n";

pub fn drop_context() -> ExperimentResult {
    let hazard = variant(Role::Hazard, "old/outside-alive", Outcome::Aborted, &[SITE]);
    let control = variant(Role::Control, "old/inside-alive", Outcome::Clean, &[]);
    let mut result = experiment("01", "drop-context", vec![hazard, control]);
    result.claims.push(ClaimResult {
        id: "A2".to_owned(),
        statement: "the panic comes from tasks that still run".to_owned(),
        finding: false,
        open_in_some_runs: false,
        verdict: Verdict::Refuted,
        reasons: vec!["old/outside-alive: always aborted (20 aborted of 20)".to_owned()],
    });
    result
}

pub fn sleep_duration() -> ExperimentResult {
    let hazard = variant(Role::Hazard, "ten-seconds", Outcome::Aborted, &[SITE]);
    experiment("03", "sleep-duration", vec![hazard])
}

pub fn experiment(id: &str, name: &str, variants: Vec<VariantResult>) -> ExperimentResult {
    let reason = |it: &VariantResult| format!("{}: {} (20 of 20)", it.name, it.class);
    let result = json!({
        "id": id,
        "name": name,
        "claims": [],
        "question": format!("What does {name} do?"),
        "hypothesis": format!("It is {name} that decides."),
        "verdict": "supported",
        "reasons": variants.iter().map(reason).collect::<Vec<_>>(),
        "seconds": 1.5,
        "seed": 7,
        "variants": variants,
    });
    serde_json::from_value(result).unwrap()
}

pub fn variant(role: Role, name: &str, outcome: Outcome, sites: &[&str]) -> VariantResult {
    let example = json!({
        "trial": 0,
        "seed": 9,
        "outcome": outcome,
        "expected": true,
        "ending": "SIGABRT after 2 panics",
        "panics": sites.iter().map(|site| format!("{site}: no reactor")).collect::<Vec<_>>(),
        "problems": ["cannot open /tmp/trial-1234/store.db"],
        "stderr": "thread main panicked in /home/somebody/.cargo/registry",
        "rerun": format!("cargo run -p experiments --bin x -- --only {name} --trial 0 --seed 0x7"),
    });
    let result = json!({
        "name": name,
        "role": role,
        "about": "the last owner goes | outside",
        "prediction": format!("always {outcome}"),
        "predicted": true,
        "trials": 20,
        "outcomes": std::iter::repeat_n(outcome, 20).collect::<Outcomes>(),
        "class": format!("always {outcome}"),
        "hits": 20,
        "interval": [0.8389, 1.0],
        "sites": sites,
        "threads": sites.iter().map(|_| "main").take(1).collect::<Vec<_>>(),
        "observations": {"elapsed": Observation::of(&[Value::Nanoseconds(1_500_000)])},
        "resources": null,
        "examples": [example],
    });
    serde_json::from_value(result).unwrap()
}

fn binary(result: &ExperimentResult) -> String {
    format!("{}_{}", result.id, result.name.replace('-', "_"))
}

/// What the experiment declares: its result has more fields than it takes.
fn declaration(result: &ExperimentResult) -> String {
    let mut declaration = json!(result);
    declaration["binary"] = binary(result).into();
    declaration["claims"] = result.claims.iter().map(|claim| claim.id.clone()).collect();
    declaration.to_string()
}

/// The lines that the experiment prints: a trial of each variant, and the result.
fn events(result: &ExperimentResult) -> String {
    let trial = |it: &VariantResult| json!({"event": "trial", "variant": it.name, "trial": 0, "outcome": it.examples[0].outcome});
    let end = json!({"event": "result", "result": result});
    result.variants.iter().map(trial).chain([end]).map(|event| format!("{event}\n")).collect()
}
