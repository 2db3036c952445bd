//! 35 container-signals: a server that waits for Ctrl-C is killed by SIGTERM with nothing drained, and as
//! process 1 of a container it does not end at all. A service sees both signals in both places, and each
//! visitor gets what was begun. Page: `docs/src/35-container-signals.md`.

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Instant,
};

use experiments::{
    prelude::*,
    server_process::{ServerProcess, can_be_process_1},
};
use lab::Equipment;
use rustix::process::Signal;
use servers::web::{Sent, Visit, pages};
use sundown::service::Service;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

/// The limit of a service, and how much longer its process may take to be gone.
const LIMIT: Duration = Duration::from_secs(5);
const LATER: Duration = Duration::from_millis(200);

/// When a process counts as one that the signal does not end: ten times as long as a service needs.
const STUCK: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let signals = [("sigterm", Signal::TERM), ("sigint", Signal::INT)];
    let services = Visit::ALL.into_iter().flat_map(|visit| {
        signals.into_iter().flat_map(move |(word, signal)| {
            [("alone", false), ("process-1", true)].map(|(place, is_1)| {
                let name = format!("service/{}/{word}/{place}", visit.word());
                cure(name, move |scene| ends_well(scene, "service", visit, signal, is_1))
                    .about(format!(
                        "{}; {}, {}",
                        visit.about(),
                        word.to_uppercase(),
                        place.replace("process-", "as process ")
                    ))
                    .waits()
            })
        })
    });
    Experiment::new(file!())
        .question("Which signals end a server in good order, alone and in a container?")
        .hypothesis(
            "A server that waits for Ctrl-C is killed by SIGTERM, with nothing drained; as process 1 it \
             does not end at all. A service sees both signals in both places, and each visitor gets what \
             was begun.",
        )
        .needs(|_| can_be_process_1().map(|()| Equipment::new()))
        .variants([
            control("ctrl-c/sigint/alone", |scene| {
                ends_well(scene, "ctrl-c", Visit::Request, Signal::INT, false)
            })
            .about("axum, with a graceful shutdown at Ctrl-C, and a request as the visitor"),
            control("ctrl-c/sigint/process-1", |scene| {
                ends_well(scene, "ctrl-c", Visit::Request, Signal::INT, true)
            })
            .about("the same as process 1"),
            hazard("ctrl-c/sigterm/alone", Failed, |scene| {
                ends_well(scene, "ctrl-c", Visit::Request, Signal::TERM, false)
            })
            .about("the same server, and SIGTERM"),
            hazard("ctrl-c/sigterm/process-1", Failed, |scene| {
                ends_well(scene, "ctrl-c", Visit::Request, Signal::TERM, true)
            })
            .about("the same server as process 1, and SIGTERM"),
        ])
        .variants(services)
        .kit_claim("SIGTERM and SIGINT end a service in good order, alone and as process 1.")
        .part("ctrl-c", |arguments| serve_until_ctrl_c(at(arguments)?))
        .part("service", |arguments| serve(at(arguments)?))
        .run()
}

fn ends_well(
    scene: &Scene<'_>,
    server: &str,
    visit: Visit,
    signal: Signal,
    as_process_1: bool,
) -> TrialResult {
    let mut part = scene.part(server)?;
    part.arg(own_address().to_string());
    let mut server = ServerProcess::start(&part, as_process_1)?;
    let address = server.address()?;
    let visitor = visit.begin(address)?;
    let sent = Instant::now();
    server.send(signal)?;
    let Some(status) = server.wait(STUCK)? else {
        return Err("the signal does not end it".into());
    };
    let gone_after = sent.elapsed();
    scene.record("gone_after", gone_after);
    scene.check("it has ended in good order", status.code() == Some(0));
    scene.check("the report says so", server.printed()?.ends_with("in good order\n"));
    scene.check("it is gone within its limit", gone_after <= LIMIT + LATER);
    let got_all = visitor.join().map_err(|_| "the visitor panicked")?;
    scene.check("the visitor got what was begun", got_all);
    scene.check("nothing is served", TcpStream::connect(address).is_err());
    Ok(())
}

/// A loopback address that no other trial has. On a shared one, another server could get the port as soon as it is
/// free, or the connection that looks for a server could get it for its own end, and be connected to itself.
fn own_address() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, high | 0x80, middle, low)
}

/// Where a server listens: at the address that its trial gives it.
fn at(arguments: &[String]) -> TrialResult<SocketAddr> {
    let address: Ipv4Addr = arguments.first().ok_or("no address")?.parse()?;
    Ok(SocketAddr::from((address, 0)))
}

fn say(line: impl std::fmt::Display) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    out.flush()
}

/// As the documentation of axum has it, except that it listens for the signal before anybody is served.
fn serve_until_ctrl_c(at: SocketAddr) -> TrialResult {
    runtime()?.block_on(async {
        let mut interrupts = signal(SignalKind::interrupt())?;
        let listener = TcpListener::bind(at).await?;
        say(listener.local_addr()?)?;
        let interrupted = async move {
            let _ = interrupts.recv().await;
        };
        let server = axum::serve(listener, pages(Sent::default(), None));
        server.with_graceful_shutdown(interrupted).await?;
        say("in good order")?;
        Ok(())
    })
}

fn serve(at: SocketAddr) -> TrialResult {
    let report = Service::builder("web").limit(LIMIT).run(move |service| async move {
        let listener = TcpListener::bind(at).await?;
        say(listener.local_addr()?)?;
        service.ready();
        let stop = service.stop_signal();
        let server = axum::serve(listener, pages(Sent::default(), Some(stop.clone())));
        server.with_graceful_shutdown(stop).await?;
        Ok(())
    })?;
    say(if report.is_graceful() { "in good order" } else { "not in good order" })?;
    Ok(())
}
