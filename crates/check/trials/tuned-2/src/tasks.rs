//! Actors, orderly shutdown, schedulers, timers and runtimes.

use std::{
    convert::Infallible,
    future::{Pending, Ready, pending, ready},
    mem, thread,
    time::Duration,
};

use actix::Actor as _;
use clokwerk::TimeUnits as _;
use kameo::actor::Spawn as _;
use tokio::{
    sync::oneshot,
    task::{block_in_place, spawn_blocking, yield_now},
};
use tokio_graceful_shutdown::{NestedSubsystem, SubsystemBuilder, SubsystemHandle, Toplevel};
use trials::Case;

pub fn cases() -> Vec<Case> {
    [actors(), ractor(), kameo(), shutdown(), subsystems(), timers(), runtimes(), simulated()]
        .into_iter()
        .flatten()
        .collect()
}

/// Has a mailbox.
struct Counts;

struct Add;

impl actix::Message for Add {
    type Result = u8;
}

impl actix::Actor for Counts {
    type Context = actix::Context<Self>;
}

impl actix::Handler<Add> for Counts {
    type Result = u8;

    fn handle(&mut self, _: Add, _: &mut Self::Context) -> u8 {
        1
    }
}

/// An actor on a system with a thread of its own, and how to end that.
async fn actix() -> (actix::Addr<Counts>, oneshot::Sender<()>, thread::JoinHandle<()>) {
    let (started, address) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    let system = thread::spawn(move || {
        actix::System::new().block_on(async {
            let _ = started.send(Counts.start());
            let _ = stopped.await;
        });
    });
    let address: actix::Addr<Counts> = address.await.expect("an actor");
    address.send(Add).await.expect("an answer");
    (address, stop, system)
}

fn actors() -> Vec<Case> {
    vec![
        Case::of("actix", || async {
            let (address, stop, _) = actix().await;
            mem::forget(stop);
            address
        })
        .when("alive"),
        Case::of("actix", || async {
            let (address, stop, system) = actix().await;
            stop.send(()).expect("a system");
            spawn_blocking(move || system.join()).await.expect("a thread").expect("an end");
            address
        })
        .when("its system is gone"),
        Case::of("actix", || async {
            let (address, stop, _) = actix().await;
            mem::forget(stop);
            address.recipient::<Add>()
        })
        .when("after its address"),
        Case::of("actix", || async {
            let (address, stop, _) = actix().await;
            mem::forget((stop, address.clone()));
            address.recipient::<Add>()
        })
        .when("before its address"),
    ]
}

struct Waits;

impl ractor::Actor for Waits {
    type Msg = u8;
    type State = ();
    type Arguments = ();

    async fn pre_start(
        &self,
        _: ractor::ActorRef<u8>,
        (): (),
    ) -> Result<(), ractor::ActorProcessingErr> {
        Ok(())
    }
}

async fn spawned() -> (ractor::ActorRef<u8>, tokio::task::JoinHandle<()>) {
    ractor::Actor::spawn(None, Waits, ()).await.expect("an actor")
}

fn ractor() -> Vec<Case> {
    vec![
        Case::of("ractor", || async { spawned().await.0 }).when("alive"),
        Case::of("ractor", || async {
            let (actor, task) = spawned().await;
            actor.stop(None);
            task.await.expect("an end");
            actor
        })
        .when("stopped"),
        Case::of("ractor", || async { spawned().await.0.get_cell() }),
        Case::of("ractor", || async { ractor::OutputPort::<u8>::default() })
            .when("without a subscriber"),
        Case::of("ractor", || async {
            let port = ractor::OutputPort::<u8>::default();
            port.subscribe(spawned().await.0, Some);
            port
        })
        .when("with a subscriber"),
    ]
}

impl kameo::Actor for Counts {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(counts: Self, _: kameo::actor::ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(counts)
    }
}

fn kameo() -> Vec<Case> {
    vec![
        Case::of("kameo", || async {
            let actor = <Counts as kameo::actor::Spawn>::spawn(Counts);
            actor.wait_for_startup().await;
            actor
        })
        .when("alive"),
        Case::of("kameo", || async {
            let actor = <Counts as kameo::actor::Spawn>::spawn(Counts);
            actor.stop_gracefully().await.expect("a stop");
            actor.wait_for_shutdown().await;
            actor
        })
        .when("stopped"),
        Case::of("kameo", || async { Counts::spawn(Counts).downgrade() }),
    ]
}

