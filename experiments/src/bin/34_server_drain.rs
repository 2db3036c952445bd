//! 34 server-drain: a graceful shutdown of axum waits for streams for ever and forgets web sockets, and a
//! drain of a group counts both and ends neither. A service ends them all. Page: `docs/src/34-server-drain.md`.

use std::{future::IntoFuture as _, net::SocketAddr, sync::mpsc};

use experiments::prelude::*;
use servers::web::{Sent, Visit, pages};
use sundown::{Stop, TaskGroup, service::Service};
use tokio::net::TcpListener;

/// The limit of a drain and of a service in which something does not end.
const LIMIT: Duration = Duration::from_secs(1);

/// How long the trial looks whether anything is sent. An event comes every 10 ms.
const LOOK: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("What does a server still send after it was drained?")
        .hypothesis(
            "A graceful shutdown of axum waits for a stream for ever, and not at all for a web socket. A \
             drain of the group that has the server counts both, and both go on. When the `run` of a \
             service has returned, nothing is sent any more, whether its streams listen to the stop \
             signal or not.",
        )
        .variants([
            control("axum/request", |scene| awaited(scene, Visit::Request))
                .about("main awaits axum's graceful shutdown; a request is under way"),
            hang("axum/events", |scene| awaited(scene, Visit::Events))
                .about("the same, and server-sent events are")
                .deadline(Duration::from_secs(3)),
            hazard("axum/websocket", Failed, |scene| awaited(scene, Visit::Socket))
                .about("the same, and a web socket is open"),
            control("group/request", |scene| drained(scene, Visit::Request))
                .about("the server is a task of a group, which is drained; a request is under way"),
            hazard("group/events", Failed, |scene| drained(scene, Visit::Events))
                .about("the same, and server-sent events are")
                .waits(),
            hazard("group/websocket", Failed, |scene| drained(scene, Visit::Socket))
                .about("the same, and a web socket is open"),
        ])
        .variants(Visit::ALL.map(|visit| {
            cure(format!("service/{}", visit.word()), move |scene| served(scene, visit, true))
                .about(format!("a service, whose pages listen to its stop signal; {}", visit.about()))
        }))
        .variants([Visit::Events, Visit::Socket].map(|visit| {
            cure(format!("service/deaf-{}", visit.word()), move |scene| served(scene, visit, false))
                .about(format!("a service, whose pages do not listen; {}", visit.about()))
                .waits()
        }))
        .kit_claim("When the `run` of a service has returned, nothing is sent any more.")
        .run()
}

/// Whether anything was sent after that.
fn look(scene: &Scene<'_>, sent: &Sent) {
    let then = sent.count();
    thread::sleep(LOOK);
    scene.check("nothing is sent after the end", sent.count() == then);
}

/// A server, and a visitor that is in the middle of something.
fn visited(
    runtime: &Runtime,
    visit: Visit,
    serve: impl FnOnce(TcpListener) -> TrialResult,
) -> TrialResult<thread::JoinHandle<bool>> {
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    let address = listener.local_addr()?;
    serve(listener)?;
    visit.begin(address)
}

fn awaited(scene: &Scene<'_>, visit: Visit) -> TrialResult {
    let (runtime, sent) = (runtime()?, Sent::default());
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let mut server = None;
    let pages = pages(sent.clone(), None);
    let visitor = visited(&runtime, visit, |listener| {
        let until = async { drop(stopped.await) };
        let serve = axum::serve(listener, pages).with_graceful_shutdown(until);
        server = Some(runtime.spawn(serve.into_future()));
        Ok(())
    })?;
    stop.send(()).map_err(|()| "it has ended")?;
    runtime.block_on(server.ok_or("no server")?)??;
    look(scene, &sent);
    drop(runtime);
    let _ = visitor.join();
    Ok(())
}

fn drained(scene: &Scene<'_>, visit: Visit) -> TrialResult {
    let (runtime, sent) = (runtime()?, Sent::default());
    let group = TaskGroup::new("service");
    let pages = pages(sent.clone(), None);
    let visitor = visited(&runtime, visit, |listener| {
        group.spawn_on(runtime.handle(), "server", |stop: Stop| async {
            let _ = axum::serve(listener, pages).with_graceful_shutdown(stop).await;
        })?;
        Ok(())
    })?;
    let report = group.drain_blocking(LIMIT);
    scene.record("foreign", report.foreign);
    let _ = report.into_result()?;
    look(scene, &sent);
    drop(runtime);
    let _ = visitor.join();
    Ok(())
}

fn served(scene: &Scene<'_>, visit: Visit, listens: bool) -> TrialResult {
    let sent = Sent::default();
    let (tell, address) = mpsc::channel::<SocketAddr>();
    let (counts, begun) = (sent.clone(), Arc::new(tokio::sync::Notify::new()));
    let is_begun = Arc::clone(&begun);
    // What a signal would do; experiment 35 has the signals.
    let visitor = thread::spawn(move || {
        let visitor = address.recv().map_err(|_| "no server".to_owned());
        let visitor = visitor.and_then(|at| visit.begin(at).map_err(|error| error.to_string()));
        begun.notify_one();
        visitor
    });
    let report = Service::builder("web").limit(if listens { PLENTY } else { LIMIT }).run(
        move |service| async move {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            tell.send(listener.local_addr()?)?;
            let stops = service.clone();
            service.spawn("visited", |_| async move {
                is_begun.notified().await;
                stops.stop();
            });
            let stop = service.stop_signal();
            let pages = pages(counts, listens.then(|| stop.clone()));
            axum::serve(listener, pages).with_graceful_shutdown(stop).await?;
            Ok(())
        },
    )?;
    look(scene, &sent);
    let visitor = visitor.join().map_err(|_| "the visitor panicked")??;
    let got_all = visitor.join().map_err(|_| "the visitor panicked")?;
    scene.record("foreign", report.ended.last().map_or(0, |runtime| runtime.foreign));
    if listens {
        scene.check("everything ended by itself", report.is_graceful());
        scene.check("the visitor got what was begun", got_all);
    } else {
        scene.check("the report says that something was cut off", !report.is_graceful());
    }
    Ok(())
}
