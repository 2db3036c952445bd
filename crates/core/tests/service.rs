//! Services, each in a process of its own, and the signals of a supervisor.
//!
//! [`Service::start`] starts the current test again in a child process, which runs the service there and
//! exits as a return from `main` does: with 1 if there is an error, which it prints.
#![cfg(all(unix, feature = "service"))]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    env,
    future::pending,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::process::ExitStatusExt as _,
    panic::Location,
    process::{self, Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sundown::{
    RuntimeOwner, ShutdownErrorKind, Stop,
    limit::PLENTY,
    runtime::RuntimeBuilder,
    service::{AskedBy, BoxError, Builder, Service, ServiceError, ServiceErrorKind, ServiceReport},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// The environment of a child: the service to run, by the place of its [`Service::start`].
const SERVICE: &str = "SERVICE_TEST";

/// The limit of a service in which something hangs.
const SHORT: Duration = Duration::from_secs(1);

/// How much longer than `SHORT` a process may take on a busy machine.
const SLACK: Duration = Duration::from_secs(20);

type Ended = Result<ServiceReport, ServiceError>;
type Done = Result<(), BoxError>;

/// A child process that runs a service.
struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    printed: BufReader<ChildStdout>,
}

/// A child process that has ended.
struct Exited {
    code: Option<i32>,
    signal: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Starts this test in a child process, which runs the service. `None` in a child that runs another.
#[track_caller]
fn start(service: fn() -> Ended) -> Option<Process> {
    start_under(&[], service)
}

/// The same, as the last argument of another command.
#[track_caller]
fn start_under(command: &[&str], service: fn() -> Ended) -> Option<Process> {
    let place = Location::caller().to_string();
    match env::var(SERVICE) {
        Ok(wanted) if wanted == place => run_here(service),
        Ok(_) => return None,
        Err(_) => {}
    }
    let this = env::current_exe().unwrap();
    let mut words = command.iter().map(AsRef::as_ref).chain([this.as_os_str()]);
    let test = thread::current();
    let mut child = Command::new(words.next().unwrap())
        .args(words)
        .args(["--exact", "--nocapture", test.name().unwrap()])
        .env(SERVICE, place)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdin, printed) = (child.stdin.take(), child.stdout.take().unwrap());
    let mut process = Process { child, stdin, printed: BufReader::new(printed) };
    process.wait_for("the service begins");
    Some(process)
}

fn run_here(service: fn() -> Ended) -> ! {
    println!("the service begins");
    // Ends a service that hangs.
    thread::spawn(|| {
        thread::sleep(PLENTY);
        process::exit(99);
    });
    process::exit(match service() {
        Ok(report) => {
            println!("{report}");
            0
        }
        Err(error) => {
            eprintln!("{error}");
            1
        }
    })
}

impl Process {
    /// Reads lines until this one, and returns it from there on.
    fn wait_for(&mut self, beginning: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.printed.read_line(&mut line).unwrap(), 0, "no `{beginning}`");
            if let Some(at) = line.find(beginning) {
                return line[at..].trim_end().to_owned();
            }
        }
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn wait(mut self) -> Exited {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.printed.read_to_string(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let status = self.child.wait().unwrap();
        // Until now: a service may read it.
        drop(self.stdin);
        Exited { code: status.code(), signal: status.signal(), stdout, stderr }
    }
}

impl Exited {
    #[track_caller]
    fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    #[track_caller]
    fn with_error(self) -> String {
        assert_eq!(self.code, Some(1), "{}{}", self.stdout, self.stderr);
        self.stderr
    }
}

fn service() -> Builder {
    Service::builder("tested").limit(PLENTY / 2)
}

/// Prints `ready`, waits until it should stop, and prints `saved`.
async fn saves(service: Service) -> Done {
    service.ready();
    println!("ready");
    service.stop_signal().await;
    println!("saved");
    Ok(())
}

#[test]
fn a_signal_ends_a_service_well() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let Some(mut process) = start(|| service().run(saves)) else { return };
        process.wait_for("ready");
        process.send(signal);
        let stdout = process.wait().well();
        assert!(stdout.starts_with("saved\nservice `tested`, asked by "), "{stdout}");
        assert!(stdout.contains(name) && stdout.contains("has ended after"), "{stdout}");
    }
}

