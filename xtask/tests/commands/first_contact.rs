//! What somebody sees who runs the experiments for the first time.

use std::{fs::File, io::Read as _, os::fd::OwnedFd, process::Stdio};

use nix::pty::{Winsize, openpty};
use rustix::process::{Pid, Signal};

use crate::fixture::{
    Ran, TELL_PID, Workspace, drop_context, end, expect_gone, experiment, sleep_duration, wait_for,
};

/// Builds an experiment only when another one has run.
const AFTER_THE_FIRST: &str = "case \" $* \" in *03_sleep*)\n\
    n=0; until [ -e bin/01_drop_context.ran ]; do\n\
    n=$((n + 1)); [ $n -lt 600 ] || exit 1; sleep 0.1; done;; esac\n";

#[test]
fn the_first_experiment_runs_while_the_others_are_built() {
    let workspace = Workspace::with_two();
    workspace.scripted(&drop_context(), "touch \"$0.ran\"; cat \"$0.events\"");
    workspace.write("build.script", AFTER_THE_FIRST);
    workspace.run(&["experiments"]).expect_code(0).says("All 2 experiments");
}

#[test]
fn each_experiment_gets_a_line_that_says_what_it_found_and_how_often() {
    let workspace = Workspace::with_two();
    workspace.write("docs/src/01-drop-context.md", "# 01 · No context, no clean drop\n");
    let ran = workspace.run(&["experiments"]).expect_code(0);
    ran.says("✓ 01 No context, no clean drop · failed 20/20\n")
        .says("✓ 03 sleep-duration · failed 20/20\n")
        .does_not_say("95 %")
        .does_not_say("old/outside-alive");
}

#[test]
fn what_differs_is_not_called_by_its_finding() {
    let workspace = Workspace::with_two();
    workspace.write("docs/src/01-drop-context.md", "# 01 · No context, no clean drop\n");
    let mut changed = drop_context();
    changed.verdict = lab::Verdict::Refuted;
    workspace.experiment(&changed);
    let ran = workspace.run(&["experiments"]).expect_code(1);
    ran.says("✗ 01 drop-context · differs from its snapshot · refuted · failed 20/20\n")
        .says("was expected to be `supported`, and was `refuted`");
}

#[test]
fn a_run_names_the_next_page_to_read() {
    let workspace = Workspace::with_two();
    workspace.run(&["experiments"]).expect_code(0).says("Next: docs/src/start-here.md");
    let ran = workspace.run(&["experiments", "--only", "03"]).expect_code(0);
    ran.says("Next: docs/src/03-sleep-duration.md");
}

#[test]
fn a_run_of_which_nothing_was_asked_has_few_trials_and_says_so() {
    let workspace = Workspace::empty();
    let script = "echo \"$*\" > \"$0.arguments\"; cat \"$0.events\"";
    workspace.scripted(&sleep_duration(), script);
    workspace.run(&["experiments", "--accept"]).expect_code(0);
    for (option, is_quick) in [
        (&[][..], true),
        (&["--quick", "--only", "03"], true),
        (&["--full"], false),
        (&["--only", "03"], false),
        (&["--accept"], false),
        (&["--all"], true),
        (&["--all", "--full"], false),
    ] {
        let ran = workspace.run(&[&["experiments"], option].concat()).expect_code(0);
        assert_eq!(ran.to_string().contains("--full"), is_quick, "{ran}");
        let arguments = workspace.read("bin/03_sleep_duration.arguments");
        assert_eq!(arguments.contains("--quick"), is_quick, "{option:?}: {arguments}");
    }
}

#[test]
fn a_pipe_gets_plain_lines_of_at_most_eighty_columns() {
    let workspace = Workspace::with_two();
    let long = "A finding that is far too long for a line of a terminal which has eighty columns";
    workspace.write("docs/src/01-drop-context.md", &format!("# 01 · {long}\n"));
    for (columns, width) in [(None, 80), (Some("50"), 50)] {
        let mut command = workspace.command(&["experiments"]);
        command.env_remove("COLUMNS");
        if let Some(columns) = columns {
            command.env("COLUMNS", columns);
        }
        let ran = Ran::of(command).expect_code(0).says("… · failed 20/20\n");
        assert!(!ran.to_string().contains(['\u{1b}', '\r']), "{ran}");
        // All but a path, which stays in one piece.
        let fit = |line: &&str| !line.starts_with("Full results: ");
        for line in ran.stdout.lines().chain(ran.stderr.lines()).filter(fit) {
            assert!(line.chars().count() <= width, "{line}");
        }
    }
}

