//! Actors, executors, schedulers, batches and channels.

use std::{future::pending, mem, time::Duration};

use async_executors::{TokioCt, TokioTp};
use batch_aint_one::{Batcher, BatchingPolicy, Limits, Processor};
use sacs::scheduler::{SchedulerBuilder, TaskScheduler as _, WorkerType};
use tokio::task::block_in_place;
use trials::Case;

use crate::Row;

pub fn cases() -> Vec<Case> {
    [actors(), executors(), pinned(), schedulers(), batches(), pools(), channels(), broadcasts()]
        .into_iter()
        .flatten()
        .collect()
}

#[derive(xtra::Actor)]
struct Counts;

struct Add;

impl xtra::Handler<Add> for Counts {
    type Return = u8;

    async fn handle(&mut self, _: Add, _: &mut xtra::Context<Self>) -> u8 {
        1
    }
}

struct Stop;

impl xtra::Handler<Stop> for Counts {
    type Return = ();

    async fn handle(&mut self, _: Stop, context: &mut xtra::Context<Self>) {
        context.stop_self();
    }
}

fn actors() -> Vec<Case> {
    let spawned = || xtra::spawn_tokio(Counts, xtra::Mailbox::unbounded());
    vec![
        Case::of("xtra", move || async move {
            let actor = spawned();
            actor.send(Add).await.expect("an answer");
            actor
        })
        .when("alive"),
        Case::of("xtra", move || async move {
            let actor = spawned();
            actor.send(Stop).await.expect("an answer");
            actor.join().await;
            actor
        })
        .when("stopped"),
        Case::of("xtra", move || async move {
            let actor = spawned();
            let weak = actor.downgrade();
            mem::forget(actor);
            weak
        })
        .when("alive"),
        Case::of("xtra", move || async move { spawned().downgrade() }).when("its actor is gone"),
        Case::of("xtra", move || async move {
            let (address, mailbox) = xtra::Mailbox::<Counts>::unbounded();
            mem::forget(address);
            mailbox
        }),
    ]
}

fn executors() -> Vec<Case> {
    vec![
        Case::of("async_executors", || async { TokioTp::new().expect("a runtime") })
            .when("owns a runtime"),
        Case::of("async_executors", || async { TokioTp::try_current().expect("a runtime") })
            .when("of another runtime"),
        Case::of("async_executors", || async {
            let executor = TokioTp::new().expect("a runtime");
            mem::forget(executor.clone());
            executor
        })
        .when("one of two"),
        Case::of("async_executors", || async { TokioCt::new().expect("a runtime") }).when("unused"),
        Case::of("async_executors", || async {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let handle = runtime.handle().clone();
            mem::forget(runtime);
            TokioCt::try_from(handle).expect("a runtime with one thread")
        })
        .when("of another runtime"),
        Case::of("async_executors", || async {
            block_in_place(|| {
                let executor = TokioCt::new().expect("a runtime");
                executor.block_on(async {});
                executor
            })
        })
        .when("used"),
    ]
}

fn pinned() -> Vec<Case> {
    let runtime = || prokio::Runtime::builder().worker_threads(1).build().expect("threads");
    vec![
        Case::of("prokio", move || async move { runtime() }).when("unused"),
        Case::of("prokio", move || async move {
            let runtime = runtime();
            let (started, starts) = tokio::sync::oneshot::channel();
            runtime.spawn_pinned(move || async move {
                let _ = started.send(());
                pending::<()>().await;
            });
            starts.await.expect("a task");
            runtime
        })
        .when("with a task"),
    ]
}

/// With a task that runs in an hour.
async fn scheduler(worker: WorkerType) -> sacs::scheduler::Scheduler {
    let scheduler = SchedulerBuilder::new().worker_type(worker).build();
    let schedule = sacs::task::TaskSchedule::OnceDelayed(Duration::from_secs(3600));
    let task = sacs::task::Task::new(schedule, |_| Box::pin(async {}));
    scheduler.add(task).await.expect("a task");
    scheduler
}

