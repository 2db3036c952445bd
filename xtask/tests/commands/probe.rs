//! The sandbox for any command, with small shell programs that misbehave in known ways.

use std::{fs, path::Path, process::Child};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::fixture::{Ran, Workspace, wait_for};

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

/// Whether the interval that was found holds this rate.
fn holds(arm: &Value, rate: f64) -> bool {
    (number(&arm["interval"][0])..=number(&arm["interval"][1])).contains(&rate)
}

fn is_gone(process: Pid) -> bool {
    // What has ended and was not waited for yet does not run any more.
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    let is_zombie =
        stat.is_ok_and(|it| it.rsplit_once(") ").is_some_and(|(_, it)| it.starts_with('Z')));
    is_zombie || test_kill_process(process).is_err()
}

/// Waits until every process that wrote its number into this folder is gone; there must be one.
fn expect_gone(folder: &Path) {
    let processes: Vec<Pid> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| Pid::from_raw(name.parse().unwrap()).unwrap())
        .collect();
    assert!(!processes.is_empty());
    for process in processes {
        wait_for("the end of a process", || is_gone(process).then_some(()));
    }
}

#[test]
fn a_failure_one_time_in_ten_is_found_at_its_rate() {
    let workspace = Workspace::empty();
    for (options, program) in [
        (&["--trials", "100"][..], "test $((PROBE_TRIAL % 10)) != 3 || exit 7"),
        (&["--trials", "200", "--seed", "7"], "case $PROBE_SEED in *3) exit 7;; esac"),
    ] {
        let found = json(&workspace, options, program);
        let arm = &found["commands"][0];
        assert!(holds(arm, 0.1), "{arm:#}");
        assert!(!holds(arm, 0.0) && !holds(arm, 0.3), "an interval that says nothing: {arm:#}");
        assert_eq!(arm["ways"][0]["ending"], "exit code 7");
    }
    let ran = probe(&workspace, &["--trials", "100"], "test $((PROBE_TRIAL % 10)) != 3 || exit 7");
    ran.expect_code(1).says("10 of 100 failed: 10 %, and 6–17 % with 95 % confidence");
}

#[test]
fn none_of_many_is_not_taken_for_never() {
    let ran = probe(&Workspace::empty(), &["--trials", "50"], "true").expect_code(0);
    ran.says("None of 50 trials failed. That is not never")
        .says("fails in up to 5.8 % of its runs")
        .says("93–100 %");
}

#[test]
fn a_trial_that_hangs_is_killed_with_all_that_it_started() {
    let workspace = Workspace::empty();
    fs::create_dir(workspace.path("pids")).unwrap();
    // One that leaves the group, by what every system has, is found only on Linux.
    let leaves =
        if cfg!(target_os = "linux") { "setsid sh -c '> pids/$$; sleep 1000' & " } else { "" };
    let program = format!("> pids/$$; {leaves}sh -c '> pids/$$; sleep 1000'");
    let ran = probe(&workspace, &["--trials", "2", "--timeout", "0.5"], &program);
    ran.expect_code(1).says("2 × hung (killed at its deadline)");
    expect_gone(&workspace.path("pids"));
}

#[test]
fn a_panic_is_a_failure_whatever_the_exit_code() {
    let program = r#"echo "thread 'worker' ($$) panicked at src/lib.rs:7:9:
lost in task $$" >&2"#;
    let found = json(&Workspace::empty(), &["--trials", "3"], program);
    let ways = &found["commands"][0]["ways"];
    assert_eq!(
        ways.as_array().unwrap().len(),
        1,
        "their numbers differ, and nothing else: {ways:#}"
    );
    assert_eq!(ways[0]["outcome"], "panicked");
    assert_eq!(ways[0]["panics"][0]["site"], "src/lib.rs:7:9");
    assert_eq!(ways[0]["panics"][0]["message"], "lost in task #");
    assert_eq!(ways[0]["trials"], 3);
}

#[test]
fn an_abort_and_another_signal_are_told_apart() {
    let program = "test $PROBE_TRIAL = 0 && kill -ABRT $$; kill -SEGV $$";
    let ran = probe(&Workspace::empty(), &["--trials", "2"], program).expect_code(1);
    ran.says("1 × aborted (SIGABRT)").says("1 × signalled (SIGSEGV)");
}