/// Process 1 of a container gets no signal for which it has no handler.
#[test]
fn a_signal_ends_a_service_that_is_process_1() {
    const UNSHARE: &[&str] =
        &["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"];
    if env::var_os(SERVICE).is_none() {
        let can = Command::new("unshare").args(&UNSHARE[1..]).arg("true").output();
        if !can.is_ok_and(|it| it.status.success()) {
            // Not `println!`, which the harness shows only of a test that fails.
            let why =
                "skipped: a service as process 1: `unshare --user --pid` does not work here\n";
            io::stdout().write_all(why.as_bytes()).unwrap();
            return;
        }
    }
    /// The child of `unshare`, which does not pass signals on.
    fn only_child(of: &Child) -> Pid {
        let children = format!("/proc/{0}/task/{0}/children", of.id());
        let child = std::fs::read_to_string(children).unwrap();
        Pid::from_raw(child.trim().parse().unwrap()).unwrap()
    }
    let with_the_kit = start_under(UNSHARE, || {
        assert_eq!(process::id(), 1);
        service().run(saves)
    });
    let without = start_under(UNSHARE, || {
        println!("ready");
        let _ = io::stdin().read(&mut [0]);
        process::exit(0)
    });
    let (Some(mut with_the_kit), Some(mut without)) = (with_the_kit, without) else { return };
    for process in [&mut with_the_kit, &mut without] {
        process.wait_for("ready");
        kill_process(only_child(&process.child), Signal::TERM).unwrap();
    }
    let stdout = with_the_kit.wait().well();
    assert!(stdout.starts_with("saved\n"), "{stdout}");
    // The control: without a handler nothing happens. A signal is delivered within microseconds.
    thread::sleep(Duration::from_millis(300));
    assert!(without.child.try_wait().unwrap().is_none(), "SIGTERM has ended process 1");
    drop(without.stdin.take());
    assert_eq!(without.wait().code, Some(0));
}

#[test]
fn a_second_signal_ends_the_process_at_once() {
    let started = start(|| {
        service().run(|service| async move {
            println!("ready");
            service.stop_signal().await;
            println!("stopping");
            pending::<Done>().await
        })
    });
    let Some(mut process) = started else { return };
    process.wait_for("ready");
    process.send(Signal::TERM);
    process.wait_for("stopping");
    process.send(Signal::INT);
    let exited = process.wait();
    assert_eq!((exited.code, &*exited.stdout), (Some(130), ""));
}

#[test]
fn after_the_service_a_signal_has_its_default_effect() {
    let started = start(|| {
        let report = service().run(|_| async { Ok(()) })?;
        assert_eq!(report.asked_by, AskedBy::Work);
        println!("ready");
        loop {
            thread::park();
        }
    });
    let Some(mut process) = started else { return };
    process.wait_for("ready");
    process.send(Signal::TERM);
    assert_eq!(process.wait().signal, Some(Signal::TERM.as_raw()));
}

/// Runs a service in which something hangs, and returns its error.
#[track_caller]
fn leaves_within_the_limit(mut process: Process) -> String {
    process.wait_for("ready");
    process.send(Signal::TERM);
    let sent = Instant::now();
    let error = process.wait().with_error();
    assert!(sent.elapsed() < SHORT + SLACK, "it took {:?}", sent.elapsed());
    error
}

#[test]
fn a_read_of_standard_input_does_not_keep_a_service() {
    let started = start(|| {
        service().limit(SHORT).run(|service| async move {
            service.spawn("reads", |mut stop| async move {
                // As `tokio::io::stdin` does.
                let read = tokio::task::spawn_blocking(|| io::stdin().read(&mut [0]));
                tokio::select! { () = &mut stop => {}, _ = read => {} }
            });
            saves(service).await
        })
    });
    let Some(process) = started else { return };
    let error = leaves_within_the_limit(process);
    assert!(error.contains("a read of standard input"), "{error}");
}

#[test]
fn a_task_that_does_not_yield_does_not_keep_a_service_and_is_named() {
    fn spins(runtime: RuntimeBuilder) -> Ended {
        service().limit(SHORT).runtime(runtime).run(|service| async move {
            service.spawn("spins", |_| async {
                println!("ready");
                loop {
                    thread::yield_now();
                }
            });
            service.stop_signal().await;
            Ok(())
        })
    }
    let on_one_thread = start(|| spins(RuntimeOwner::builder("one").current_thread()));
    let on_workers = start(|| spins(RuntimeOwner::builder("two").workers(2)));
    for process in [on_one_thread, on_workers].into_iter().flatten() {
        let error = leaves_within_the_limit(process);
        assert!(error.contains("`spins` (spawned at "), "{error}");
    }
}

#[test]
fn a_service_is_not_ready_during_the_grace_and_still_serves() {
    let started = start(|| {
        service().grace(Duration::from_secs(2)).run(|service| async move {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            println!("at {}", listener.local_addr()?);
            assert!(!service.is_ready());
            service.ready();
            println!("ready");
            let mut stop = service.stop_signal();
            loop {
                let (mut socket, _) = tokio::select! {
                    () = &mut stop => return Ok(()),
                    accepted = listener.accept() => accepted?,
                };
                let answer = if service.is_ready() { "y" } else { "n" };
                socket.write_all(answer.as_bytes()).await?;
            }
        })
    });
    let Some(mut process) = started else { return };
    let address = process.wait_for("at ")[3..].to_owned();
    process.wait_for("ready");
    let answer = || {
        let mut answer = String::new();
        TcpStream::connect(&address)
            .and_then(|mut it| it.read_to_string(&mut answer))
            .map(|_| answer)
    };
    assert_eq!(answer().unwrap(), "y");
    process.send(Signal::TERM);
    let sent = Instant::now();
    while answer().unwrap() != "n" {
        assert!(sent.elapsed() < SLACK, "it is still ready");
    }
    process.wait().well();
    assert!(answer().is_err(), "nothing listens after the answer");
}

