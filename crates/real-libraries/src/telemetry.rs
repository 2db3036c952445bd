//! Spans of OpenTelemetry, in a batch processor with the exporter for OTLP over HTTP. A program makes some and
//! leaves; the collector counts what it was sent.

use std::{
    env,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use leak_strategy::{
    app,
    plan::ExitPlan,
    resource::{Policy, Resource},
};
use opentelemetry::{
    global,
    trace::{Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    runtime::Tokio,
    trace::{SdkTracerProvider, span_processor_with_async_runtime::BatchSpanProcessor},
};
use sundown::{RuntimeOwner, session::Session};
use tokio::runtime::{Builder, Runtime};

use crate::{
    PLENTY,
    report::{check, record},
    server::Server,
};

/// How many spans the program makes. The processor would send them after five seconds.
const SPANS: usize = 100;

/// The limit of a plan, and of what is in it.
const WITHIN: Duration = Duration::from_secs(5);

/// Runs the program until it has left, and counts what has come.
pub fn collected(how: &str) -> Result<()> {
    let server = Server::start()?;
    let program = Command::new(env::current_exe()?)
        .args(["spans", how, &server.page("/v1/traces")])
        .stdin(Stdio::null())
        .status()?;
    record("spans_received", server.spans());
    check("the program leaves with its code", program.success());
    check("the collector has every span", server.spans() == SPANS);
    Ok(())
}

/// Makes spans, and leaves.
pub fn program(how: &str, collector: &str) -> Result<()> {
    let (flavor, way) = how.split_once('-').context("no way to leave")?;
    let runtime = match flavor {
        "multi" => Builder::new_multi_thread().worker_threads(2).enable_all().build()?,
        "current" => Builder::new_current_thread().enable_all().build()?,
        "owner" => return with_an_owner(collector),
        _ => bail!("there is no flavor `{flavor}`"),
    };
    let provider = runtime.block_on(async { used_provider(way, collector) })?;
    leave(way, runtime, provider)
}

/// A provider that has spans to send.
fn used_provider(way: &str, collector: &str) -> Result<SdkTracerProvider> {
    let (exporter, provider) = (exporter(collector)?, SdkTracerProvider::builder());
    let provider = match way {
        // It exports on a plain thread.
        "thread" => provider.with_batch_exporter(exporter),
        // It exports in a task of the runtime.
        _ => provider.with_span_processor(BatchSpanProcessor::builder(exporter, Tokio).build()),
    };
    let provider = provider.build();
    if way != "drop" {
        global::set_tracer_provider(provider.clone());
    }
    let tracer = provider.tracer("trial");
    for _ in 0..SPANS {
        drop(tracer.start("work"));
    }
    Ok(provider)
}

/// The exporter with reqwest's asynchronous client.
fn exporter(collector: &str) -> Result<SpanExporter> {
    // The environment may have a proxy.
    let client = reqwest::Client::builder().no_proxy().build()?;
    let exporter = SpanExporter::builder().with_http().with_http_client(client);
    Ok(exporter.with_protocol(Protocol::HttpJson).with_endpoint(collector).build()?)
}

fn leave(way: &str, runtime: Runtime, provider: SdkTracerProvider) -> Result<()> {
    match way {
        // In async code, as the examples of the crates do at the end of `main`.
        "shutdown" | "thread" => runtime.block_on(async { provider.shutdown() })?,
        "drop" => runtime.block_on(async { drop(provider) }),
        // The provider is in a static, too: nothing drops the last of it.
        "return" => {}
        "after" => {
            drop(runtime);
            let ended = provider.shutdown();
            ensure!(ended.is_ok(), "the provider says: {ended:?}");
        }
        "hook" => runtime.block_on(async {
            let session = Session::builder("telemetry").runtime(runtime.handle()).start()?;
            let hook = async || {
                let ended = tokio::task::spawn_blocking(move || provider.shutdown()).await;
                if !matches!(ended, Ok(Ok(()))) {
                    eprintln!("the provider says: {ended:?}");
                }
            };
            ensure!(session.before_close(hook).is_ok(), "the session refuses the hook");
            let _ = session.close(PLENTY).await?;
            anyhow::Ok(())
        })?,
        "plan" => {
            let plan = ExitPlan::builder(WITHIN).build();
            plan.add(telemetry(provider))?;
            // In the middle of the program: the runtime is there, and nothing has been dropped.
            runtime.block_on(async { plan.leave(0) })
        }
        _ => bail!("there is no way `{way}`"),
    }
    Ok(())
}

/// The provider in a plan.
fn telemetry(provider: SdkTracerProvider) -> Resource {
    let policy = Policy::TearDown { within: WITHIN };
    Resource::new("telemetry", policy, move |_exit| Ok(provider.shutdown()?))
}

/// A current-thread runtime that the plan shuts down after it has shut the provider down.
fn with_an_owner(collector: &str) -> Result<()> {
    let runtime = RuntimeOwner::builder("program").current_thread().start()?;
    let plan = ExitPlan::builder(WITHIN).build();
    plan.add(app::runtime(Policy::TearDownOrLeak { within: WITHIN }, runtime.clone()))?;
    let collector = collector.to_owned();
    let provider = runtime.block_on(async move { used_provider("plan", &collector) })??;
    plan.add(telemetry(provider).needs(app::RUNTIME))?;
    plan.leave(0)
}
