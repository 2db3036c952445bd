//! Tests that leave something behind. Each is found, under `cargo test` and under nextest, and named.

use std::{
    env,
    fs::{self, File},
    future::pending,
    mem::forget,
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixListener,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use sundown::group::TaskGroup;
use tokio::runtime::Builder;

use crate::{NEXTEST, ONE_BY_ONE, command, run};

/// The tests, and what the failure must say of what they leave.
const PLANTED: [(&str, &[&str]); 19] = [
    ("task", &["task `leaks::planted::task`: alive on the test's runtime"]),
    ("task_of_a_worker", &["task `leaks::planted::task_of_a_worker`"]),
    ("task_of_a_group", &["task `leaks::planted::task_of_a_group"]),
    ("large_task", &["task `leaks::planted::large_task`"]),
    ("large_task_of_a_group", &["task `leaks::planted::large_task_of_a_group`"]),
    ("task_of_a_function", &["task `leaks::planted::waits_for_ever`"]),
    (
        "thread",
        &["thread `indexer` (", "runs `leaks::planted::index`", "is in `leaks::planted::receive`"],
    ),
    ("thread_without_a_name", &["thread `", "runs `leaks::planted::receive`"]),
    ("blocking_work", &["thread `", "is in `leaks::planted::receive`"]),
    ("runtime", &["a worker of a Tokio runtime", "descriptor `anon_inode:[eventpoll]`"]),
    ("file", &["descriptor `/proc/version` (descriptor ", "a file"]),
    ("pipe", &["descriptor `pipe:[", "an end of a pipe"]),
    ("listener", &["socket `127.0.0.1:", " to 0.0.0.0:0` (descriptor "]),
    ("connection", &["socket `127.0.0.1:", " to 127.0.0.1:"]),
    ("datagrams", &["socket `127.0.0.1:", " to 0.0.0.0:0` (descriptor "]),
    ("unix_listener", &["socket `Unix socket ", "sundown-planted-"]),
    ("process", &["process `sleep 61` (", "still runs"]),
    ("process_of_a_child", &["process `sleep 62` (", "still runs"]),
    ("in_a_plain_test", &["thread `", "runs `leaks::planted::receive`"]),
];

#[test]
fn each_is_found_and_named() {
    let miss = |(test, expected): (&str, &[&str]), environment: &[_]| {
        let (output, said) = run(&format!("planted::{test}"), environment);
        let is_named = expected.iter().all(|text| said.contains(text));
        let is_found = !output.status.success() && said.contains("the test left behind");
        let missed = || format!("{test}, {environment:?}, expected {expected:?}:\n{said}");
        (!(is_found && is_named)).then(missed)
    };
    // Side by side: most of the time they wait for something to end that does not.
    let missed: Vec<_> = thread::scope(|scope| {
        let all = PLANTED.iter().flat_map(|planted| [&[][..], &NEXTEST].map(|it| (*planted, it)));
        let running: Vec<_> =
            all.map(|(planted, it)| scope.spawn(move || miss(planted, it))).collect();
        running.into_iter().filter_map(|it| it.join().unwrap()).collect()
    });
    let all = 2 * PLANTED.len();
    println!("{} of {all} found and named", all - missed.len());
    assert!(missed.is_empty(), "{} of {all} missed:\n{}", missed.len(), missed.join("\n"));
}

#[ignore = "leaves a task behind"]
#[sundown::test]
async fn task() {
    tokio::spawn(async { pending::<()>().await });
}

#[ignore = "leaves a task behind"]
#[sundown::test(flavor = "multi_thread", worker_threads = 2)]
async fn task_of_a_worker() {
    tokio::spawn(async {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

#[ignore = "leaves a task behind"]
#[sundown::test]
async fn task_of_a_group() {
    let group = TaskGroup::new("forgotten");
    group.spawn("member", |_| async { pending::<()>().await }).unwrap();
    forget(group);
}

async fn waits_with_much_memory() {
    let memory = [0_u8; 100_000];
    pending::<()>().await;
    std::hint::black_box(&memory);
}

#[ignore = "leaves a task behind"]
#[sundown::test]
async fn large_task() {
    tokio::spawn(async { waits_with_much_memory().await });
}

#[ignore = "leaves a task behind"]
#[sundown::test]
async fn large_task_of_a_group() {
    let group = TaskGroup::new("forgotten");
    group.spawn("member", |_| waits_with_much_memory()).unwrap();
    forget(group);
}

async fn waits_for_ever() {
    pending::<()>().await;
}

#[ignore = "leaves a task behind"]
#[sundown::test]
async fn task_of_a_function() {
    tokio::spawn(waits_for_ever());
}

fn receive() {
    let (sender, receiver) = mpsc::channel::<()>();
    forget(sender);
    let _ = receiver.recv();
}

fn index() {
    receive();
}

#[ignore = "leaves a thread behind"]
#[sundown::test]
fn thread() {
    thread::Builder::new().name("indexer".to_owned()).spawn(index).unwrap();
}

#[ignore = "leaves a thread behind"]
#[sundown::test]
async fn thread_without_a_name() {
    thread::spawn(receive);
}

#[ignore = "leaves a thread behind"]
#[sundown::test]
fn busy_thread() {
    let turns = || {
        loop {
            std::hint::spin_loop();
        }
    };
    thread::Builder::new().name("busy".to_owned()).spawn(turns).unwrap();
}

#[test]
fn nothing_is_said_of_the_stack_of_a_thread_that_does_not_wait() {
    let (output, said) = run("planted::busy_thread", &[]);
    let is_found = said.contains("thread `busy` (") && said.contains("its stack could not be read");
    assert!(!output.status.success() && is_found, "{said}");
}

#[ignore = "leaves a thread behind"]
#[sundown::test]
async fn blocking_work() {
    #[allow(clippy::redundant_closure, reason = "the report names the closure, and where it is")]
    tokio::task::spawn_blocking(|| receive());
}

#[ignore = "leaves a runtime behind"]
#[sundown::test]
fn runtime() {
    forget(Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());
}

#[ignore = "leaves a descriptor behind"]
#[sundown::test]
async fn file() {
    forget(File::open("/proc/version").unwrap());
}

#[ignore = "leaves a descriptor behind"]
#[sundown::test]
fn pipe() {
    let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    forget(child.stdout.take());
    child.wait().unwrap();
}

#[ignore = "leaves a socket behind"]
#[sundown::test]
fn listener() {
    forget(TcpListener::bind("127.0.0.1:0").unwrap());
}

#[ignore = "leaves a socket behind"]
#[sundown::test]
async fn connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    forget(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    // As long as this is open, so is the connection.
    forget(listener);
}

#[ignore = "leaves a socket behind"]
#[sundown::test]
fn datagrams() {
    forget(UdpSocket::bind("127.0.0.1:0").unwrap());
}

#[ignore = "leaves a socket behind"]
#[sundown::test]
fn unix_listener() {
    let folder = tempfile::Builder::new().prefix("sundown-planted-").tempdir().unwrap();
    forget(UnixListener::bind(folder.path().join("socket")).unwrap());
}

/// A process that keeps no pipe of this one open: whoever reads that would wait for its end.
fn quiet(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[ignore = "leaves a process behind"]
#[sundown::test]
fn process() {
    forget(quiet("sleep", &["61"]).spawn().unwrap());
}

#[ignore = "leaves a process behind"]
#[sundown::test]
fn process_of_a_child() {
    let child = quiet("sh", &["-c", "sleep 62 & exit 0"]).status().unwrap();
    assert!(child.success());
}

#[ignore = "leaves a process with a child behind"]
#[test]
fn a_plain_test_leaves_a_process() {
    let script = "sleep 63 & echo $! > child; until [ -e end ]; do sleep 0.01; done";
    let folder = env::var_os("SUNDOWN_PLANTED").unwrap();
    forget(quiet("sh", &["-c", script]).current_dir(folder).spawn().unwrap());
}

/// The process that the plain test has left ends now, and its child becomes one of the harness.
#[ignore = "ends the process that another test has left behind"]
#[sundown::test]
fn ends_the_process_that_another_test_left() {
    let folder = Path::new(&env::var_os("SUNDOWN_PLANTED").unwrap()).to_owned();
    let child = until(|| read_number(&folder.join("child")));
    let parent = parent_of(child).unwrap();
    File::create(folder.join("end")).unwrap();
    until(|| (parent_of(child) != Some(parent)).then_some(()));
}

fn read_number(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit(')').next()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn until<R>(mut find: impl FnMut() -> Option<R>) -> R {
    loop {
        match find() {
            Some(found) => return found,
            // What another process does can only be looked at again.
            None => thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn kill(process: u32) {
    let process = rustix::process::Pid::from_raw(process.try_into().unwrap()).unwrap();
    let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
}

#[test]
fn a_process_is_not_blamed_on_the_test_that_runs_when_its_parent_ends() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [ONE_BY_ONE[0], ("SUNDOWN_PLANTED", folder.path().to_str().unwrap())];
    let mut command = command("planted::a_plain_test_leaves_a_process", &environment);
    let output = command.arg("planted::ends_the_process_that_another_test_left").output().unwrap();
    kill(read_number(&folder.path().join("child")).unwrap());
    let said = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it)).concat();
    assert!(said.contains("2 passed"), "{said}");
}

#[ignore = "leaves processes behind, of which one is allowed, and panics"]
#[sundown::test(allow(process = "sleep 65", reason = "it is what this test shows"))]
fn leaves_processes_and_panics() {
    leaves_processes();
    panic!("it failed");
}

#[ignore = "leaves processes behind, of which one is allowed"]
#[sundown::test(allow(process = "sleep 65", reason = "it is what this test shows"))]
fn leaves_processes() {
    let script = "sleep 64 & echo $! >> ended; sleep 66 & echo $! >> ended; wait";
    let folder = env::var_os("SUNDOWN_PLANTED").unwrap();
    let shell = quiet("sh", &["-c", script]).current_dir(&folder).spawn().unwrap();
    let path = Path::new(&folder).join("ended");
    until(|| fs::read_to_string(&path).ok().filter(|it| it.lines().count() == 2));
    let ended = fs::read_to_string(&path).unwrap() + &shell.id().to_string();
    fs::write(&path, ended).unwrap();
    let allowed = quiet("sleep", &["65"]).spawn().unwrap();
    fs::write(Path::new(&folder).join("allowed"), allowed.id().to_string()).unwrap();
    forget((shell, allowed));
}

#[test]
fn what_a_failed_test_has_started_ends_with_it_except_what_is_allowed() {
    thread::scope(|scope| {
        for test in ["leaves_processes", "leaves_processes_and_panics"] {
            for environment in [&[][..], &NEXTEST, &ONE_BY_ONE] {
                scope.spawn(move || processes_end(test, environment));
            }
        }
    });
}

fn processes_end(test: &str, environment: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let planted = ("SUNDOWN_PLANTED", folder.path().to_str().unwrap());
    let environment: Vec<_> = environment.iter().copied().chain([planted]).collect();
    let (output, said) = run(&format!("planted::{test}"), &environment);
    let allowed = read_number(&folder.path().join("allowed")).unwrap();
    let is_alive = parent_of(allowed).is_some();
    kill(allowed);
    assert!(!output.status.success() && is_alive, "{said}");
    let ended = fs::read_to_string(folder.path().join("ended")).unwrap();
    let ended: Vec<u32> = ended.lines().map(|it| it.parse().unwrap()).collect();
    assert_eq!(ended.len(), 3);
    // They were killed, and nobody has waited for them yet: a killed process stays as a zombie until then.
    for process in ended {
        let state = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "{state}: {said}");
    }
}

#[ignore = "leaves a thread behind"]
#[test]
fn in_a_plain_test() {
    sundown::testing::leak_free(sundown::testing::Options::new(), || {
        thread::spawn(receive);
    });
}