/// Runs a service in this process, which must not have another at the same time.
fn here<F>(builder: Builder, work: impl FnOnce(Service) -> F + Send + 'static) -> Ended
where
    F: Future<Output = Done> + Send + 'static,
{
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    builder.run(work)
}

#[test]
fn a_failure_of_the_work_is_the_error_of_the_service() {
    let failed = here(service(), |_| async { Err("the port is taken".into()) }).unwrap_err();
    let text = failed.to_string();
    assert!(text.contains("asked by the end of its work, has failed: the port is taken"), "{text}");

    let panicked = here(service(), |_| async { panic!("no configuration") }).unwrap_err();
    assert!(panicked.to_string().contains("panicked: no configuration"), "{panicked}");
}

#[test]
fn a_task_that_fails_stops_the_service_if_that_is_asked_for() {
    fn with_a_listener(builder: Builder) -> Ended {
        here(builder, |service| async move {
            service.try_spawn("listener", |_| async { Err("address in use") });
            let mut stop = service.stop_signal();
            tokio::select! {
                () = &mut stop => {}
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
            Ok(())
        })
    }
    for (builder, by) in [(service().stop_on_failure(), AskedBy::Tasks), (service(), AskedBy::Work)]
    {
        let failed = with_a_listener(builder).unwrap_err();
        assert!(failed.to_string().contains("failed: address in use"), "{failed}");
        let ServiceErrorKind::Ended { asked_by, .. } = failed.kind else { panic!("{failed}") };
        assert_eq!(asked_by, by);
    }
}

#[test]
fn a_panic_stops_the_service_if_that_is_asked_for() {
    let failed = here(service().stop_on_failure(), |service| async move {
        service.spawn("parser", |_| async { panic!("a bad byte") });
        service.stop_signal().await;
        Ok(())
    });
    assert!(failed.unwrap_err().to_string().contains("panicked: a bad byte"));
}

#[test]
fn groups_go_down_after_the_tasks_and_the_youngest_first() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    let report = here(service(), |service| async move {
        let note = move |name: &'static str| {
            let seen = Arc::clone(&seen);
            move |stop: Stop| async move {
                stop.await;
                seen.lock().unwrap().push(name);
                // Whoever is next has the time to be too early.
                tokio::time::sleep(Duration::from_millis(50)).await;
                seen.lock().unwrap().push("told");
            }
        };
        service.group("database").spawn("database", note("database"))?;
        service.group("requests").spawn("request", note("request"))?;
        service.spawn("listener", note("listener"));
        Ok(())
    });
    assert!(report.unwrap().is_graceful());
    assert_eq!(*order.lock().unwrap(), ["listener", "told", "request", "told", "database", "told"]);
}

#[test]
fn a_group_that_is_made_while_others_go_down_is_waited_for_and_its_failure_is_told() {
    let late = |fails: bool| {
        here(service().limit(SHORT), move |service| async move {
            let database = service.group("database");
            let services = service.clone();
            database.spawn("database", move |stop| async move {
                stop.await;
                let late = services.group("late");
                if fails {
                    late.try_spawn("writer", |_| async { Err("disk full") }).unwrap();
                } else {
                    // For ever.
                    std::mem::forget(late.hold("request").unwrap());
                }
            })?;
            Ok(())
        })
    };
    let held = late(false).unwrap_err().to_string();
    assert!(held.contains("`request` (spawned at "), "{held}");
    let failed = late(true).unwrap_err().to_string();
    assert!(failed.contains("failed: disk full"), "{failed}");
}

#[test]
fn a_group_of_a_service_that_has_ended_takes_no_tasks() {
    let kept = Arc::new(Mutex::new(None));
    let keeps = Arc::clone(&kept);
    let report = here(service(), |service| async move {
        *keeps.lock().unwrap() = Some(service);
        Ok(())
    });
    assert!(report.unwrap().is_graceful());
    let service = kept.lock().unwrap().take().unwrap();
    assert!(service.group("too late").hold("request").is_err());
    assert!(service.tasks().hold("request").is_err());
    service.spawn("too late", |_| async { panic!("it runs") });
    service.stop();
}