#[test]
fn a_hundred_megabytes_are_neither_kept_nor_in_the_way() {
    let workspace = Workspace::empty();
    let program = r#"echo first >&2; head -c 100000000 /dev/zero | tr '\0' x | tee /dev/stderr
echo "
thread 'main' panicked at src/a.rs:1:2:
at last" >&2"#;
    let ran = probe(&workspace, &["--trials", "1", "--keep", "kept"], program).expect_code(1);
    ran.says("1 × panicked (exit code 0)")
        .says("panics at src/a.rs:1:2: at last")
        .says("1 trial printed so much to standard error that the middle of it was not kept");
    let stderr = workspace.read("kept/trial-0000/stderr");
    assert!(stderr.starts_with("first\n") && stderr.ends_with("at last\n"));
    assert!(stderr.contains("bytes left out") && stderr.len() < 1_000_000, "{}", stderr.len());
}

#[test]
fn what_odd_and_slow_trials_printed_is_kept() {
    let workspace = Workspace::empty();
    let program = "echo out $PROBE_TRIAL; echo err $PROBE_TRIAL >&2; test $PROBE_TRIAL -lt 5";
    let found = json(&workspace, &["--trials", "30", "--keep", "kept"], program);
    let arm = &found["commands"][0];
    let odd: Vec<_> = arm["ways"][0]["kept"].as_array().unwrap().iter().collect();
    let slow: Vec<_> = arm["slowest"].as_array().unwrap().iter().map(|it| &it["trial"]).collect();
    assert_eq!((odd.len(), slow.len()), (3, 3));
    let mut kept = 0;
    for entry in fs::read_dir(workspace.path("kept")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let trial: u32 = name.strip_prefix("trial-").unwrap().parse().unwrap();
        assert!(odd.iter().chain(&slow).any(|it| **it == trial), "{name} is neither");
        assert_eq!(workspace.read(&format!("kept/{name}/stdout")), format!("out {trial}\n"));
        assert_eq!(workspace.read(&format!("kept/{name}/stderr")), format!("err {trial}\n"));
        kept += 1;
    }
    assert_eq!(kept, 6);
}

#[test]
fn until_failure_ends_at_the_first_one() {
    let options = ["--until-failure", "--jobs", "1"];
    let found = json(&Workspace::empty(), &options, "test $PROBE_TRIAL -lt 7");
    assert_eq!(found["commands"][0]["trials"], 8);
    let ran = probe(&Workspace::empty(), &options, "test $PROBE_TRIAL -lt 7").expect_code(1);
    ran.says("1 of 8 failed, and that was the end").does_not_say("confidence");
    let limited = [&options[..], &["--trials", "5"]].concat();
    probe(&Workspace::empty(), &limited, "true").expect_code(0).says("None of 5 trials failed");
}

#[test]
fn rates_that_differ_are_told_from_rates_that_may_be_the_same() {
    let workspace = Workspace::empty();
    let flaky = "test $((PROBE_TRIAL % 3)) != 0";
    let compare = |other: &str| {
        let options = ["--trials", "60", "--compare", other];
        (json(&workspace, &options, flaky), probe(&workspace, &options, flaky).expect_code(1))
    };
    let (found, ran) = compare("true");
    assert_eq!(
        (&found["commands"][0]["failed"], &found["commands"][1]["failed"]),
        (&20.into(), &0.into())
    );
    assert_eq!(found["comparison"]["differ"], true);
    assert!(number(&found["comparison"]["p"]) < 1e-4, "{found:#}");
    assert!(number(&found["comparison"]["interval"][0]) > 0.0, "{found:#}");
    ran.says("The rates differ: A fails more often than B. A failed in 20 of 60, B in 0 of 60");

    let (found, ran) = compare("sh -c 'test $(((PROBE_TRIAL + 1) % 3)) != 0'");
    assert_eq!(found["comparison"]["differ"], false);
    ran.says("not shown to differ").does_not_say("fails more often");
}