fn shutdown() -> Vec<Case> {
    use async_shutdown::ShutdownManager;
    use tokio_graceful::Shutdown;
    use tokio_task_manager::TaskManager;
    vec![
        Case::of("async-shutdown", || async { ShutdownManager::<u8>::new() }).when("idle"),
        Case::of("async-shutdown", || async {
            let manager = ShutdownManager::<u8>::new();
            mem::forget(manager.delay_shutdown_token().expect("a token"));
            manager.trigger_shutdown(1).expect("the first one");
            manager
        })
        .when("triggered"),
        Case::of("async-shutdown", || async {
            ShutdownManager::<u8>::new().delay_shutdown_token().expect("a token")
        })
        .when("before shutdown"),
        Case::of("async-shutdown", || async {
            let manager = ShutdownManager::<u8>::new();
            let token = manager.delay_shutdown_token().expect("a token");
            let waits = manager.wait_shutdown_complete();
            tokio::spawn(waits);
            manager.trigger_shutdown(1).expect("the first one");
            token
        })
        .when("in shutdown"),
        Case::of("async-shutdown", || async {
            let manager = ShutdownManager::<u8>::new();
            tokio::spawn(manager.wait_shutdown_triggered());
            yield_now().await;
            manager.trigger_shutdown_token(1)
        }),
        Case::of("tokio-graceful", || async { Shutdown::new(pending::<()>()) }).when("unused"),
        Case::of("tokio-graceful", || async {
            let shutdown = Shutdown::new(pending::<()>());
            shutdown.spawn_task(pending::<()>());
            shutdown
        })
        .when("with a task"),
        Case::of("tokio-graceful", || async { Shutdown::new(pending::<()>()).guard() })
            .when("after its shutdown"),
        Case::of("tokio-graceful", || async {
            let shutdown = Shutdown::new(pending::<()>());
            let guard = shutdown.guard();
            mem::forget(shutdown);
            guard
        })
        .when("before its shutdown"),
        Case::of("tokio-graceful", || async {
            let (trigger, triggered) = oneshot::channel::<()>();
            let shutdown = Shutdown::new(triggered);
            let guard = shutdown.guard();
            tokio::spawn(shutdown.shutdown());
            drop(trigger);
            guard.cancelled().await;
            guard
        })
        .when("its shutdown waits"),
        Case::of("tokio-task-manager", || async { TaskManager::new(Duration::from_secs(9)) })
            .when("unused"),
        Case::of("tokio-task-manager", || async {
            let manager = TaskManager::new(Duration::from_secs(9));
            mem::forget(manager.task());
            manager
        })
        .when("with a task"),
        Case::of("tokio-task-manager", || async {
            TaskManager::new(Duration::from_secs(9)).task()
        })
        .when("after its manager"),
        Case::of("tokio-task-manager", || async {
            let manager = TaskManager::new(Duration::from_secs(9));
            let task = manager.task();
            tokio::spawn(manager.wait());
            yield_now().await;
            task
        })
        .when("its manager waits"),
    ]
}

async fn waits(subsystem: &mut SubsystemHandle) -> Result<(), Infallible> {
    subsystem.on_shutdown_requested().await;
    Ok(())
}

/// A tree of one subsystem below the root, which runs.
async fn subsystem() -> (Toplevel, NestedSubsystem) {
    let (started, nested) = oneshot::channel();
    let started = std::sync::Mutex::new(Some(started));
    let toplevel = Toplevel::new(async move |root: &mut SubsystemHandle| {
        let nested = root.start(SubsystemBuilder::new("a", waits));
        let started = started.lock().expect("no panic").take().expect("once");
        let _ = started.send(nested);
        root.on_shutdown_requested().await;
    });
    let nested = nested.await.unwrap_or_else(|_| panic!("no subsystem"));
    (toplevel, nested)
}

fn subsystems() -> Vec<Case> {
    vec![
        Case::of("tokio-graceful-shutdown", || async {
            let (toplevel, nested) = subsystem().await;
            mem::forget(nested);
            toplevel
        })
        .when("before its subsystem"),
        Case::of("tokio-graceful-shutdown", || async { subsystem().await.0 })
            .when("after its subsystem"),
        Case::of("tokio-graceful-shutdown", || async {
            let (toplevel, nested) = subsystem().await;
            mem::forget(toplevel);
            nested
        })
        .when("running"),
        Case::of("tokio-graceful-shutdown", || async {
            let (toplevel, nested) = subsystem().await;
            mem::forget(toplevel);
            nested.initiate_shutdown();
            nested.join().await.expect("an end");
            nested
        })
        .when("ended"),
    ]
}