#[test]
fn a_grace_takes_at_most_half_of_the_limit() {
    let began = Instant::now();
    let limit = 2 * SHORT;
    let report = here(service().limit(limit).grace(Duration::MAX), move |service| async move {
        service.stop();
        let mut stop = service.stop_signal();
        (&mut stop).await;
        // It still has the time to end.
        tokio::time::sleep(limit / 20).await;
        Ok(())
    });
    let report = report.unwrap();
    assert!(report.is_graceful(), "{report}");
    assert!(report.elapsed >= limit / 2 && began.elapsed() < limit + SLACK);
}

#[test]
fn a_task_that_does_not_end_leaves_time_to_the_groups_and_what_was_cut_off_is_named() {
    for needs in [Duration::from_millis(50), PLENTY] {
        let failed = here(service().limit(2 * SHORT), move |service| async move {
            service.group("database").spawn("flush", move |stop| async move {
                stop.await;
                tokio::time::sleep(needs).await;
            })?;
            std::mem::forget(service.tasks().hold("GET /events")?);
            Ok(())
        });
        let text = failed.unwrap_err().to_string();
        assert!(text.contains("`GET /events` (spawned at "), "{text}");
        assert_eq!(text.contains("`database`: 1 task aborted: `flush`"), needs == PLENTY, "{text}");
    }
}

#[test]
fn a_signal_that_comes_while_a_service_goes_down_is_in_the_report() {
    let started = start(|| {
        let report = service().run(|service| async move {
            service.spawn("slow", |stop| async move {
                stop.await;
                println!("ready");
                tokio::time::sleep(Duration::from_millis(500)).await;
            });
            Ok(())
        });
        let report = report?;
        println!("{:?} {:?}", report.asked_by, report.signal);
        Ok(report)
    });
    let Some(mut process) = started else { return };
    process.wait_for("ready");
    process.send(Signal::TERM);
    let stdout = process.wait().well();
    assert!(stdout.starts_with("Work Some(15)\n"), "{stdout}");
}

#[test]
fn foreign_tasks_get_the_limit_to_end_and_what_is_left_is_counted() {
    let report = here(service(), |_| async {
        drop(tokio::spawn(tokio::time::sleep(Duration::from_millis(300))));
        Ok(())
    });
    assert!(report.unwrap().is_graceful(), "it ended by itself");

    let report = here(service().limit(SHORT), |_| async {
        drop(tokio::spawn(pending::<()>()));
        Ok(())
    });
    let report = report.unwrap();
    assert_eq!(report.ended.last().unwrap().foreign, 1);
    assert!(report.to_string().contains("1 foreign task cut off"), "{report}");
}

#[test]
fn a_request_that_is_held_is_waited_for_and_named() {
    let failed = here(service().limit(SHORT), |service| async move {
        let held = service.tasks().hold("GET /events")?;
        // Foreign code, which keeps it for ever.
        thread::spawn(move || {
            let _held = held;
            thread::sleep(PLENTY);
        });
        Ok(())
    });
    let ServiceErrorKind::Ended { ended, .. } = failed.unwrap_err().kind else { panic!() };
    let tasks = ended.first().unwrap().as_ref().unwrap_err();
    assert!(matches!(tasks.kind, ShutdownErrorKind::TimedOut));
    assert_eq!(tasks.still_running[0].name, "GET /events");
}

#[test]
fn a_request_that_is_cut_off_with_a_foreign_task_is_named() {
    let report = here(service().limit(SHORT), |service| async move {
        let held = service.tasks().hold("GET /events")?;
        drop(tokio::spawn(async {
            let _held = held;
            pending::<()>().await;
        }));
        Ok(())
    });
    let report = report.unwrap().to_string();
    assert!(report.contains("1 foreign task cut off"), "{report}");
    assert!(report.contains("1 task aborted: `GET /events`"), "{report}");
}

#[test]
fn the_clients_of_a_service_get_the_answers_that_were_begun() {
    let started = start(|| {
        service().run(|service| async move {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            println!("at {}", listener.local_addr()?);
            let mut stop = service.stop_signal();
            loop {
                let (mut socket, _) = tokio::select! {
                    () = &mut stop => return Ok(()),
                    accepted = listener.accept() => accepted?,
                };
                let _ = stop.spawn("connection", |_| async move {
                    let mut request = [0; 4];
                    if socket.read_exact(&mut request).await.is_ok() {
                        println!("begun");
                        tokio::time::sleep(Duration::from_millis(300)).await;
                        let _ = socket.write_all(b"pong").await;
                    }
                });
            }
        })
    });
    let Some(mut process) = started else { return };
    let address = process.wait_for("at ")[3..].to_owned();
    let mut socket = TcpStream::connect(address).unwrap();
    socket.write_all(b"ping").unwrap();
    process.wait_for("begun");
    process.send(Signal::TERM);
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "pong");
    process.wait().well();
}