#[test]
fn a_pipe_learns_how_far_a_build_is() {
    let workspace = Workspace::with_two();
    // The first build of a run takes that long.
    let building = "[ -e built ] || { printf '    Building [=>   ] 12/214: tokio, syn\\r' >&2; sleep 3; }; > built\n";
    workspace.write("build.script", building);
    for options in [&["--only", "01"][..], &["--list"], &["--shard", "1/2"]] {
        let _ = std::fs::remove_file(workspace.path("built"));
        let ran = workspace.run(&[&["experiments"], options].concat()).expect_code(0);
        assert!(ran.stderr.lines().any(|line| line == "Building 12/214: tokio, syn"), "{ran}");
    }
}

#[test]
fn what_cargo_says_of_an_error_is_shown() {
    let workspace = Workspace::with_two();
    workspace.write("build.script", "echo 'error[E0425]: no such name' >&2; exit 101");
    let ran = workspace.run(&["experiments"]).expect_code(1);
    ran.says("error: the experiments do not build:\nerror[E0425]: no such name");
}

#[test]
fn warnings_of_a_build_are_shown_once() {
    let workspace = Workspace::with_two();
    let script = "case \" $* \" in *01_drop*) echo 'warning: unused variable' >&2;; esac";
    workspace.write("build.script", script);
    let ran = workspace.run(&["experiments"]).expect_code(0);
    assert_eq!(ran.stderr.matches("warning: unused variable").count(), 1, "{ran}");
}

#[test]
fn an_experiment_that_does_not_build_leaves_the_others_their_results() {
    let workspace = Workspace::with_two();
    let script = "case \" $* \" in *03_sleep*) echo 'error[E0425]: no' >&2; exit 101;; esac";
    workspace.write("build.script", script);
    let ran = workspace.run(&["experiments"]).expect_code(1);
    ran.says("✓ 01 drop-context")
        .says("error[E0425]: no")
        .says("03 sleep-duration does not build")
        .says("error: without a result: 03 sleep-duration");
}

/// Runs a command on a terminal of eighty columns. Returns its exit code, and all that it wrote.
fn on_a_terminal(
    workspace: &Workspace,
    arguments: &[&str],
    no_colour: bool,
) -> (Option<i32>, String) {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None).unwrap();
    let stream = |side: &OwnedFd| Stdio::from(side.try_clone().unwrap());
    let mut command = workspace.command(arguments);
    command.env("TERM", "xterm").env_remove("COLUMNS").env_remove("NO_COLOR");
    command.env_remove("CLICOLOR").env_remove("CLICOLOR_FORCE");
    if no_colour {
        command.env("NO_COLOR", "1");
    }
    command.stdout(stream(&terminal.slave)).stderr(stream(&terminal.slave));
    let mut child = command.spawn().unwrap();
    drop((command, terminal.slave));
    let mut written = Vec::new();
    let mut part = [0; 4096];
    let mut screen = File::from(terminal.master);
    // When nobody has the other side any more, reading it is an error on Linux.
    while let Ok(count @ 1..) = screen.read(&mut part) {
        written.extend(&part[..count]);
    }
    (child.wait().unwrap().code(), String::from_utf8_lossy(&written).into_owned())
}

#[test]
fn a_terminal_shows_what_is_built_and_run_and_keeps_the_lines() {
    let workspace = Workspace::with_two();
    let building = "printf '    Building [=>   ] 12/214: tokio, syn\\r' >&2; sleep 1\n";
    workspace.write("build.script", building);
    let (code, written) = on_a_terminal(&workspace, &["experiments"], false);
    assert_eq!(code, Some(0), "{written}");
    assert!(written.contains("Building 12/214: tokio, syn"), "{written}");
    assert!(written.contains("\u{1b}[32m✓\u{1b}[0m 01 drop-context · failed 20/20"), "{written}");
    // What is drawn over is not what stays.
    let lines = written.split("\r\n").map(console_text);
    for line in lines.filter(|line| !line.contains("Full results")) {
        assert!(line.chars().count() <= 80, "{line:?}");
    }
}