#[test]
fn a_seed_makes_the_same_trials_again() {
    let workspace = Workspace::empty();
    let seeds = |options: &[&str]| {
        let found = json(&workspace, options, "echo $PROBE_SEED >&2; exit $PROBE_TRIAL");
        let ways = found["commands"][0]["ways"].as_array().unwrap();
        let mut seeds: Vec<_> =
            ways.iter().map(|it| it["first"]["seed"].as_u64().unwrap()).collect();
        seeds.sort_unstable();
        seeds
    };
    let once = seeds(&["--trials", "6", "--seed", "0x2a"]);
    assert_eq!(once.len(), 5, "all but the first fail, each in a way of its own");
    assert_eq!(once, seeds(&["--trials", "6", "--seed", "42", "--jobs", "1"]));
    assert_ne!(once, seeds(&["--trials", "6", "--seed", "43"]));
}

#[test]
fn the_command_finds_its_own_directory_and_environment() {
    let workspace = Workspace::empty();
    let program = r#"test "$OURS" = yes && test "$PWD" = "$EXPECTED" && test -z "$(ls -A "$TMPDIR")" && ! read line"#;
    let mut command = workspace.command(&["probe", "--trials", "3", "--", "sh", "-c", program]);
    let root = workspace.root().canonicalize().unwrap();
    command.env("OURS", "yes").env("EXPECTED", root).env("TMPDIR", workspace.path("bin"));
    Ran::of(command.output().unwrap()).expect_code(0);
    let left = fs::read_dir(workspace.path("bin")).unwrap().count();
    assert_eq!(left, 0, "temporary directories are left");
}

#[test]
fn what_cannot_be_run_is_a_mistake_in_usage() {
    let workspace = Workspace::empty();
    workspace.write("not-executable", "true");
    for (arguments, words) in [
        (&["no-such-command-at-all"][..], "there is no command `no-such-command-at-all` in PATH"),
        (&["./no-such-file"], "cannot run ./no-such-file: No such file"),
        (&["./not-executable"], "cannot run ./not-executable: Permission denied"),
        (&["./docs"], "cannot run ./docs: is a directory"),
        (&[], "required"),
        (&["--trials", "0", "true"], "--trials"),
        (&["--timeout", "0", "true"], "expected more than 0"),
        (&["--timeout", "soon", "true"], "1m30s"),
        (&["--compare", "no-such-command-at-all", "true"], "no-such-command-at-all"),
        (&["--compare", "sh 'unclosed", "true"], "a quote is not closed"),
        (&["--compare", " ", "true"], "there is no command in --compare"),
        (&["--timeout", "1e300", "true"], "nothing takes so long"),
        (&["--jobs", "1001", "true"], "--jobs"),
        (&["--compare", "true", "--until-failure", "true"], "cannot be used with"),
        (&["--keep", "docs", "true"], "is there already"),
        (&["--keep", "not-executable/kept", "true"], "cannot make the folder"),
    ] {
        workspace.run(&[&["probe"], arguments].concat()).expect_code(2).says(words);
    }
}

#[test]
fn a_target_that_cannot_be_written_is_no_mistake_of_the_user() {
    let workspace = Workspace::empty();
    workspace.write("target", "a file");
    let ran = workspace.run(&["probe", "--trials", "1", "true"]).expect_code(1);
    ran.says("cannot make the folder").says("--keep names another");
    let kept = ["probe", "--trials", "1", "--keep", "kept", "true"];
    workspace.run(&kept).expect_code(0).says("None of 1 trial failed");
}

#[test]
fn a_program_that_the_system_cannot_start_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let workspace = Workspace::empty();
    workspace.write("bad", "#!/no/such/interpreter\n");
    fs::set_permissions(workspace.path("bad"), fs::Permissions::from_mode(0o755)).unwrap();
    workspace.run(&["probe", "./bad"]).expect_code(1).says("cannot start ./bad");
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
fn an_interrupted_probe_prints_what_is_known_and_leaves_nothing_running() {
    for signal in [Signal::INT, Signal::TERM] {
        let workspace = Workspace::empty();
        let probe = endless(&workspace);
        kill_process(Pid::from_child(&probe), signal).unwrap();
        let ran = Ran::of(probe.wait_with_output().unwrap()).expect_code(130);
        ran.says("Interrupted. 3 trials").says("None of 3 trials failed");
        expect_gone(&workspace.path("pids"));
    }
}

#[test]
fn a_killed_probe_leaves_nothing_running() {
    let workspace = Workspace::empty();
    let mut probe = endless(&workspace);
    probe.kill().unwrap();
    probe.wait().unwrap();
    expect_gone(&workspace.path("pids"));
}
