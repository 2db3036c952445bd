//! 36 stuck-after-drain: a service of `#[tokio::main]` drains well, and then the drop of its runtime waits
//! for a read of standard input, for blocking work, or for a task that does not yield. A service leaves
//! within its limit and says what held it. Page: `docs/src/36-stuck-after-drain.md`.

use std::{
    future::poll_fn,
    io::{self, Write as _},
    pin::pin,
    task::Poll,
    time::Instant,
};

use experiments::{prelude::*, server_process::ServerProcess};
use rustix::process::Signal;
use sundown::{TaskGroup, service::Service};
use tokio::io::AsyncReadExt as _;

/// The limit of everything here.
const LIMIT: Duration = Duration::from_secs(1);

/// What a service promises, and what is allowed on a machine that is too busy to run a process.
const PROMISED: Duration = LIMIT.saturating_add(Duration::from_millis(200));
const IN_TIME: Duration = Duration::from_secs(4);

fn main() -> ExitCode {
    let whats = [
        ("stdin", "a read of standard input"),
        ("blocking", "a closure of `spawn_blocking`"),
        ("not-yielding", "a task that does not yield"),
    ];
    Experiment::new(file!())
        .question("What keeps a process after its service was drained?")
        .hypothesis(
            "Blocking work: a read of standard input, a closure of `spawn_blocking`. After a good drain \
             the drop of the runtime of `#[tokio::main]` waits for it without a limit. (A task that does \
             not yield keeps it, too, and the drain says so.) A service is gone within its limit, and \
             says what has held it.",
        )
        .variants([
            control("tokio-main/nothing", |scene| leaves(scene, "tokio-main", None))
                .about("a group in `#[tokio::main]`, drained at SIGTERM"),
            control("service/nothing", |scene| leaves(scene, "service", None))
                .about("`service::run`, at SIGTERM"),
        ])
        .variants(whats.map(|(what, about)| {
            hazard(format!("tokio-main/{what}"), Failed, move |scene| {
                leaves(scene, "tokio-main", Some(about))
            })
            .about(format!("the group, and {about}"))
            .waits()
        }))
        .variants(whats.map(|(what, about)| {
            cure(format!("service/{what}"), move |scene| leaves(scene, "service", Some(about)))
                .about(format!("the service, and {about}"))
                .waits()
        }))
        .kit_claim("A service is gone within its limit, and names what has held it.")
        .part("tokio-main", drain_in_main)
        .part("service", run_a_service)
        .run()
}

fn leaves(scene: &Scene<'_>, part: &str, holds: Option<&str>) -> TrialResult {
    let mut part = scene.part(part)?;
    part.arg(scene.case());
    let mut process = ServerProcess::start(&part, false)?;
    let sent = Instant::now();
    process.send(Signal::TERM)?;
    let Some(status) = process.wait(IN_TIME)? else { return Err("it does not end".into()) };
    let gone_after = sent.elapsed();
    scene.record("gone_after", gone_after);
    let said = process.printed()?;
    match holds {
        None => {
            scene.check("it has ended well", status.code() == Some(0));
        }
        Some(what) => {
            scene.record("within_200_ms_of_its_limit", gone_after <= PROMISED);
            scene.check("it exits with a failure", status.code() == Some(1));
            let name = if scene.case() == "not-yielding" { "`looks` (spawned at" } else { what };
            scene.check("it says what has held it", said.contains(name));
        }
    }
    Ok(())
}

fn say(line: impl std::fmt::Display) -> io::Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}")?;
    out.flush()
}

/// What a member of the service does. Each but the first leaves something behind when it is told to stop.
async fn work(what: String, stop: impl Future<Output = ()>) {
    let begin = || drop(say("ready"));
    match &*what {
        "stdin" => {
            let mut stdin = tokio::io::stdin();
            let mut reads = pin!(stdin.read_u8());
            // It has begun to read before it says so.
            poll_fn(|context| {
                let _ = reads.as_mut().poll(context);
                Poll::Ready(())
            })
            .await;
            begin();
            tokio::select! { () = stop => {}, _ = reads => {} }
        }
        "blocking" => {
            let blocks = tokio::task::spawn_blocking(move || {
                begin();
                thread::sleep(10 * IN_TIME);
            });
            tokio::select! { () = stop => {}, _ = blocks => {} }
        }
        "not-yielding" => {
            begin();
            // It looks at something again and again without an `await`. A loop that does not sleep would do the
            // same to its runtime, and twenty of them would keep the other trials from the two cores.
            loop {
                thread::sleep(Duration::from_millis(1));
            }
        }
        _ => {
            begin();
            stop.await;
        }
    }
}

fn drain_in_main(arguments: &[String]) -> TrialResult {
    #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
    async fn program(what: String) -> TrialResult {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminated = signal(SignalKind::terminate())?;
        let group = TaskGroup::new("service");
        let name = if what == "not-yielding" { "looks" } else { "works" };
        group.spawn(name, |stop| work(what, stop))?;
        terminated.recv().await;
        let report = group.drain(LIMIT).await;
        say(report)?;
        Ok(())
    }
    let [what] = arguments else { return Err("what?".into()) };
    program(what.clone())
}

fn run_a_service(arguments: &[String]) -> TrialResult {
    let [what] = arguments else { return Err("what?".into()) };
    let what = what.clone();
    let ended = Service::builder("service").limit(LIMIT).run(|service| async move {
        let name = if what == "not-yielding" { "looks" } else { "works" };
        service.spawn(name, |stop| work(what, stop));
        service.stop_signal().await;
        Ok(())
    });
    match ended {
        Ok(report) => Ok(say(report)?),
        Err(error) => {
            say(&error)?;
            std::process::exit(1)
        }
    }
}
