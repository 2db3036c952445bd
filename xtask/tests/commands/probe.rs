//! The sandbox for any command, with small shell programs that misbehave in known ways.

use std::{
    env, fs,
    process::{Child, Command},
    sync::LazyLock,
};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::fixture::{
    Ran, TELL_PID, Workspace, drop_context, end, expect_gone, skipped, sleep_duration, wait_for,
};

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

/// Probes a shell program.
fn probe(workspace: &Workspace, options: &[&str], program: &str) -> Ran {
    workspace.run(&[&["probe"], options, &["--", "sh", "-c", program]].concat())
}

/// The same, as JSON.
fn json(workspace: &Workspace, options: &[&str], program: &str) -> Value {
    let ran = probe(workspace, &[options, &["--format", "json"]].concat(), program);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Expects that every process is gone that wrote its number into the folder `pids`.
fn expect_all_gone(workspace: &Workspace) {
    let numbers = fs::read_dir(workspace.path("pids")).unwrap();
    let names = numbers.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let processes: Vec<_> =
        names.map(|name| Pid::from_raw(name.parse().unwrap()).unwrap()).collect();
    assert!(!processes.is_empty());
    processes.into_iter().for_each(expect_gone);
}

#[test]
fn a_failure_one_time_in_ten_is_found_at_its_rate() {
    let workspace = Workspace::empty();
    let program = "case $PROBE_SEED in *3) exit 7;; esac";
    let found = json(&workspace, &["--rounds", "150", "--seed", "7"], program);
    let arm = &found["commands"][0];
    let interval = number(&arm["interval"][0])..=number(&arm["interval"][1]);
    assert!(interval.contains(&0.1), "{arm:#}");
    assert!(
        !interval.contains(&0.0) && !interval.contains(&0.3),
        "the interval is too wide: {arm:#}"
    );
    assert_eq!(arm["kinds"][0]["ending"], "exit code 7");
    let ran = probe(&workspace, &["--trials", "100"], "test $((PROBE_TRIAL % 10)) != 3 || exit 7");
    ran.expect_code(1).says("10 of 100 failed: 10 %, and 6–17 % with 95 % confidence");
}

#[test]
fn zero_failures_are_reported_with_an_upper_bound() {
    let ran = probe(&Workspace::empty(), &["--trials", "50"], "true").expect_code(0);
    ran.says("None of 50 trials failed. This does not prove that it never fails")
        .says("5.8 % (95 % confidence)")
        .says("93–100 %");
}

#[test]
fn a_trial_that_hangs_is_killed_with_all_that_it_started() {
    let workspace = Workspace::empty();
    fs::create_dir(workspace.path("pids")).unwrap();
    // A process that leaves the group, with what every system has, is found on Linux alone.
    let leaves =
        if cfg!(target_os = "linux") { "setsid sh -c '> pids/$$; sleep 1000' & " } else { "" };
    let program = format!("> pids/$$; {leaves}sh -c '> pids/$$; sleep 1000'");
    let ran = probe(&workspace, &["--trials", "2", "--timeout", "0.5"], &program);
    ran.expect_code(1).says("2 × hung (killed at its deadline)");
    expect_all_gone(&workspace);
}

#[test]
fn failures_that_differ_only_in_numbers_are_one_kind() {
    let workspace = Workspace::empty();
    // A panic is a failure whatever the exit code.
    let program = "echo \"thread 'worker' ($$) panicked at src/lib.rs:7:9:\nlost in task $$\" >&2";
    let found = json(&workspace, &["--trials", "3"], program);
    let [kind] = &found["commands"][0]["kinds"].as_array().unwrap()[..] else {
        panic!("{found:#}")
    };
    assert_eq!((&kind["outcome"], &kind["trials"]), (&"panicked".into(), &3.into()));
    assert_eq!(kind["panics"][0]["site"], "src/lib.rs:7:9");
    assert_eq!(kind["panics"][0]["message"], "lost in task #");
    // `cargo test` prints the panics of failed tests to standard output.
    let ran = probe(&workspace, &["--trials", "2"], &program.replace(">&2", "; exit 101"));
    ran.expect_code(1)
        .says("2 × failed (exit code 101)\n    panics at src/lib.rs:7:9: lost in task #");
    let program = "test $PROBE_TRIAL = 0 && kill -ABRT $$; kill -SEGV $$";
    let ran = probe(&workspace, &["--trials", "2"], program).expect_code(1);
    ran.says("1 × aborted (SIGABRT)").says("1 × signalled (SIGSEGV)");
}

#[test]
fn twenty_megabytes_of_output_are_truncated() {
    let workspace = Workspace::empty();
    let program = r#"echo first >&2; head -c 20000000 /dev/zero | tr '\0' x | tee /dev/stderr
echo "
thread 'main' panicked at src/a.rs:1:2:
at last" >&2"#;
    let ran = probe(&workspace, &["--trials", "1", "--keep", "kept"], program).expect_code(1);
    ran.says("1 × panicked (exit code 0)")
        .says("panics at src/a.rs:1:2: at last")
        .says("1 trial's stderr was truncated");
    let stderr = workspace.read("kept/trial-0000/stderr");
    assert!(stderr.starts_with("first\n") && stderr.ends_with("at last\n"));
    assert!(stderr.contains("bytes left out") && stderr.len() < 1_000_000, "{}", stderr.len());
}

#[test]
fn the_output_of_failed_and_of_slow_trials_is_kept() {
    let workspace = Workspace::empty();
    let program = "echo out $PROBE_TRIAL; echo err $PROBE_TRIAL >&2; test $PROBE_TRIAL -lt 5";
    let found = json(&workspace, &["--trials", "30", "--keep", "kept"], program);
    let arm = &found["commands"][0];
    let failed: Vec<_> = arm["kinds"][0]["kept"].as_array().unwrap().iter().collect();
    let slow: Vec<_> = arm["slowest"].as_array().unwrap().iter().map(|it| &it["trial"]).collect();
    assert_eq!((failed.len(), slow.len()), (3, 3));
    let mut kept = 0;
    for entry in fs::read_dir(workspace.path("kept")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let trial: u32 = name.strip_prefix("trial-").unwrap().parse().unwrap();
        assert!(failed.iter().chain(&slow).any(|it| **it == trial), "{name} is neither");
        assert_eq!(workspace.read(&format!("kept/{name}/stdout")), format!("out {trial}\n"));
        assert_eq!(workspace.read(&format!("kept/{name}/stderr")), format!("err {trial}\n"));
        kept += 1;
    }
    assert_eq!(kept, 6);
}

#[test]
fn a_probe_ends_at_a_failure_or_when_its_time_is_up() {
    let workspace = Workspace::empty();
    let (options, program) = (["--until-failure", "--jobs", "1"], "test $PROBE_TRIAL -lt 7");
    assert_eq!(json(&workspace, &options, program)["commands"][0]["trials"], 8);
    let ran = probe(&workspace, &options, program).expect_code(1);
    ran.says("1 of 8 failed, which ended the probe").does_not_say("confidence");
    let limited = [&options[..], &["--trials", "5"]].concat();
    probe(&workspace, &limited, "true").expect_code(0).says("None of 5 trials failed");
    // Each command runs once, however short the time.
    let options = ["--for", "0.001", "--jobs", "1", "--load", "1", "--compare", "false"];
    let ran = probe(&workspace, &options, "sleep 0.1").expect_code(1);
    ran.says("None of 1 trial failed").says("1 of 1 failed").says("with 1 CPU-load thread");
    let found = json(&workspace, &["--for", "0.5", "--jobs", "1"], "true");
    assert!(number(&found["commands"][0]["trials"]) > 1.0 && found["load"] == 0, "{found:#}");
}

#[test]
fn a_difference_is_reported_only_if_it_is_significant() {
    let workspace = Workspace::empty();
    let flaky = "test $((PROBE_TRIAL % 3)) != 0";
    let found = json(&workspace, &["--trials", "30", "--compare", "true"], flaky);
    let [one, other] = [0, 1].map(|at| number(&found["commands"][at]["failed"]));
    assert_eq!((one, other, &found["comparison"]["differ"]), (10.0, 0.0, &true.into()));
    assert!(number(&found["comparison"]["p"]) < 1e-3, "{found:#}");
    assert!(number(&found["comparison"]["interval"][0]) > 0.0, "{found:#}");
    let compare = |other: &str| {
        probe(&workspace, &["--trials", "30", "--compare", other], flaky).expect_code(1)
    };
    compare("true")
        .says("The rates differ: A fails more often than B. A failed in 10 of 30, B in 0 of 30");
    compare("sh -c 'test $(((PROBE_TRIAL + 1) % 3)) != 0'")
        .says("No significant difference")
        .does_not_say("fails more often");
}

#[test]
fn a_seed_reproduces_the_trials() {
    let workspace = Workspace::empty();
    let seeds = |options: &[&str]| {
        let found = json(&workspace, options, "echo $PROBE_SEED >&2; exit $PROBE_TRIAL");
        let kinds = found["commands"][0]["kinds"].as_array().unwrap();
        let mut seeds: Vec<_> =
            kinds.iter().map(|it| it["first"]["seed"].as_u64().unwrap()).collect();
        seeds.sort_unstable();
        seeds
    };
    let once = seeds(&["--trials", "6", "--seed", "0x2a"]);
    assert_eq!(once.len(), 5, "all but the first fail, each with its own exit code");
    assert_eq!(once, seeds(&["--trials", "6", "--seed", "42", "--jobs", "1"]));
    assert_ne!(once, seeds(&["--trials", "6", "--seed", "43"]));
}

#[test]
fn the_command_has_your_directory_and_environment() {
    let workspace = Workspace::empty();
    let program = r#"test "$OURS" = yes && test "$PWD" = "$EXPECTED" && test -z "$(ls -A "$TMPDIR")" && ! read line"#;
    let mut command = workspace.command(&["probe", "--trials", "3", "--", "sh", "-c", program]);
    let root = workspace.root().canonicalize().unwrap();
    command.env("OURS", "yes").env("EXPECTED", root).env("TMPDIR", workspace.path("bin"));
    Ran::of(command).expect_code(0);
    let left = fs::read_dir(workspace.path("bin")).unwrap().count();
    assert_eq!(left, 0, "temporary directories are left");
}

#[test]
fn an_experiment_is_probed_like_any_command_and_takes_the_seed_of_the_trial() {
    let workspace = Workspace::with_two();
    let script = "echo \"$*\" >> \"$0.arguments\"; cat \"$0.events\"";
    workspace.scripted(&drop_context(), script);
    workspace.edit("experiments/snapshots/03_sleep_duration.snap", "aborted", "clean");
    let options = ["probe", "--rounds", "2", "--jobs", "1", "--seed", "7", "--"];
    let ran = workspace.run(&[&options[..], &[XTASK, "experiments"]].concat()).expect_code(1);
    ran.says("2 × failed (exit code 1)")
        .says("stderr: error: not as the snapshot says: # sleep-duration");
    let seeds = [0, 1].map(|trial| lab::seed::of_trial(7, "probe", trial));
    let arguments = workspace.read("bin/01_drop_context.arguments");
    for (line, seed) in arguments.lines().zip(seeds) {
        assert_eq!(line, format!("--format events --quick --seed {seed}"));
    }
    assert!(!workspace.exists("experiments/snapshots/03_sleep_duration.snap.new"));
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn threads_are_held_back_and_the_report_says_what_was_done() {
    let workspace = Workspace::empty();
    let tried = probe(&workspace, &["--chaos", "--trials", "1"], "true");
    if tried.stderr.contains("--chaos traces the command") {
        skipped(&format!("holding threads: {tried}"));
        return;
    }
    let program = "sleep 0.01 | cat; case $PROBE_SEED in *7) exit 9;; esac";
    let options = ["--chaos", "--policy", "main", "--compare", "--trials", "24", "--seed", "5"];
    let found = json(&workspace, &[&options[..], &["--keep", "kept"]].concat(), program);
    let [held, bare] = [0, 1].map(|at| &found["commands"][at]);
    let (command, chaos) = (held["command"].as_str().unwrap(), &found["chaos"]);
    assert!(command.contains("hold-threads main - "), "{command}");
    assert!(command.contains("kept/surveys.json sh -c"), "{command}");
    // The seed decides, and not the chaos.
    assert!(number(&held["failed"]) > 0.0, "{held:#}");
    assert_eq!(held["failed"], bare["failed"]);
    assert_eq!(found["comparison"]["differ"], false);
    let main = &chaos["policies"]["main"];
    assert_eq!((&main["trials"], &main["failed"]), (&24.into(), &held["failed"]), "{chaos:#}");
    assert!(number(&main["holds"]) > 0.0 && number(&chaos["times"]) > 0.0, "{chaos:#}");
    assert_eq!(chaos["explored"], serde_json::json!({}), "there is nothing to choose");
    assert_eq!(chaos["surveyed"]["trials"], 3);
    // The shell, and two processes that it starts.
    assert!(number(&chaos["surveyed"]["threads"]) >= 3.0, "{chaos:#}");
    let repeat = &chaos["repeats"][0];
    assert_eq!((number(&repeat["failed"]), number(&repeat["of"])), (20.0, 20.0), "{repeat:#}");
    assert_eq!(number(&repeat["seeds"]), number(&held["failed"]).min(10.0), "{repeat:#}");
    assert_eq!(chaos["longest_ms"], 5);

    // Half of the seeds fail always, and the others in one of four runs: those are not chosen.
    let program = "case $PROBE_SEED in *[02468]) exit 9;; esac
        [ $(($(od -An -N1 -tu1 /dev/urandom) % 4)) != 0 ] || exit 9";
    let found = json(&workspace, &["--chaos", "--policy", "outliving", "--trials", "24"], program);
    let (repeat, chaos) = (&found["chaos"]["repeats"][0], &found["chaos"]);
    assert_eq!((number(&repeat["failed"]), number(&repeat["of"])), (20.0, 20.0), "{repeat:#}");
    assert_eq!((number(&repeat["seeds"]), &chaos["longest_ms"]), (10.0, &300.into()), "{chaos:#}");

    // What fails anyway needs no seed: a command that always hangs would take its timeout each time.
    let ran = probe(&workspace, &["--chaos", "--policy", "main", "--trials", "4"], "exit 9");
    assert!(
        ran.stdout.contains("Every trial failed, also those in which nothing was held"),
        "{ran}"
    );
    assert!(!ran.stdout.contains("repeats failed"), "{ran}");
    let found = json(&workspace, &["--chaos", "--policy", "main", "--trials", "4"], "exit 9");
    assert_eq!(found["chaos"]["repeats"], serde_json::json!([]));
    assert_eq!(found["chaos"]["surveyed"]["bare_failed"], 3);

    let ran = probe(&workspace, &["--chaos", "--policy", "main", "--trials", "2"], "true");
    assert!(ran.stdout.contains("threads were held back"), "{ran}");
    assert!(ran.stdout.contains("a zero is no proof"), "{ran}");
    // Whatever is traced can trace nothing.
    let ran =
        workspace.run(&["hold-threads", "main", "-", "-", XTASK, "probe", "--chaos", "--", "true"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("which is not possible here"), "{ran}");
    for (options, says) in [
        (&["--compare"][..], "--compare needs a command, or --chaos"),
        (&["--chaos", "--policy", "mian"], "did you mean `main`?"),
        (&["--policy", "main"], "--chaos"),
        (&["--chaos", "--pid1"], "cannot be used with"),
    ] {
        let ran = probe(&workspace, options, "true");
        assert_eq!(ran.code, Some(2), "{ran}");
        assert!(ran.stderr.contains(says), "{ran}");
    }
    let ran = workspace.run(&["probe", "--policy", "help"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert!(ran.stdout.contains("outliving"), "{ran}");
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn the_policy_that_finds_something_gets_the_trials_that_count() {
    let workspace = Workspace::empty();
    let tried = probe(&workspace, &["--chaos", "--trials", "1"], "true");
    if tried.stderr.contains("--chaos traces the command") {
        skipped(&format!("holding threads: {tried}"));
        return;
    }
    // Fails only if it is traced.
    let program = "grep -q '^TracerPid:.0$' /proc/self/status";
    let found = json(&workspace, &["--chaos", "--compare", "--trials", "60"], program);
    let chaos = &found["chaos"];
    let trials = |of: &str| -> f64 {
        let policies = chaos[of].as_object().unwrap().values();
        policies.map(|it| number(&it["trials"])).sum()
    };
    assert_eq!((trials("explored"), trials("policies")), (30.0, 30.0), "{chaos:#}");
    let explored = chaos["explored"].as_object().unwrap();
    assert!(explored.values().all(|it| it["failed"] == it["trials"]), "{chaos:#}");
    let chosen: Vec<_> = chaos["policies"].as_object().unwrap().keys().collect();
    let most = explored.values().map(|it| number(&it["trials"])).fold(0.0, f64::max);
    assert_eq!(chosen.len(), 1, "{chaos:#}");
    assert!(number(&explored[chosen[0]]["trials"]) >= most, "{chaos:#}");
    let failed = [0, 1].map(|at| number(&found["commands"][at]["failed"]));
    assert_eq!((failed, &found["comparison"]["differ"]), ([30.0, 0.0], &true.into()));

    // Where nothing fails, all have their turn again, and the report says that the others have not found it either.
    let ran = probe(&workspace, &["--chaos", "--trials", "52"], "true").expect_code(0);
    ran.says("these trials had explored").says("None of 37 trials failed");
}

#[test]
fn a_command_that_cannot_run_is_a_usage_error() {
    let workspace = Workspace::empty();
    workspace.write("not-executable", "true");
    for (arguments, words) in [
        (&["no-such-command-at-all"][..], "there is no command `no-such-command-at-all` in PATH"),
        (&["./no-such-file"], "cannot run `./no-such-file`: No such file"),
        (&["./not-executable"], "cannot run `./not-executable`: Permission denied"),
        (&["./docs"], "cannot run `./docs`: is a directory"),
        (&["not-executable"], "there is no command `not-executable` in PATH\n"),
        (&[], "required"),
        (&[""], "there is no command to run"),
        (&["--policy", "few"], "--policy needs --chaos"),
        (&["--chaos", "--policy", "few"], "there is no command to run"),
        (
            &["--trails", "3", "true"],
            "`--trails` is neither an option nor a command; did you mean `--trials`?",
        ),
        (&["--trails=3", "true"], "did you mean `--trials`?"),
        (&["--trials", "0", "true"], "--trials"),
        (&["--timeout", "0", "true"], "expected more than 0"),
        (&["--timeout", "soon", "true"], "1m30s"),
        (&["--timeout", "1e300", "true"], "that is too long"),
        (&["--load", "many", "true"], "expected a whole number from 0 to 1000"),
        (&["--compare", "no-such-command-at-all", "true"], "no-such-command-at-all"),
        (&["--compare", "sh 'unclosed", "true"], "a quote is not closed"),
        (&["--compare", " ", "true"], "there is no command in --compare"),
        (&["--compare", "true", "--until-failure", "true"], "cannot be used with"),
        (&["--jobs", "1001", "true"], "--jobs"),
        (&["--signal", "TREM@1", "true"], "did you mean TERM?"),
        (&["--signal", "TERM", "true"], "TERM@200ms"),
        (&["--signal", "TERM@soon", "true"], "1m30s"),
        (&["--stdin", "no-such-file", "true"], "cannot read no-such-file for --stdin"),
        (&["--stdin", "opne", "true"], "did you mean `--stdin open`?"),
        (&["--keep", "docs", "true"], "already exists"),
        (&["--keep", "not-executable/kept", "true"], "cannot create "),
    ] {
        workspace.run(&[&["probe"], arguments].concat()).expect_code(2).says(words);
    }
}

#[test]
fn an_open_standard_input_shows_a_hang_that_an_empty_one_hides() {
    let workspace = Workspace::empty();
    workspace.write("line", "one\n");
    let read = |stdin| ["--trials", "2", "--timeout", "0.5", "--stdin", stdin];
    probe(&workspace, &read("null"), "cat").expect_code(0);
    let from_a_file = probe(&workspace, &read("line"), "test $(cat) = one").expect_code(0);
    from_a_file.says("None of 2 trials failed");
    let open = probe(&workspace, &read("open"), "cat").expect_code(1);
    // It says what to do with the command to see that again.
    open.says("2 × hung (killed at its deadline)").says("--stdin open");
}

#[cfg(target_os = "linux")]
#[test]
fn a_hang_shows_the_names_and_states_of_its_threads() {
    let workspace = Workspace::empty();
    let options = ["--trials", "1", "--timeout", "0.5", "--keep", "kept"];
    let ran = probe(&workspace, &options, "sleep 1000; true").expect_code(1);
    ran.says(", thread `sh`: sleeps").says(", thread `sleep`: sleeps").says("trial-0000/threads");
    let kept = fs::read_to_string(workspace.path("kept/trial-0000/threads")).unwrap();
    assert!(kept.contains("thread `sleep`: sleeps"), "{kept}");
    let found = json(&workspace, &options[..4], "sleep 1000; true");
    let threads = found["commands"][0]["kinds"][0]["threads"].as_array().unwrap();
    assert!(threads.iter().any(|thread| thread["name"] == "sleep"), "{threads:?}");
}

/// One of its threads waits in a function of its own for what never comes.
const HANGS: &str = r#"use std::{sync::mpsc, thread};
#[inline(never)]
fn index(work: &mpsc::Receiver<()>) {
    while work.recv().is_ok() {}
}
fn main() {
    let (_sender, work) = mpsc::channel();
    let indexer = thread::Builder::new().name("indexer".to_owned()).spawn(move || index(&work));
    let _ = indexer.unwrap().join();
}
"#;

#[cfg(target_os = "linux")]
#[test]
fn a_hang_shows_the_function_of_the_program_that_each_thread_is_in() {
    let expected = ["called by hangs::index (hangs.rs:4)", "called by hangs::main (hangs.rs:9)"];
    shows_where_it_hangs("-g", &expected);
}

#[cfg(target_os = "linux")]
#[test]
fn a_hang_of_a_release_build_shows_the_functions_without_their_lines() {
    shows_where_it_hangs("-O", &["called by hangs::index\n", "called by hangs::main\n"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_hang_of_a_stripped_program_says_why_it_shows_no_functions() {
    let expected = "no functions: no symbols of a Rust program are there (it was stripped";
    shows_where_it_hangs("-Cstrip=symbols", &[expected]);
}

/// Its first thread ends alone, by the system call, and another stays.
const FIRST_ENDS: &str = r#"use std::thread;
unsafe extern "C" {
    fn syscall(number: i64, ...) -> i64;
}
fn main() {
    let stays = thread::Builder::new().name("stays".to_owned()).spawn(|| loop { thread::park() });
    stays.unwrap();
    let exit = if cfg!(target_arch = "x86_64") { 60 } else { 93 };
    unsafe { syscall(exit, 0) };
}
"#;

#[cfg(target_os = "linux")]
#[test]
fn a_hang_whose_first_thread_has_ended_shows_the_others() {
    let workspace = Workspace::empty();
    compile(&workspace, FIRST_ENDS, "--edition=2024");
    let ran = workspace.run(&["probe", "--trials", "1", "--timeout", "1", "--", "./hangs"]);
    ran.expect_code(1).says(", thread `stays`: sleeps");
}

/// A thread calls what is no function, or reads what is no memory.
const CRASHES: &str = r#"fn main() {
    let is_call = std::env::args().nth(1).is_some();
    let crash = move || unsafe {
        match is_call {
            true => std::mem::transmute::<usize, extern "C" fn()>(16)(),
            false => drop(std::ptr::read_volatile(16 as *const u8)),
        }
    };
    let _ = std::thread::Builder::new().name("crasher".to_owned()).spawn(crash).unwrap().join();
}
"#;

#[cfg(target_os = "linux")]
#[test]
fn a_crash_has_its_thread_and_its_file_where_threads_are_held() {
    let workspace = Workspace::empty();
    compile(&workspace, CRASHES, "-O");
    for (arguments, place) in
        [(&["./hangs"][..], "in hangs"), (&["./hangs", "call"], "where nothing is mapped")]
    {
        let held = ["probe", "--chaos", "--policy", "main", "--trials", "1", "--"];
        let ran = workspace.run(&[&held[..], arguments].concat());
        if ran.stderr.contains("--chaos traces the command") {
            skipped(&format!("holding threads: {ran}"));
            return;
        }
        ran.expect_code(1).says(&format!("thread `crasher` got SIGSEGV {place}"));
        // Where nothing is traced, nobody sees it.
        let bare = ["probe", "--trials", "1", "--"];
        let ran = workspace.run(&[&bare[..], arguments].concat()).expect_code(1);
        assert!(!ran.stdout.contains("got SIGSEGV"), "{ran}");
    }
}

#[cfg(target_os = "linux")]
fn compile(workspace: &Workspace, program: &str, option: &str) {
    workspace.write("hangs.rs", program);
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut compile = Command::new(rustc);
    compile.args([option, "hangs.rs"]).current_dir(workspace.root());
    Ran::of(compile).expect_code(0);
}

/// Whether gdb shows the threads of a process that is not its child.
#[cfg(target_os = "linux")]
static CAN_LOOK: LazyLock<bool> = LazyLock::new(|| {
    let looks = "sleep 60 & gdb -p $! -batch -nx -ex 'thread apply all bt 1' 2>&1; kill $!";
    let looked = Command::new("sh").args(["-c", looks]).output().unwrap();
    let can_look = String::from_utf8_lossy(&looked.stdout).contains("#0 ");
    if !can_look {
        skipped("the functions of threads: gdb is not installed, or may not attach");
    }
    can_look
});

/// What a report shows of [`HANGS`], compiled with an option.
#[cfg(target_os = "linux")]
fn shows_where_it_hangs(option: &str, by_gdb: &[&str]) {
    let workspace = Workspace::empty();
    compile(&workspace, HANGS, option);
    let expected = match *CAN_LOOK {
        true => by_gdb,
        false => &["no functions: gdb is not installed or may not attach"],
    };
    // A busy machine may not have started the threads by then, or gdb takes too long.
    let hang = ["probe", "--trials", "1", "--timeout", "2", "--", "./hangs"];
    let mut ran = workspace.run(&hang);
    for _ in 0..4 {
        if expected.iter().all(|text| ran.stdout.contains(text)) {
            break;
        }
        ran = workspace.run(&hang);
    }
    ran = ran.expect_code(1);
    ran = ran.says(", thread `indexer`: sleeps");
    for text in expected {
        ran = ran.says(text);
    }
}

#[test]
fn a_service_that_blames_blocking_work_is_told_how_to_see_its_threads() {
    let error = "Error: service `web`, asked by SIGTERM, after 8.0s: its runtime: `web` has not ended after 2.0s: \
                 1 blocking thread still running; what is left blocks its thread, and nothing can interrupt it: a \
                 closure of `spawn_blocking`, a read of standard input";
    let how = "to see where its threads are: --timeout, shorter than its own limit";
    for (error, is_told) in [(error, true), ("Error: it has failed", false)] {
        let ran =
            probe(&Workspace::empty(), &["--trials", "1"], &format!("echo '{error}' >&2; exit 1"));
        assert_eq!(ran.stdout.contains(how), is_told, "{ran}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_clean_trial_leaves_behind_is_reported_and_removed() {
    let workspace = Workspace::empty();
    fs::create_dir(workspace.path("pids")).unwrap();
    let program = "setsid sh -c '> pids/$$; exec sleep 1000' > /dev/null 2>&1 &
        sleep 1000 > /dev/null 2>&1 & until ls pids/*; do :; done; > $TMPDIR/app.lock";
    let ran = probe(&workspace, &["--trials", "2"], program).expect_code(0);
    ran.says("2 trials left the process `sleep` (#) behind.")
        .says("2 trials left the file `app.lock` in TMPDIR behind.");
    expect_all_gone(&workspace);
    let found = json(&workspace, &["--trials", "2"], "true");
    assert_eq!(found["commands"][0]["left"], Value::Array(Vec::new()), "the control");
}

/// It has its own environment, and a session of its own, and nobody is left who has started it.
#[cfg(target_os = "linux")]
#[test]
fn a_process_that_has_shed_every_mark_of_its_trial_is_reported() {
    let workspace = Workspace::empty();
    fs::create_dir(workspace.path("pids")).unwrap();
    // It says its number before it is `sleep`.
    let program = |start: &str| {
        format!(
            "{start} sh -c 'echo > pids/$$; exec sleep 1000' > /dev/null 2>&1 &
             until grep -qx sleep /proc/$(ls pids)/comm 2> /dev/null; do sleep 0.01; done; exit 0"
        )
    };
    let path = env::var("PATH").unwrap();
    for start in [
        format!("env -i PATH={path} setsid"),
        format!("env -i PATH={path}"),
        "TMPDIR=/tmp setsid".to_owned(),
    ] {
        let ran = probe(&workspace, &["--trials", "1"], &program(&start)).expect_code(0);
        ran.says("1 trial left the process `sleep` (#) behind.");
        expect_all_gone(&workspace);
        fs::remove_dir_all(workspace.path("pids")).unwrap();
        fs::create_dir(workspace.path("pids")).unwrap();
    }
}

#[test]
fn a_signal_provokes_a_shutdown() {
    let workspace = Workspace::empty();
    let handles = "trap 'echo asked; exit 0' TERM; while :; do sleep 0.01; done";
    let options = ["--trials", "2", "--timeout", "10", "--signal", "TERM@300ms"];
    probe(&workspace, &options, handles).expect_code(0).says("None of 2 trials failed");
    let ended = "trials ended before the first signal was due";
    probe(&workspace, &options, handles).expect_code(0).does_not_say(ended);
    probe(&workspace, &options, "true").expect_code(0).says(&format!("2 {ended}"));
    let ignores = "while :; do sleep 0.01; done";
    let ran = probe(&workspace, &options, ignores).expect_code(1);
    ran.says("2 × signalled (SIGTERM)").says("--signal TERM@300ms");
    // Two of them, in any order.
    let both = ["--trials", "1", "--signal", "kill@0.6", "--signal", "SIGINT@0.1"];
    let deaf = "trap 'echo once >&2' INT; while :; do sleep 0.01; done";
    probe(&workspace, &both, deaf).expect_code(1).says("1 × signalled (SIGKILL)").says("once");
}

#[cfg(target_os = "linux")]
#[test]
fn process_1_gets_no_signal_that_it_does_not_handle() {
    let workspace = Workspace::empty();
    let is_1 = probe(&workspace, &["--trials", "1", "--pid1"], "test $$ = 1");
    if is_1.stderr.contains("--pid1 needs") {
        skipped("a probe of process 1: `unshare --user --pid` does not work here");
        return;
    }
    is_1.expect_code(0);
    let options = ["--trials", "1", "--pid1", "--timeout", "1", "--signal", "TERM@0.2"];
    let ran = probe(&workspace, &options, "while :; do sleep 0.01; done").expect_code(1);
    ran.says("1 × hung").says("--pid1");
    let handles = "trap 'exit 0' TERM; while :; do sleep 0.01; done";
    probe(&workspace, &options, handles).expect_code(0);
}

#[cfg(target_os = "linux")]
#[test]
fn a_report_that_does_not_arrive_is_a_failure() {
    let workspace = Workspace::empty();
    let into = |stdout: &str| {
        let command = format!("{XTASK} probe --trials 1 -- true {stdout}");
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]).current_dir(workspace.path("."));
        shell.output().unwrap()
    };
    for (stdout, why) in [("> /dev/full", "No space left"), (">&-", "it is closed")] {
        let ran = into(stdout);
        let stderr = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains("cannot write to standard output") && stderr.contains(why),
            "{stderr}"
        );
    }
    // The controls. A reader that has had enough is not a failure.
    for stdout in ["> /dev/null", "| true"] {
        assert_eq!(into(stdout).status.code(), Some(0), "{stdout}");
    }
}

#[test]
fn an_error_of_the_os_is_reported() {
    let workspace = Workspace::empty();
    workspace.program("bad", "");
    workspace.edit("bad", "/bin/sh", "/no/such/interpreter");
    workspace.run(&["probe", "./bad"]).expect_code(1).says("cannot start ./bad");
    fs::remove_dir_all(workspace.path("target")).unwrap();
    workspace.write("target", "a file");
    let ran = workspace.run(&["probe", "--trials", "1", "true"]).expect_code(1);
    ran.says("cannot create ").says("choose another folder with --keep");
    let kept = ["probe", "--trials", "1", "--keep", "kept", "true"];
    workspace.run(&kept).expect_code(0).says("None of 1 trial failed");
}

/// Starts a probe of which some trials end and others never do, and waits for one of these.
fn endless(workspace: &Workspace) -> Child {
    fs::create_dir(workspace.path("pids")).unwrap();
    let program = "test $PROBE_TRIAL -lt 3 && exit 0; > pids/$$; sleep 1000";
    let options = ["probe", "--jobs", "2", "--timeout", "1h"];
    let probe = workspace.start(&[&options[..], &["--", "sh", "-c", program]].concat());
    let started = || (fs::read_dir(workspace.path("pids")).unwrap().count() == 2).then_some(());
    wait_for("the start of what does not end", started);
    probe
}

#[test]
fn an_interrupted_probe_reports_the_ended_trials_and_leaves_nothing_running() {
    for signal in [Signal::INT, Signal::TERM] {
        let workspace = Workspace::empty();
        let ran = end(endless(&workspace), signal).expect_code(130);
        ran.says("Interrupted. 3 trials").says("None of 3 trials failed");
        expect_all_gone(&workspace);
    }
}

/// A run in a trial has trials of its own, in groups of their own.
#[test]
fn an_interrupted_probe_of_an_experiment_leaves_nothing_running() {
    let workspace = Workspace::with_two();
    workspace.scripted(&sleep_duration(), &format!("{TELL_PID}sleep 1000"));
    let options = ["probe", "--jobs", "1", "--timeout", "1h", "--", XTASK, "experiments"];
    let probe = workspace.start(&options);
    let experiment = workspace.process("bin/03_sleep_duration.pid");
    end(probe, Signal::INT).expect_code(130).says("No trial ended");
    expect_gone(experiment);
}

#[test]
fn a_killed_probe_leaves_nothing_running() {
    let workspace = Workspace::empty();
    end(endless(&workspace), Signal::KILL);
    expect_all_gone(&workspace);
}