fn schedulers() -> Vec<Case> {
    vec![
        Case::of("sacs", || scheduler(WorkerType::CurrentRuntime)).when("on this runtime"),
        Case::of("sacs", || scheduler(WorkerType::CurrentThread)).when("on one of its own"),
        Case::of("sacs", || async {
            sacs::task::Task::new(sacs::task::TaskSchedule::Once, |_| Box::pin(async {}))
        }),
    ]
}

/// Gives back what comes in.
#[derive(Clone, Debug)]
struct Echoes;

impl Processor for Echoes {
    type Key = u8;
    type Input = Row;
    type Output = Row;
    type Error = String;
    type Resources = ();

    async fn acquire_resources(&self, _: u8) -> Result<(), String> {
        Ok(())
    }

    async fn process(
        &self,
        _: u8,
        inputs: impl Iterator<Item = Row> + Send,
        (): (),
    ) -> Result<Vec<Row>, String> {
        Ok(inputs.collect())
    }
}

fn batcher() -> Batcher<Echoes> {
    Batcher::builder()
        .name("a")
        .processor(Echoes)
        .limits(Limits::builder().max_batch_size(1).build())
        .batching_policy(BatchingPolicy::Size)
        .build()
}

fn batches() -> Vec<Case> {
    vec![
        Case::of("batch-aint-one", || async { batcher() }).when("unused"),
        Case::of("batch-aint-one", || async {
            let batcher = batcher();
            batcher.add(1, vec![1]).await.expect("a row");
            batcher
        })
        .when("used"),
        Case::of("batch-aint-one", || async {
            let batcher = batcher();
            batcher.worker_handle().shut_down().await;
            batcher.worker_handle().wait_for_shutdown().await;
            batcher
        })
        .when("shut down"),
        Case::of("batch-aint-one", || async { batcher().worker_handle() })
            .when("after its batcher"),
        Case::of("batch-aint-one", || async {
            let batcher = batcher();
            let worker = batcher.worker_handle();
            mem::forget(batcher);
            worker
        })
        .when("before its batcher"),
    ]
}

fn pools() -> Vec<Case> {
    use tokio_task_pool::Pool;
    vec![
        Case::of("tokio-task-pool", || async { Pool::bounded(2) }).when("unused"),
        Case::of("tokio-task-pool", || async {
            let pool = Pool::bounded(2).with_run_timeout(Duration::from_secs(9));
            pool.spawn(pending::<()>()).await.expect("a task");
            pool
        })
        .when("with a task"),
    ]
}

fn channels() -> Vec<Case> {
    use crossfire::mpsc;
    vec![
        Case::of("crossfire", || async {
            let (sender, receiver) = mpsc::bounded_async::<Row>(2);
            sender.send(vec![1]).await.expect("sent");
            mem::forget(receiver);
            sender
        })
        .when("with a row"),
        Case::of("crossfire", || async { mpsc::bounded_async::<Row>(2).0 })
            .when("its receiver is gone"),
        Case::of("crossfire", || async {
            let (sender, receiver) = mpsc::bounded_async::<Row>(2);
            sender.send(vec![1]).await.expect("sent");
            mem::forget(sender);
            receiver
        })
        .when("with a row"),
        Case::of("crossfire", || async { mpsc::bounded_async::<Row>(2).1 })
            .when("its sender is gone"),
    ]
}

fn broadcasts() -> Vec<Case> {
    vec![
        Case::of("async-broadcast", || async {
            let (sender, receiver) = async_broadcast::broadcast::<Row>(2);
            sender.broadcast(vec![1]).await.expect("sent");
            mem::forget(receiver);
            sender
        }),
        Case::of("async-broadcast", || async {
            let (sender, receiver) = async_broadcast::broadcast::<Row>(2);
            sender.broadcast(vec![1]).await.expect("sent");
            mem::forget(sender);
            receiver
        }),
    ]
}
