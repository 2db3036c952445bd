//! The batch processors of opentelemetry_sdk: one with a thread of its own, one with a task of the runtime.

use std::sync::atomic::{AtomicUsize, Ordering};

use lab::TrialResult;
use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    runtime::Tokio,
    trace::{
        BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter,
        span_processor_with_async_runtime::BatchSpanProcessor as InTask,
    },
};
use tokio::task::spawn_blocking;

use crate::subject::{Card, Subject};

static EXPORTED: AtomicUsize = AtomicUsize::new(0);

/// Counts the spans.
#[derive(Debug)]
struct Exporter;

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        EXPORTED.fetch_add(batch.len(), Ordering::SeqCst);
        Ok(())
    }
}

fn span(provider: &SdkTracerProvider) -> TrialResult {
    drop(provider.tracer("census").start("a row"));
    Ok(())
}

async fn shutdown(provider: &SdkTracerProvider) -> TrialResult {
    let provider = provider.clone();
    Ok(spawn_blocking(move || provider.shutdown()).await??)
}

const CALL: &str = "a span is started and ended";
const CLOSE: Result<&str, &str> =
    Ok("`SdkTracerProvider::shutdown` on a thread of `spawn_blocking`");
const ACCEPTS: Result<&str, &str> = Ok("spans, which it exports in batches");

struct OnThread;

impl Subject for OnThread {
    type Live = SdkTracerProvider;

    const CODE: &'static str = "opentelemetry-batch-thread";
    const PACKAGE: &'static str = "opentelemetry_sdk";
    const VALUE: &'static str =
        "an `SdkTracerProvider` with the batch processor that has a thread of its own";
    const CALL: &'static str = CALL;
    const CLOSE: Result<&'static str, &'static str> = CLOSE;
    const ACCEPTS: Result<&'static str, &'static str> = ACCEPTS;

    async fn live() -> TrialResult<Self::Live> {
        let processor = BatchSpanProcessor::builder(Exporter).build();
        Ok(SdkTracerProvider::builder().with_span_processor(processor).build())
    }

    async fn call(provider: &mut Self::Live) -> TrialResult {
        span(provider)
    }

    async fn close(provider: &mut Self::Live) -> TrialResult {
        shutdown(provider).await
    }

    async fn accept(provider: &mut Self::Live) -> TrialResult {
        span(provider)
    }

    fn arrived() -> usize {
        EXPORTED.load(Ordering::SeqCst)
    }
}

struct OnRuntime;

impl Subject for OnRuntime {
    type Live = SdkTracerProvider;

    const CODE: &'static str = "opentelemetry-batch-task";
    const PACKAGE: &'static str = "opentelemetry_sdk";
    const VALUE: &'static str =
        "an `SdkTracerProvider` with the batch processor that exports in a task, `runtime::Tokio`";
    const CALL: &'static str = CALL;
    const CLOSE: Result<&'static str, &'static str> = CLOSE;
    const ACCEPTS: Result<&'static str, &'static str> = ACCEPTS;

    async fn live() -> TrialResult<Self::Live> {
        let processor = InTask::builder(Exporter, Tokio).build();
        Ok(SdkTracerProvider::builder().with_span_processor(processor).build())
    }

    async fn call(provider: &mut Self::Live) -> TrialResult {
        span(provider)
    }

    async fn close(provider: &mut Self::Live) -> TrialResult {
        shutdown(provider).await
    }

    async fn accept(provider: &mut Self::Live) -> TrialResult {
        span(provider)
    }

    fn arrived() -> usize {
        EXPORTED.load(Ordering::SeqCst)
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OnThread>(file!()), Card::of::<OnRuntime>(file!())]
}