/// Is tried again and again.
struct Refuses;

impl tokio_retry::Action for Refuses {
    type Future = Ready<Result<(), ()>>;
    type Item = ();
    type Error = ();

    fn run(&mut self) -> Self::Future {
        ready(Err(()))
    }
}

type Retried = tokio_retry::Retry<tokio_retry::strategy::FixedInterval, Refuses>;

fn retried() -> Retried {
    tokio_retry::Retry::start(tokio_retry::strategy::FixedInterval::from_millis(9_000), Refuses)
}

/// Polls it once: it is not ready.
async fn polled<F: Future + Unpin>(mut future: F) -> F {
    let nap = tokio::time::timeout(Duration::ZERO, &mut future).await;
    assert!(nap.is_err(), "it was ready");
    future
}

fn timers() -> Vec<Case> {
    vec![
        Case::of("tokio-retry", || async { Box::pin(retried()) }).when("unused"),
        Case::of("tokio-retry", || polled(Box::pin(retried()))).when("between two tries"),
        Case::of("clokwerk", || async {
            let mut scheduler = clokwerk::AsyncScheduler::new();
            scheduler.every(1.day()).run(|| async {});
            scheduler
        })
        .when("unused"),
        Case::of("clokwerk", || async {
            let mut scheduler = clokwerk::AsyncScheduler::new();
            scheduler.every(1.day()).run(|| async {});
            scheduler.run_pending().await;
            scheduler
        })
        .when("used"),
        Case::of("pingora-timeout", || async {
            Box::pin(pingora_timeout::timeout(Duration::from_secs(9), pending::<()>()))
        })
        .when("unused"),
        Case::of("pingora-timeout", || {
            polled(Box::pin(pingora_timeout::timeout(Duration::from_secs(9), pending::<()>())))
        })
        .when("waiting"),
        Case::of("pingora-timeout", || async {
            let slow = pingora_timeout::tokio_timeout(Duration::from_secs(9), pending::<()>());
            polled(Box::pin(slow)).await
        }),
        Case::of("tokio-metrics", || async { tokio_metrics::TaskMonitor::new() }).when("unused"),
        Case::of("tokio-metrics", || async {
            let monitor = tokio_metrics::TaskMonitor::new();
            tokio::spawn(monitor.instrument(pending::<()>()));
            monitor
        })
        .when("with a task"),
        Case::of("tokio-metrics", || {
            let monitor = tokio_metrics::TaskMonitor::new();
            let instrumented: Pending<()> = pending();
            polled(Box::pin(monitor.instrument(instrumented)))
        }),
        Case::of("signal-hook-tokio", || async {
            let hangup = 1;
            signal_hook_tokio::Signals::new([hangup]).expect("signals")
        })
        .when("open"),
        Case::of("signal-hook-tokio", || async {
            let hangup = 1;
            let signals = signal_hook_tokio::Signals::new([hangup]).expect("signals");
            signals.handle().close();
            signals
        })
        .when("closed"),
        Case::of("tokio-test", || async {
            let mut mock = tokio_test::io::Builder::new().read(b"a").write(b"a").build();
            let mut read = [0];
            tokio::io::AsyncReadExt::read_exact(&mut mock, &mut read).await.expect("a row");
            tokio::io::AsyncWriteExt::write_all(&mut mock, &read).await.expect("written");
            mock
        }),
        Case::of("tokio-test", || async {
            tokio_test::task::spawn(Box::pin(tokio::time::sleep(Duration::from_secs(9))))
        }),
    ]
}

fn runtimes() -> Vec<Case> {
    use pingora_runtime::Runtime;
    vec![
        Case::of("pingora-runtime", || async { Runtime::new_steal(1, "a") }).when("steals"),
        Case::of("pingora-runtime", || async {
            let runtime = Runtime::new_no_steal(1, "a");
            runtime.get_handle().spawn(async {}).await.expect("a task");
            runtime
        })
        .when("does not steal"),
    ]
}

fn simulated() -> Vec<Case> {
    // What runs a simulation blocks, and must not leave the thread.
    let simulation = || {
        block_in_place(|| {
            let mut simulation = turmoil::Builder::new().build();
            simulation.client("a", async {
                pending::<()>().await;
                Ok(())
            });
            simulation
        })
    };
    vec![
        Case::of("turmoil", move || async move { simulation() }).when("unused"),
        Case::of("turmoil", move || async move {
            let mut simulation = simulation();
            block_in_place(|| simulation.step()).expect("a step");
            simulation
        })
        .when("used"),
    ]
}
