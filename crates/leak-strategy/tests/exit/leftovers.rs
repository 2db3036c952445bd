//! What the system does not take back: what is left behind without a resource, and what is not with one.
#![allow(clippy::zombie_processes, reason = "the processes end, and nobody is left who could wait")]

use std::{
    env,
    fs::{self, File},
    future::pending,
    io::{self, BufRead as _, BufReader, Write},
    mem,
    os::{
        fd::OwnedFd,
        unix::{net::UnixListener, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use leak_strategy::{
    app,
    ledger::{LeftBehind, Outcome, Reason},
    leftovers::{self, Kill},
    plan::ExitPlan,
    resource::{Policy, Resource},
};
use rustix::process::{Pid, Signal, getppid, kill_process};
use sundown::RuntimeOwner;
use tokio::runtime::Runtime;

use crate::{
    CODE, DIRECTORY, Exited, LEAK, Noisy, OR_LEAK, PLAN, PROGRAM, SLACK, TEAR_DOWN, add, run,
    run_with,
};

/// What a plan says of something that is left behind.
const LEFT: &str = "left behind: ";

/// Between two looks at whether something is so.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// A file in the directory of the process.
fn path(name: &str) -> PathBuf {
    PathBuf::from(env::var_os(DIRECTORY).unwrap()).join(name)
}

/// A command with nothing of what the harness reads from.
fn command<const N: usize>(program: &str, arguments: [&str; N]) -> Command {
    let (mut command, null) = (Command::new(program), Stdio::null);
    command.args(arguments).stdin(null()).stdout(null()).stderr(null());
    command
}

fn shell(script: &str) -> Command {
    command("sh", ["-c", script])
}

fn sleep() -> Command {
    command("sleep", ["600"])
}

/// Prints the number of a process.
fn print(id: u32) {
    println!("{id}");
}

fn sleeping() -> Child {
    let child = sleep().spawn().unwrap();
    print(child.id());
    child
}

/// Whether a process runs: one that has ended may be listed until somebody asks for its status.
fn runs(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
}

/// The processes whose numbers the program has printed.
fn printed(exited: &Exited) -> Vec<Pid> {
    exited.stdout.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

/// Whether all of the processes ran on. They do not any more.
#[track_caller]
fn all_ran_on(exited: &Exited) -> bool {
    exited.expect_code();
    let processes = printed(exited);
    assert!(!processes.is_empty(), "no numbers: {}", exited.stdout);
    let running: Vec<_> = processes.iter().filter(|process| runs(**process)).collect();
    running.iter().for_each(|process| kill_process(**process, Signal::KILL).unwrap());
    assert!(running.is_empty() || running.len() == processes.len(), "{running:?} of {processes:?}");
    !running.is_empty()
}

#[track_caller]
fn none_ran_on(exited: &Exited) -> bool {
    // Somebody has killed it, and it may still be about to end.
    let began = Instant::now();
    while printed(exited).iter().any(|process| runs(*process)) && began.elapsed() < SLACK {
        thread::sleep(BETWEEN_LOOKS);
    }
    !all_ran_on(exited)
}

/// The plan warned of this, in the ledger and on standard error.
#[track_caller]
fn warned_of(exited: &Exited) -> &[LeftBehind] {
    let left = &*exited.ledger.as_ref().expect("a ledger").left_behind;
    let lines = exited.stderr.lines().filter(|line| line.contains(LEFT)).count();
    assert_eq!(left.len(), lines, "{}", exited.stderr);
    left
}

/// A task that waits for a child which it kills when it is dropped.
fn in_a_task(plan: &ExitPlan, register: bool) {
    let runtime = Box::leak(Box::new(Runtime::new().unwrap()));
    runtime.block_on(async {
        let mut sleep = tokio::process::Command::from(sleep());
        let mut child = sleep.kill_on_drop(true).spawn().unwrap();
        print(child.id().unwrap());
        if register {
            let worker = leftovers::child("worker", TEAR_DOWN, child.id(), Kill::AtOnce);
            plan.add(worker).unwrap();
        }
        tokio::spawn(async move { child.wait().await });
        plan.leave(CODE)
    })
}

#[test]
fn a_child_runs_on_with_a_warning_unless_a_resource_ends_it() {
    let left = run(PLAN, |plan| in_a_task(plan, false));
    let ended = run(PLAN, |plan| in_a_task(plan, true));

    let child = printed(&left)[0].as_raw_nonzero().get().unsigned_abs();
    assert!(all_ran_on(&left));
    assert_eq!(
        warned_of(&left),
        [LeftBehind::ChildProcess { id: child, name: "sleep".to_owned() }]
    );
    assert_eq!(ended.outcome_of("worker"), (Outcome::TornDown, None));
    assert!(!all_ran_on(&ended), "its end was waited for");
    assert_eq!(warned_of(&ended), []);
}

#[test]
fn a_child_that_may_run_on_does_so_without_a_warning() {
    let exited = run(PLAN, |plan| {
        plan.add(leftovers::child("daemon", LEAK, sleeping().id(), Kill::AtOnce)).unwrap();
    });
    assert!(all_ran_on(&exited));
    assert_eq!(warned_of(&exited), []);
}

/// A runtime in the plan, and a child with `kill_on_drop` in one of its tasks.
fn runtime_with_a_child(plan: &ExitPlan) {
    let runtime = RuntimeOwner::builder("program").workers(1).start().unwrap();
    let handle = runtime.handle().unwrap();
    plan.add(app::runtime(OR_LEAK, runtime)).unwrap();
    handle.block_on(async {
        let mut sleep = tokio::process::Command::from(sleep());
        let mut child = sleep.kill_on_drop(true).spawn().unwrap();
        print(child.id().unwrap());
        tokio::spawn(async move { child.wait().await });
    });
}

#[test]
fn a_runtime_in_the_plan_kills_the_children_of_its_tasks_without_a_warning() {
    let last = run(PLAN, runtime_with_a_child);
    let after_the_log = run(PLAN, |plan| {
        runtime_with_a_child(plan);
        let telemetry = Resource::new("telemetry", TEAR_DOWN, |_exit| Ok(()));
        plan.add(telemetry.needs(app::RUNTIME).writes_the_log()).unwrap();
    });
    for exited in [last, after_the_log] {
        assert_eq!(exited.outcome_of(app::RUNTIME), (Outcome::TornDown, None));
        assert_eq!(warned_of(&exited), []);
        assert!(none_ran_on(&exited));
    }
}

#[test]
fn a_child_is_asked_to_end_before_it_is_killed() {
    /// Registers a child that handles SIGTERM like this, when it does.
    fn add_child(plan: &ExitPlan, handler: &str) {
        let ready = path("ready");
        let script = format!("trap '{handler}' TERM; touch {}; sleep 600 & wait", ready.display());
        let child = shell(&script).process_group(0).spawn().unwrap();
        print(child.id());
        while !ready.exists() {
            thread::sleep(BETWEEN_LOOKS);
        }
        let policy = Policy::TearDown { within: Duration::from_secs(2) };
        let id = child.id();
        plan.add(leftovers::process_group("shell", policy, id, Kill::AfterTerm)).unwrap();
    }
    let obeys = run(PLAN, |plan| {
        add_child(plan, &format!("echo asked > {}; exit", path("asked").display()));
    });
    let ignores = run(PLAN, |plan| add_child(plan, ""));
    for exited in [&obeys, &ignores] {
        assert!(!all_ran_on(exited));
        assert_eq!(exited.outcome_of("shell"), (Outcome::TornDown, None));
    }
    assert_eq!(obeys.left["asked"], "asked\n");
    let half = Duration::from_millis(900);
    assert!(ignores.entry("shell").tried >= half, "{:?}", ignores.entry("shell"));
}

/// Starts a shell that starts another process. The other's number is in the file.
fn shell_with_a_child(group: bool) -> Child {
    let file = path("grandchild");
    let script = format!("sleep 600 & echo $! > {}; wait", file.display());
    let mut shell = shell(&script);
    if group {
        shell.process_group(0);
    }
    let child = shell.spawn().unwrap();
    let number = loop {
        match fs::read_to_string(&file) {
            Ok(number) if number.ends_with('\n') => break number,
            _ => thread::sleep(BETWEEN_LOOKS),
        }
    };
    print!("{number}");
    child
}

#[test]
fn a_group_is_ended_with_all_of_its_processes_and_a_child_alone() {
    let alone = run(PLAN, |plan| {
        let shell = shell_with_a_child(false);
        plan.add(leftovers::child("shell", TEAR_DOWN, shell.id(), Kill::AtOnce)).unwrap();
    });
    let group = run(PLAN, |plan| {
        let shell = shell_with_a_child(true);
        plan.add(leftovers::process_group("shell", TEAR_DOWN, shell.id(), Kill::AtOnce)).unwrap();
    });
    // Its leader has ended, and somebody has asked for its status.
    let without_leader = run(PLAN, |plan| {
        let mut shell = shell_with_a_child(true);
        plan.add(leftovers::process_group("shell", TEAR_DOWN, shell.id(), Kill::AtOnce)).unwrap();
        shell.kill().unwrap();
        shell.wait().unwrap();
    });
    // It was not started as the leader of a group.
    let no_group = run(PLAN, |plan| {
        let child = sleeping();
        plan.add(leftovers::process_group("shell", TEAR_DOWN, child.id(), Kill::AtOnce)).unwrap();
    });
    for exited in [&alone, &group, &without_leader, &no_group] {
        assert_eq!(exited.outcome_of("shell"), (Outcome::TornDown, None));
    }
    assert!(all_ran_on(&alone), "the control");
    for exited in [&group, &without_leader, &no_group] {
        assert!(!all_ran_on(exited));
    }
}

#[test]
fn what_a_child_had_started_is_warned_of_when_it_outlives_the_child() {
    let of_a_task = run(PLAN, |plan| {
        let runtime = RuntimeOwner::builder("program").workers(1).start().unwrap();
        let handle = runtime.handle().unwrap();
        plan.add(app::runtime(OR_LEAK, runtime)).unwrap();
        let mut child = handle.block_on(async {
            let script = "sleep 600 & echo $!; wait";
            let mut shell = tokio::process::Command::from(shell(script));
            shell.kill_on_drop(true).stdout(Stdio::piped()).spawn().unwrap()
        });
        let mut number = String::new();
        let stdout = child.stdout.take().unwrap().into_owned_fd().unwrap();
        BufReader::new(File::from(stdout)).read_line(&mut number).unwrap();
        print!("{number}");
        handle.spawn(async move { child.wait().await });
    });
    let alone = run(PLAN, |plan| {
        let shell = shell_with_a_child(false);
        plan.add(leftovers::child("shell", TEAR_DOWN, shell.id(), Kill::AtOnce)).unwrap();
    });
    let meant = run(PLAN, |plan| {
        let mut shell = shell_with_a_child(false);
        plan.add(leftovers::child("shell", LEAK, shell.id(), Kill::AtOnce)).unwrap();
        add(plan, "ends the shell", TEAR_DOWN, move |_exit| {
            shell.kill()?;
            shell.wait()?;
            Ok(())
        });
    });
    for exited in [&of_a_task, &alone] {
        let child = printed(exited)[0].as_raw_nonzero().get().unsigned_abs();
        let [LeftBehind::Descendant { id, name, .. }] = warned_of(exited) else {
            panic!("{:?}", warned_of(exited))
        };
        assert_eq!((*id, &**name), (child, "sleep"));
        assert!(all_ran_on(exited));
    }
    assert_eq!(warned_of(&meant), []);
    assert!(all_ran_on(&meant));
}

/// In a namespace in which nothing is mounted at `/proc`. Where a process may not make one, this shows nothing.
#[test]
fn without_proc_a_child_is_ended_and_nothing_is_warned_of() {
    const WITHOUT: [&str; 5] = ["--user", "--map-root-user", "--mount", "sh", "-c"];
    let unshare = |script: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(WITHOUT).arg(format!("mount -t tmpfs none /proc && {script}"));
        unshare
    };
    let works = || unshare("test ! -e /proc/self").output().is_ok_and(|it| it.status.success());
    // The program itself is in such a namespace.
    if env::var_os(PROGRAM).is_none() && !works() {
        eprintln!("not tested: this process may not make a namespace");
        return;
    }
    let hide_proc = |child: &mut Command| {
        let mut without = unshare("exec \"$0\" \"$@\"");
        without.arg(child.get_program()).args(child.get_args());
        without.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
        without.stdout(Stdio::piped()).stderr(Stdio::piped());
        *child = without;
    };
    let exited = run_with(PLAN, hide_proc, |plan| {
        plan.add(leftovers::child("known", TEAR_DOWN, sleeping().id(), Kill::AtOnce)).unwrap();
        let group = sleep().process_group(0).spawn().unwrap();
        print(group.id());
        plan.add(leftovers::process_group("group", TEAR_DOWN, group.id(), Kill::AtOnce)).unwrap();
        drop(sleeping());
        listen(&path("control.sock"));
        println!("socket {}", fs::exists("/proc/self").unwrap());
    });
    assert!(exited.stdout.ends_with("socket false\n"), "the control: {}", exited.stdout);
    assert_eq!(exited.outcome_of("known"), (Outcome::TornDown, None));
    assert_eq!(exited.outcome_of("group").0, Outcome::Failed, "nobody can see that all have ended");
    assert_eq!(warned_of(&exited), []);
    let [known, group, unknown] = &*printed(&exited) else { panic!("{}", exited.stdout) };
    assert_eq!([known, group, unknown].map(|process| runs(*process)), [false, false, true]);
    kill_process(*unknown, Signal::KILL).unwrap();
}

#[test]
fn a_process_that_is_no_child_of_ours_is_left_alone_and_that_is_a_failure() {
    let exited = run(PLAN, |plan| {
        // This test. It fails if it is killed.
        let parent = getppid().unwrap().as_raw_nonzero().get().unsigned_abs();
        plan.add(leftovers::child("parent", TEAR_DOWN, parent, Kill::AtOnce)).unwrap();
        plan.add(leftovers::process_group("its group", TEAR_DOWN, parent, Kill::AtOnce)).unwrap();
        // What a child has started, and has left behind.
        let script = "sleep 600 >&- & echo $!";
        let daemon = shell(script).stdout(Stdio::piped()).output().unwrap();
        let daemon: u32 = String::from_utf8(daemon.stdout).unwrap().trim().parse().unwrap();
        print(daemon);
        plan.add(leftovers::child("daemon", TEAR_DOWN, daemon, Kill::AfterTerm)).unwrap();
        // A group whose leader was waited for.
        let mut leader = shell(script).stdout(Stdio::piped()).process_group(0).spawn().unwrap();
        print!("{}", io::read_to_string(leader.stdout.take().unwrap()).unwrap());
        leader.wait().unwrap();
        let group = leftovers::process_group("group", OR_LEAK, leader.id(), Kill::AtOnce);
        plan.add(group).unwrap();
    });
    for (name, outcome) in [
        ("parent", Outcome::Failed),
        ("its group", Outcome::Failed),
        ("daemon", Outcome::Failed),
        ("group", Outcome::Leaked),
    ] {
        let (found, Some(Reason::Error { message })) = exited.outcome_of(name) else {
            panic!("{:?}", exited.outcome_of(name))
        };
        assert_eq!(found, outcome);
        assert!(message.contains("not been ended"), "{message}");
    }
    assert_eq!(printed(&exited).len(), 2);
    assert!(all_ran_on(&exited));
}

/// The kernel kills all other processes of its namespace. Where a process may not make one, this shows nothing.
#[test]
fn the_first_process_of_a_namespace_leaves_no_child_behind() {
    const FIRST: [&str; 4] = ["--user", "--map-root-user", "--pid", "--fork"];
    let unshare = || {
        let mut unshare = Command::new("unshare");
        unshare.args(FIRST).arg("--mount-proc");
        unshare
    };
    let works = || unshare().arg("true").output().is_ok_and(|it| it.status.success());
    if env::var_os(PROGRAM).is_none() && !works() {
        eprintln!("not tested: this process may not make a namespace");
        return;
    }
    let make_first = |child: &mut Command| {
        let mut first = unshare();
        first.arg(child.get_program()).args(child.get_args());
        first.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
        first.stdout(Stdio::piped()).stderr(Stdio::piped());
        *child = first;
    };
    let exited = run_with(PLAN, make_first, |plan| {
        println!("process {}", std::process::id());
        drop(sleep().spawn().unwrap());
        plan.leave(CODE)
    });
    exited.expect_code();
    assert_eq!(exited.stdout, "process 1\n", "the control");
    assert_eq!(warned_of(&exited), []);
}

#[test]
fn there_is_nothing_to_do_for_a_child_that_has_ended() {
    let exited = run(PLAN, |plan| {
        plan.add(leftovers::child("none", TEAR_DOWN, None, Kill::AtOnce)).unwrap();
        plan.add(leftovers::child("no number", TEAR_DOWN, u32::MAX, Kill::AtOnce)).unwrap();
        let mut child = sleeping();
        plan.add(leftovers::child("over", TEAR_DOWN, child.id(), Kill::AfterTerm)).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let registered_late = leftovers::child("late", TEAR_DOWN, child.id(), Kill::AfterTerm);
        plan.add(registered_late).unwrap();
        let id = child.id();
        plan.add(leftovers::process_group("group", TEAR_DOWN, id, Kill::AfterTerm)).unwrap();
    });
    for name in ["none", "no number", "over", "late", "group"] {
        assert_eq!(exited.outcome_of(name), (Outcome::TornDown, None));
    }
    assert!(!all_ran_on(&exited));
}

#[test]
fn files_are_removed_unless_they_are_somebody_elses() {
    let exited = run(PLAN, |plan| {
        env::set_current_dir(path("")).unwrap();
        let all = ["gone", "lock", "pid", "replaced"];
        all.into_iter().for_each(|path| fs::write(path, "ours").unwrap());
        plan.add(leftovers::files("files", TEAR_DOWN, all).unwrap()).unwrap();
        fs::remove_file(path("gone")).unwrap();
        fs::write(path("other"), "a successor's").unwrap();
        fs::rename(path("other"), path("replaced")).unwrap();
        let missing = leftovers::files("missing", TEAR_DOWN, [path("missing")]).unwrap_err();
        assert!(missing.to_string().contains("missing: "), "{missing}");
        // What was relative when it was registered is still meant when the process leaves.
        env::set_current_dir("/").unwrap();
    });
    exited.expect_code();
    assert_eq!(exited.outcome_of("files"), (Outcome::TornDown, None));
    let left: Vec<_> = exited.left.keys().map(|name| &**name).collect();
    assert_eq!(left, ["exit.json", "replaced"]);
}

#[test]
fn a_file_that_cannot_be_removed_is_named_and_the_others_are_removed() {
    let exited = run(PLAN, |plan| {
        fs::create_dir(path("a directory")).unwrap();
        fs::write(path("lock"), "").unwrap();
        let both = ["a directory", "lock"].map(path);
        plan.add(leftovers::files("files", TEAR_DOWN, both).unwrap()).unwrap();
    });
    let (Outcome::Failed, Some(Reason::Error { message })) = exited.outcome_of("files") else {
        panic!("{:?}", exited.outcome_of("files"))
    };
    assert!(message.contains("a directory: "), "{message}");
    assert!(!exited.left.contains_key("lock"));
}

/// Binds a socket that stays open.
fn listen(path: &Path) {
    Box::leak(Box::new(UnixListener::bind(path).unwrap()));
}

#[test]
fn the_file_of_a_socket_stays_with_a_warning_unless_a_resource_removes_it() {
    let left = run(PLAN, |_plan| {
        env::set_current_dir(path("")).unwrap();
        listen(Path::new("a b.sock"));
    });
    let removed = run(PLAN, |plan| {
        listen(&path("a b.sock"));
        plan.add(leftovers::files("socket", TEAR_DOWN, [path("a b.sock")]).unwrap()).unwrap();
    });
    let by_hand = run(PLAN, |plan| {
        listen(&path("a b.sock"));
        add(plan, "socket", TEAR_DOWN, |_exit| Ok(fs::remove_file(path("a b.sock"))?));
    });
    let meant = run(PLAN, |plan| {
        listen(&path("a b.sock"));
        plan.add(leftovers::files("socket", LEAK, [path("a b.sock")]).unwrap()).unwrap();
    });
    for (exited, stays) in [(&left, true), (&removed, false), (&by_hand, false), (&meant, true)] {
        exited.expect_code();
        assert_eq!(exited.left.contains_key("a b.sock"), stays);
    }
    let [LeftBehind::SocketFile { path }] = warned_of(&left) else {
        panic!("{:?}", warned_of(&left))
    };
    assert!(path.starts_with('/') && path.ends_with("/a b.sock"), "{path}");
    for exited in [&removed, &by_hand, &meant] {
        assert_eq!(warned_of(exited), []);
    }
}

#[test]
fn a_socket_with_a_relative_path_is_warned_of_wherever_the_process_leaves() {
    let moved = run(PLAN, |_plan| {
        env::set_current_dir(path("")).unwrap();
        listen(Path::new("relative.sock"));
        env::set_current_dir("/").unwrap();
    });
    let registered = run(PLAN, |plan| {
        env::set_current_dir(path("")).unwrap();
        listen(Path::new("relative.sock"));
        plan.add(leftovers::files("socket", TEAR_DOWN, ["relative.sock"]).unwrap()).unwrap();
        env::set_current_dir("/").unwrap();
    });
    let removed = run(PLAN, |_plan| {
        listen(Path::new("removed.sock"));
        fs::remove_file("removed.sock").unwrap();
    });
    let socket = LeftBehind::SocketFile { path: "relative.sock".to_owned() };
    assert_eq!(warned_of(&moved), [socket]);
    assert!(moved.stderr.contains("relative.sock perhaps stays"), "{}", moved.stderr);
    assert!(moved.left.contains_key("relative.sock"));
    assert_eq!(warned_of(&registered), []);
    assert_eq!(warned_of(&removed), []);
}

/// As a supervisor does, which listens before its services run.
#[test]
fn a_socket_that_somebody_else_listens_on_is_not_warned_of() {
    let mut theirs = None;
    let pass_a_listener = |child: &mut Command| {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("theirs.sock")).unwrap();
        child.stdin(OwnedFd::from(listener.try_clone().unwrap()));
        theirs = Some((directory, listener));
    };
    let exited = run_with(PLAN, pass_a_listener, |_plan| ());
    exited.expect_code();
    assert_eq!(warned_of(&exited), []);
    drop(theirs);
}

#[test]
fn a_connection_and_a_socket_without_a_file_are_not_warned_of() {
    let exited = run(PLAN, |_plan| {
        let listener = UnixListener::bind(path("gone.sock")).unwrap();
        let connection = std::os::unix::net::UnixStream::connect(path("gone.sock")).unwrap();
        let accepted = listener.accept().unwrap();
        fs::remove_file(path("gone.sock")).unwrap();
        Box::leak(Box::new((listener, connection, accepted)));
    });
    exited.expect_code();
    assert_eq!(warned_of(&exited), []);
}

/// A file that takes its time before the first line, as a disk does that was asleep.
struct SlowFile {
    file: File,
    is_asleep: bool,
}

impl Write for SlowFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if mem::take(&mut self.is_asleep) {
            thread::sleep(Duration::from_millis(300));
        }
        self.file.write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

const LINES: usize = 100;

/// Logs through a non-blocking writer, and returns its guard.
fn log_lines() -> tracing_appender::non_blocking::WorkerGuard {
    let file = SlowFile { file: File::create(path("log")).unwrap(), is_asleep: true };
    let (writer, guard) = tracing_appender::non_blocking(file);
    tracing_subscriber::fmt().with_writer(writer).with_ansi(false).init();
    (0..LINES).for_each(|line| tracing::info!("line {line}"));
    guard
}

const REFUSES_AFTER: Duration = Duration::from_millis(200);

#[test]
fn the_log_has_every_line_and_what_the_plan_has_to_say() {
    let lost = run(PLAN, |plan| {
        Box::leak(Box::new(log_lines()));
        plan.leave(CODE)
    });
    let written = run(PLAN, |plan| {
        let guard = log_lines();
        plan.add(leftovers::dropped("log", TEAR_DOWN, guard).writes_the_log()).unwrap();
        add(plan, "refusing", TEAR_DOWN, |_exit| {
            thread::sleep(REFUSES_AFTER);
            Err("it is busy".into())
        });
        let _child = sleeping();
        plan.leave(CODE)
    });
    let lines = |exited: &Exited| {
        exited.expect_code();
        exited.left["log"]
            .lines()
            .filter(|line| line.contains("INFO exit::leftovers: line"))
            .count()
    };
    assert!(lines(&lost) < LINES, "the control");
    assert_eq!(lines(&written), LINES);
    let log = &written.left["log"];
    assert!(log.contains("it is busy") && log.contains("leaving the process"), "{log}");
    assert!(log.contains(LEFT), "{log}");
    let elapsed = log.split_once("elapsed=").and_then(|(_, it)| it.split_once("ms")).unwrap().0;
    assert!(elapsed.parse::<f64>().unwrap() >= REFUSES_AFTER.as_secs_f64() * 1000.0, "{log}");
    assert_eq!(written.ledger.as_ref().unwrap().left_behind.len(), 1);
    for once in [LEFT, "it is busy"] {
        assert!(!written.stderr.contains(once), "{}", written.stderr);
    }
    assert!(all_ran_on(&written));
}

#[test]
fn what_a_log_may_lose_is_said_on_standard_error_too() {
    fn leaves(plan: &ExitPlan) {
        add(plan, "refusing", TEAR_DOWN, |_exit| Err("it is busy".into()));
        add(plan, "leaking", TEAR_DOWN, |exit| {
            let _leaked = exit.leak(1_u8, "it is one byte");
            Ok(())
        });
        drop(sleeping());
        plan.leave(CODE)
    }
    let not_registered = run(PLAN, |plan| {
        Box::leak(Box::new(log_lines()));
        leaves(plan)
    });
    let is_not_said_to_write = run(PLAN, |plan| {
        plan.add(leftovers::dropped("log", TEAR_DOWN, log_lines())).unwrap();
        leaves(plan)
    });
    let not_written = run(PLAN, |plan| {
        let guard = log_lines();
        let broken = Resource::new("log", TEAR_DOWN, move |_exit| {
            drop(guard);
            Err("the disk is full".into())
        });
        plan.add(broken.writes_the_log()).unwrap();
        leaves(plan)
    });
    for exited in [not_registered, is_not_said_to_write, not_written] {
        assert!(all_ran_on(&exited));
        assert_eq!(warned_of(&exited).len(), 1);
        for said in ["it is busy", "it is one byte"] {
            assert!(exited.stderr.contains(said), "{}", exited.stderr);
        }
    }
}

#[test]
fn what_fails_after_the_log_was_torn_down_is_said_on_standard_error() {
    let exited = run(PLAN, |plan| {
        add(plan, "runtime", TEAR_DOWN, |_exit| Err("it is busy".into()));
        let telemetry = Resource::new("telemetry", TEAR_DOWN, |_exit| Ok(()));
        plan.add(telemetry.needs("runtime").writes_the_log()).unwrap();
        let _child = sleeping();
        plan.leave(CODE)
    });
    assert!(all_ran_on(&exited));
    let said = "error: `runtime`, created at ";
    let line = exited.stderr.lines().find(|line| line.starts_with(said)).unwrap_or_default();
    assert!(
        line.ends_with(" was not torn down: its teardown failed: it is busy"),
        "{}",
        exited.stderr
    );
    assert_eq!(warned_of(&exited).len(), 1);
}

#[test]
fn a_value_is_dropped_as_a_return_from_main_would() {
    let left = run(PLAN, |plan| {
        let _scratch = tempfile::Builder::new().prefix("scratch").tempdir_in(path("")).unwrap();
        plan.leave(CODE)
    });
    let dropped = run(PLAN, |plan| {
        let scratch = tempfile::Builder::new().prefix("scratch").tempdir_in(path("")).unwrap();
        plan.add(leftovers::dropped("scratch", TEAR_DOWN, (scratch, Noisy("scratch")))).unwrap();
        plan.leave(CODE)
    });
    let is_there = |exited: &Exited| {
        exited.expect_code();
        exited.left.keys().any(|name| name.starts_with("scratch"))
    };
    assert!(is_there(&left) && !is_there(&dropped));
    assert_eq!(dropped.stdout, "dropped scratch\n");
}

/// Something that needs the runtime on which it was made.
async fn close(what: &'static str) {
    tokio::time::sleep(Duration::from_millis(1)).await;
    println!("closed {what}");
}

#[test]
fn an_asynchronous_close_runs_on_its_runtime_or_says_why_not() {
    let exited = run(PLAN, |plan| {
        let runtime = RuntimeOwner::builder("program").workers(1).start().unwrap();
        let gone = Runtime::new().unwrap();
        let (handle, no_handle) = (runtime.handle().unwrap(), gone.handle().clone());
        drop(gone);
        plan.add(app::runtime(OR_LEAK, runtime)).unwrap();
        let closed = leftovers::closed("database", TEAR_DOWN, &handle, || async {
            close("the database").await;
            Ok(())
        });
        plan.add(closed.needs(app::RUNTIME)).unwrap();
        let refuses = || async { Err("a connection is busy".into()) };
        plan.add(leftovers::closed("refuses", TEAR_DOWN, &handle, refuses)).unwrap();
        let panics = || async { panic!("it is broken") };
        plan.add(leftovers::closed("panics", TEAR_DOWN, &handle, panics)).unwrap();
        let short = Policy::TearDown { within: Duration::from_millis(200) };
        plan.add(leftovers::closed("hangs", short, &handle, pending)).unwrap();
        plan.add(leftovers::closed("too late", TEAR_DOWN, &no_handle, || async { Ok(()) }))
            .unwrap();
    });
    exited.expect_code();
    for name in ["database", app::RUNTIME] {
        assert_eq!(exited.outcome_of(name), (Outcome::TornDown, None));
    }
    assert_eq!(exited.stdout, "closed the database\n");
    for (name, why) in [
        ("refuses", "a connection is busy"),
        ("panics", "its close panicked: it is broken"),
        ("too late", "its runtime has shut down"),
    ] {
        let (Outcome::Failed, Some(Reason::Error { message })) = exited.outcome_of(name) else {
            panic!("{:?}", exited.outcome_of(name))
        };
        assert!(message.contains(why), "{message}");
    }
    let (Outcome::Failed, Some(why)) = exited.outcome_of("hangs") else {
        panic!("{:?}", exited.outcome_of("hangs"))
    };
    // A machine that is busy has no time for its answer.
    let answer = "its teardown failed: its close has not ended after ";
    assert!(why.to_string().starts_with(answer) || *why == Reason::TimedOut, "{why}");
}

/// A plan that leaves on the only thread of a runtime has nobody who drives that runtime.
#[test]
fn a_close_on_the_runtime_whose_only_thread_leaves_costs_its_limit_and_no_more() {
    let exited = run(PLAN, |plan| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let short = Policy::TearDown { within: Duration::from_millis(200) };
        let handle = runtime.handle();
        plan.add(leftovers::closed("database", short, handle, || async { Ok(()) })).unwrap();
        runtime.block_on(async { plan.leave(CODE) })
    });
    exited.expect_code();
    assert_eq!(exited.outcome_of("database").0, Outcome::Failed);
}
