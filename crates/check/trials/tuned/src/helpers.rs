//! Helpers of programs: channels, limits, tasks, files and traces.

use std::{env, fs, io::Write as _, mem, sync::Arc, time::Duration};

use object_store::{buffered::BufWriter, local::LocalFileSystem};
use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{
        BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter,
        span_processor_with_async_runtime::BatchSpanProcessor as InTask,
    },
};
use tokio::{
    io::AsyncWriteExt as _,
    sync::mpsc,
    task::{self, spawn_blocking},
    time,
};
use trials::Case;

use crate::Row;

pub fn cases() -> Vec<Case> {
    [queues(), tasks(), jobs(), processes(), streams(), files(), traces()]
        .into_iter()
        .flatten()
        .collect()
}

fn queues() -> Vec<Case> {
    let flume = || async {
        let (sender, receiver) = flume::bounded::<Row>(1);
        sender.send_async(vec![1]).await.expect("sent");
        (sender, receiver)
    };
    vec![
        Case::of("flume", move || async move {
            let (sender, receiver) = flume().await;
            mem::forget(sender);
            receiver
        })
        .when("before its sender"),
        Case::of("flume", move || async move { flume().await.1 }).when("after its sender"),
        Case::of("leaky-bucket", || async {
            leaky_bucket::RateLimiter::builder().initial(1).build()
        }),
        Case::of("deadqueue", || async {
            let queue = deadqueue::limited::Queue::<Row>::new(1);
            queue.push(vec![1]).await;
            queue
        }),
    ]
}

/// Waits for a future in its destructor.
struct Waits;

impl Drop for Waits {
    fn drop(&mut self) {
        tokio_async_drop::tokio_async_drop!({ task::yield_now().await });
    }
}

fn tasks() -> Vec<Case> {
    vec![
        Case::of("tokio-async-drop", || async { Waits }),
        Case::of("async-scoped", || async {
            // SAFETY: the future borrows nothing, so it may outlive the scope.
            let mut scope =
                unsafe { async_scoped::TokioScope::<'static, ()>::create(Default::default()) };
            scope.spawn(async { task::yield_now().await });
            scope
        })
        .when("with a task"),
        Case::of("async-scoped", || async {
            // SAFETY: the future borrows nothing, so it may outlive the scope.
            let mut scope =
                unsafe { async_scoped::TokioScope::<'static, ()>::create(Default::default()) };
            scope.spawn(async { task::yield_now().await });
            scope.collect().await;
            scope
        })
        .when("collected"),
    ]
}

async fn scheduler() -> tokio_cron_scheduler::JobScheduler {
    let scheduler = tokio_cron_scheduler::JobScheduler::new().await.expect("a scheduler");
    let job = tokio_cron_scheduler::Job::new_async("0 0 0 1 1 *", |_, _| Box::pin(async {}));
    scheduler.add(job.expect("a job")).await.expect("added");
    scheduler.start().await.expect("started");
    scheduler
}

fn jobs() -> Vec<Case> {
    vec![
        Case::of("tokio-cron-scheduler", scheduler).when("started"),
        Case::of("tokio-cron-scheduler", || async {
            let mut scheduler = scheduler().await;
            scheduler.shutdown().await.expect("shut down");
            scheduler
        })
        .when("shut down"),
    ]
}

fn processes() -> Vec<Case> {
    use tokio_process_tools::{AutoName, GracefulShutdown, Process};
    let sleeps = |seconds| {
        let mut command = tokio::process::Command::new("sleep");
        command.arg(seconds);
        let process = Process::new(command).name(AutoName::program_only());
        let spawned = process
            .stdout_and_stderr(|stream| {
                stream
                    .broadcast()
                    .lossy_without_backpressure()
                    .no_replay()
                    .read_chunk_size(tokio_process_tools::DEFAULT_READ_CHUNK_SIZE)
                    .max_buffered_chunks(tokio_process_tools::DEFAULT_MAX_BUFFERED_CHUNKS)
            })
            .spawn();
        let shutdown = GracefulShutdown::builder().unix_sigterm(Duration::from_secs(5));
        spawned
            .expect("a process")
            .terminate_on_drop(shutdown.windows_ctrl_break(Duration::from_secs(5)).build())
    };
    vec![
        Case::of("tokio-process-tools", move || async move { sleeps("9") }).when("runs"),
        Case::of("tokio-process-tools", move || async move {
            let mut process = sleeps("0");
            let ended = process.wait_for_completion(Duration::from_secs(9)).await;
            ended.expect("an end").expect_completed("an end");
            process
        })
        .when("has ended"),
    ]
}

fn streams() -> Vec<Case> {
    vec![
        Case::of("tokio-stream", || async {
            tokio_stream::wrappers::IntervalStream::new(time::interval(Duration::from_secs(9)))
        }),
        Case::of("tokio-stream", || async {
            tokio_stream::wrappers::ReceiverStream::new(mpsc::channel::<Row>(1).1)
        }),
        Case::of("tokio-stream", || async {
            let mut map = tokio_stream::StreamMap::new();
            map.insert(
                1_u8,
                tokio_stream::wrappers::ReceiverStream::new(mpsc::channel::<Row>(1).1),
            );
            map
        }),
    ]
}

/// A writer that has a row. It begins the file when it has more than its `capacity`.
async fn writer(capacity: usize) -> BufWriter {
    let folder = env::current_exe().expect("a program").with_extension("files");
    fs::create_dir_all(&folder).expect("a folder");
    let store = LocalFileSystem::new_with_prefix(folder).expect("a store");
    let mut writer = BufWriter::with_capacity(Arc::new(store), "a".into(), capacity);
    writer.write_all(b"a row\n").await.expect("written");
    writer
}

fn files() -> Vec<Case> {
    vec![
        Case::of("object_store", || writer(1024)).when("with a row in its buffer"),
        Case::of("object_store", || writer(4)).when("with an upload"),
        Case::of("object_store", || async {
            let mut writer = writer(4).await;
            writer.shutdown().await.expect("shut down");
            writer
        })
        .when("shut down"),
    ]
}

/// Exports nowhere.
#[derive(Debug)]
struct Exporter;

impl SpanExporter for Exporter {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

/// A provider that has a span to export.
fn on_thread() -> SdkTracerProvider {
    let processor = BatchSpanProcessor::builder(Exporter).build();
    let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
    drop(provider.tracer("a").start("a row"));
    provider
}

fn traces() -> Vec<Case> {
    vec![
        Case::of("opentelemetry_sdk", || async { on_thread() }).when("exports on a thread"),
        Case::of("opentelemetry_sdk", || async {
            let processor = InTask::builder(Exporter, opentelemetry_sdk::runtime::Tokio).build();
            let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
            drop(provider.tracer("a").start("a row"));
            provider
        })
        .when("exports in a task"),
        Case::of("opentelemetry_sdk", || async {
            let shut_down = spawn_blocking(|| {
                let provider = on_thread();
                provider.shutdown().expect("shut down");
                provider
            });
            shut_down.await.expect("a provider")
        })
        .when("shut down"),
        Case::of("tracing-appender", || async {
            let (mut writer, guard) = tracing_appender::non_blocking(std::io::sink());
            writer.write_all(b"a row\n").expect("written");
            mem::forget(writer);
            guard
        })
        .when("before its writer"),
        Case::of("tracing-appender", || async {
            let (mut writer, guard) = tracing_appender::non_blocking(std::io::sink());
            writer.write_all(b"a row\n").expect("written");
            guard
        })
        .when("after its writer"),
    ]
}