#[test]
fn a_terminal_gets_no_colours_if_it_wants_none() {
    let workspace = Workspace::with_two();
    let (code, written) = on_a_terminal(&workspace, &["experiments"], true);
    assert_eq!(code, Some(0), "{written}");
    assert!(written.contains("✓ 01 drop-context · failed 20/20"), "{written}");
    assert!(!written.contains("\u{1b}[3"), "{written}");
}

/// What stays on a line that was drawn over: the text after the last return, without escape codes.
fn console_text(line: &str) -> String {
    let last = line.rsplit('\r').next().unwrap_or_default();
    let mut text = String::new();
    let mut parts = last.split("\u{1b}[");
    text += parts.next().unwrap_or_default();
    for part in parts {
        text += part.split_once(|it: char| it.is_ascii_alphabetic()).map_or("", |(_, rest)| rest);
    }
    text
}

#[test]
fn ctrl_c_during_a_build_keeps_the_results_and_ends_the_build() {
    for signal in [Signal::INT, Signal::KILL] {
        let workspace = Workspace::with_two();
        let script = format!("case \" $* \" in *03_sleep*)\n{TELL_PID}exec sleep 1000;; esac");
        // The stand-in is not in the workspace, so it says its number elsewhere.
        workspace.write("build.script", &script.replace("$0", "building"));
        workspace.scripted(&drop_context(), "cat \"$0.events\"; touch \"$0.ran\"");
        let run = workspace.start(&["experiments"]);
        let building: Pid = workspace.process("building.pid");
        wait_for("the first experiment", || {
            workspace.exists("bin/01_drop_context.ran").then_some(())
        });
        let ran = end(run, signal);
        expect_gone(building);
        if signal == Signal::INT {
            ran.expect_code(130).says("✓ 01 drop-context").says("Interrupted: 1 of 2 experiments");
        }
    }
}

#[test]
fn what_needs_python_waits_until_somebody_asks_or_has_built_it() {
    let workspace = Workspace::with_two();
    let python = experiment("60", "finalization", sleep_duration().variants);
    workspace.scripted(&python, "touch \"$0.ran\"; cat \"$0.events\"");
    let ran = workspace.run(&["experiments"]).expect_code(0);
    ran.says("skipped: 60 finalization: it builds extension modules for Python")
        .says("cargo xtask experiments --only 60");
    assert!(!workspace.exists("bin/60_finalization.ran"));
    workspace.run(&["experiments", "--only", "60", "--accept"]).expect_code(0);
    assert!(workspace.exists("bin/60_finalization.ran"));
    workspace.remove("bin/60_finalization.ran");
    workspace.run(&["experiments", "--all"]).expect_code(0);
    assert!(workspace.exists("bin/60_finalization.ran"));
    workspace.remove("bin/60_finalization.ran");
    workspace.write("target/python/packages/sundown/_native.abi3.so", "");
    workspace.run(&["experiments"]).expect_code(0).says("✓ 60 finalization");
    assert!(workspace.exists("bin/60_finalization.ran"));
}

#[test]
fn a_missing_server_is_reported_before_anything_is_installed() {
    let workspace = Workspace::with_two();
    let clients = experiment("62", "real-clients", sleep_duration().variants);
    workspace.scripted(&clients, "touch \"$0.ran\"; cat \"$0.events\"");
    // A path on which there is the shell's grep, and no etcd.
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|folder| folder.join("grep"));
    let grep = found.into_iter().find(|file| file.exists()).unwrap();
    std::fs::create_dir(workspace.path("tools")).unwrap();
    std::os::unix::fs::symlink(grep, workspace.path("tools/grep")).unwrap();
    let tools = workspace.path("tools").display().to_string();
    let ran = workspace.run_with("PATH", &tools, &["experiments", "--only", "62"]).expect_code(0);
    ran.says("skipped: 62 real-clients: there is no etcd on PATH");
    assert!(!workspace.exists("bin/62_real_clients.ran"));
}
