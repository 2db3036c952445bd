//! A web server with a child process and a temporary directory. Both are gone when it is, also after a second
//! signal, and a terminal's Ctrl-C does not reach the child before the last request has its answer.
//!
//! `axum_worker [ADDRESS]`: where to listen.

use std::{env, future::pending, time::Duration};

use axum::{Router, routing::get};
use sundown::{
    Service,
    exit::{
        leftovers::{self, Kill},
        plan::ExitPlan,
        resource::Policy,
    },
    service::BoxError,
};
use tokio::{net::TcpListener, process::Command, time::sleep};

/// The child: it says how it was asked to end.
const WORKER: &str = "trap 'echo worker: SIGINT; exit' INT; trap 'echo worker: SIGTERM; exit' TERM; \
                      touch ready; sleep 1000 & wait";

fn main() {
    // Together less than the 10 s after which `docker stop` kills.
    let plan = ExitPlan::builder(Duration::from_secs(2)).build();
    let service = Service::builder("web").limit(Duration::from_secs(6)).stop_on_failure();
    let (resources, leaves) = (plan.clone(), plan.clone());
    plan.run(move || {
        // The first signal ends the service, and then the plan tears down the rest. A second signal does not
        // wait for the service any longer. A third ends the process at once.
        let service = service.on_second_signal(move |code| leaves.leave(code));
        match service.run(|service| serve(service, resources)) {
            Ok(report) => {
                println!("{report}");
                0
            }
            Err(error) => {
                eprintln!("error: {error}");
                1
            }
        }
    })
}

async fn serve(service: Service, plan: ExitPlan) -> Result<(), BoxError> {
    let tear_down = || Policy::TearDown { within: Duration::from_secs(1) };
    let scratch = tempfile::tempdir()?;
    let mut worker = Command::new("sh");
    worker.args(["-c", WORKER]).current_dir(&scratch);
    println!("{}", scratch.path().display());
    plan.add(leftovers::dropped("scratch", tear_down(), scratch))?;

    // A group of its own: Ctrl-C at a terminal signals every process of the server's group.
    let mut worker = worker.process_group(0).spawn()?;
    let group = leftovers::process_group("worker", tear_down(), worker.id(), Kill::AfterTerm);
    plan.add(group.needs("scratch"))?;
    // No `kill_on_drop`: requests may need the worker until the last has its answer, and then the plan ends it.
    service.try_spawn("worker", |mut stop| async move {
        tokio::select! {
            () = &mut stop => Ok(()),
            ended = worker.wait() => Err(BoxError::from(format!("it has ended: {}", ended?))),
        }
    });

    let address = env::args().nth(1).unwrap_or_else(|| "0.0.0.0:8080".to_owned());
    let listener = TcpListener::bind(address).await?;
    println!("{}", listener.local_addr()?);
    let pages = Router::new().route("/work", get(work)).route("/export", get(pending::<()>));
    axum::serve(listener, pages).with_graceful_shutdown(service.stop_signal()).await?;
    Ok(())
}

/// A request that takes a while.
async fn work() -> &'static str {
    println!("work: begun");
    sleep(Duration::from_secs(1)).await;
    println!("work: done");
    "done\n"
}
