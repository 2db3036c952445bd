//! # 26 · relogin churn
//!
//! A user who logs out may log in again, and again. Something that a logout leaves behind, a thread, a
//! descriptor, a few kilobytes, is nothing the first time. Experiment 31 shows what it costs to leave
//! whole clients behind; here the question is whether the logout by the state machine leaves
//! anything at all.
//!
//! A process logs in, opens rooms and logs out, over and over, with a server in another process. After
//! each logout it counts its threads, its descriptors, the memory that the system has given it, and the
//! part of that which Rust's allocator has handed out.
//! Through these counts, without the first half, in which caches fill, a line is laid. They are
//! *flat* where that line rises by no more, from one end to the other, than the counts scatter around
//! it. Both are computed, and both are recorded; how a plot looks decides nothing.
//!
//! - `restart`, `keep`: the logout by the state machine, with either policy;
//! - `by-hand`: a client that can be asked to end, and a runtime that is dropped after it;
//! - `leak`: as `keep`, but one clone of the client is forgotten in every cycle. If the measure is
//!   worth anything, this one is not flat.
//!
//! The figures come from `/proc`, and so from Linux alone.

use std::{
    alloc::System, error::Error, fs, mem, path::Path, process::ExitCode, sync::Arc, time::Duration,
};

use experiments::{
    runtime,
    story::{Failure, ROOMS, server, soon},
};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    Trial, TrialResult, Variant, always, control, cure, hazard,
};
use mock_sdk::{
    app::{App, AppConfig, action::Action, managed::ManagedApp, requests::Request},
    client::Client,
};
use serde::{Deserialize, Serialize};
use state_machine::{config::RuntimePolicy, driver::Driver};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many cycles a trial makes. On the page there are a thousand.
const CYCLES: usize = 50;

/// For so many, on a machine that has other things to do.
const DEADLINE: Duration = Duration::from_secs(120);

/// By how much the memory of the process may rise in a cycle, in KiB: one page. It goes up in steps, ever
/// more seldom, by hand as with the kit. A connection that is left is more than twenty pages.
const NOTHING: i64 = 4;

/// How long a session that cannot be closed, because a clone of the client was leaked, is waited for.
const HOPELESS: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("Does a logout leave anything behind that adds up?")
        .hypothesis(
            "No: threads, descriptors and memory do not rise with the number of logins, whether the \
             runtime is restarted or kept. One forgotten clone of the client per login does show.",
        )
        .variant(churn(hazard("leak", always(Failed), |trial| log_in_and_out(trial, "leak")))
            .about("a clone of the client is forgotten in every cycle")
            .waits())
        .variant(churn(control("by-hand", always(Clean), |trial| log_in_and_out(trial, "by-hand")))
            .about("the client is asked to end, and the runtime is dropped after it"))
        .variant(churn(cure("restart", always(Clean), |trial| log_in_and_out(trial, "restart")))
            .about("the state machine, with one runtime that is restarted"))
        .variant(churn(cure("keep", always(Clean), |trial| log_in_and_out(trial, "keep")))
            .about("the state machine, with a runtime for each login"))
        .part("cycles", cycles)
        .run()
}

fn churn(variant: Variant) -> Variant {
    variant.trials(5).deadline(DEADLINE)
}

/// What is measured happens in a process that does nothing else. Its allocator keeps to one arena:
/// with one for each thread, memory that was given back stays in many places.
fn log_in_and_out(trial: &Trial<'_>, way: &str) -> TrialResult {
    let server = server().map_err(|failure| failure as Box<dyn Error>)?;
    let mut part = trial.part("cycles")?;
    part.args([way, &server.url(), &CYCLES.to_string()]).env("MALLOC_ARENA_MAX", "1");
    let measured = part.output()?;
    if !measured.status.success() {
        return Err(String::from_utf8_lossy(&measured.stderr).into());
    }
    let Usage { threads, descriptors, kib, heap, looks } =
        serde_json::from_slice(&measured.stdout)?;
    for (name, line) in
        [("threads", threads), ("descriptors", descriptors), ("heap_bytes", heap), ("kib", kib)]
    {
        trial.record(&format!("{name}_at_the_end"), line.last);
        trial.record(&format!("{name}_rise"), line.rise);
        trial.record(&format!("{name}_scatter"), line.scatter);
        trial.check(&format!("{name} are flat"), line.flat);
    }
    for Look { cycle, descriptors, kib } in looks {
        trial.record(&format!("descriptors_after_{cycle}"), descriptors);
        trial.record(&format!("kib_after_{cycle}"), kib);
    }
    Ok(())
}

/// The process in which it happens. Prints what the counts came to.
fn cycles(arguments: &[String]) -> TrialResult {
    let [way, url, cycles] = arguments else { return Err("which way, where, how often?".into()) };
    let cycles: usize = cycles.parse()?;
    let mut config = AppConfig::new(url, Path::new("."));
    config.connections_per_store = 2;
    config.frame = Duration::from_millis(1);
    let counts = match way.as_str() {
        "by-hand" => by_hand(config, cycles),
        "restart" => managed(config, cycles, RuntimePolicy::Restart, false),
        "keep" => managed(config, cycles, RuntimePolicy::Keep, false),
        "leak" => managed(config, cycles, RuntimePolicy::Keep, true),
        _ => Err("which way to log out?".into()),
    };
    let counts = counts.map_err(|failure| failure as Box<dyn Error>)?;
    let settled = counts.get(counts.len() / 2..).unwrap_or_default();
    let usage = Usage {
        threads: Line::through(settled, 0, |count| count.threads),
        descriptors: Line::through(settled, 0, |count| count.descriptors),
        kib: Line::through(settled, NOTHING, |count| count.kib),
        heap: Line::through(settled, 0, |count| count.heap),
        looks: looks(&counts),
    };
    println!("{}", serde_json::to_string(&usage)?);
    Ok(())
}

fn managed(
    config: AppConfig,
    cycles: usize,
    policy: RuntimePolicy,
    leak: bool,
) -> Result<Vec<Count>, Failure> {
    let (managed, event_loop) = ManagedApp::start(config, policy)?;
    let (managed, ui) = (Arc::new(managed), event_loop.spawn()?);
    let mut limits = managed.logout_config();
    if leak {
        limits.session = HOPELESS;
    }
    let driver = Driver::new(Arc::clone(&managed), limits);
    let mut counts = Vec::with_capacity(cycles);
    for _ in 0..cycles {
        soon("the login", managed.log_in("me", "secret"))??;
        open_rooms(managed.app())?;
        if leak {
            let client = managed.app().globals().client.get().ok_or("nobody is logged in")?;
            mem::forget(Client::clone(&client));
        }
        let report = soon("the logout", ManagedApp::log_out(&driver))??;
        if !leak && !report.warnings.is_empty() {
            return Err(format!("the logout warns: {:?}", report.warnings).into());
        }
        fs::remove_dir_all(managed.app().files().stores())?;
        counts.push(Count::now()?);
    }
    let _ = managed.runtime().shutdown_blocking(None)?;
    managed.app().ui().post(Action::Quit)?;
    ui.join()?;
    Ok(counts)
}

/// With a client that can be asked to end, and everybody told to let go of it before.
fn by_hand(config: AppConfig, cycles: usize) -> Result<Vec<Count>, Failure> {
    let (app, event_loop) = App::new(config);
    let ui = event_loop.spawn()?;
    let mut counts = Vec::with_capacity(cycles);
    for _ in 0..cycles {
        let runtime = runtime()?;
        app.start_worker(runtime.handle());
        runtime.block_on(app.log_in("me", "secret"))?;
        open_rooms(&app)?;
        log_out_by_hand(&app, &runtime)?;
        drop(runtime);
        fs::remove_dir_all(app.files().stores())?;
        counts.push(Count::now()?);
    }
    app.ui().post(Action::Quit)?;
    ui.join()?;
    Ok(counts)
}

/// The cooperative logout: everybody lets go, and then the client is asked to end. Its runtime is as
/// it was.
pub(crate) fn log_out_by_hand(app: &App, runtime: &Runtime) -> Result<(), Failure> {
    let globals = app.globals();
    app.expect_worker_end();
    drop(globals.request_sender.take());
    let client = globals.client.take().ok_or("nobody is logged in")?;
    let _context = runtime.enter();
    runtime.block_on(async {
        client.matrix_auth().logout().await?;
        app.ui().clean_app_state().await?;
        drop((globals.sync_service.take(), globals.all_joined_rooms.take()));
        client.close().await?;
        Ok::<_, Failure>(())
    })?;
    app.files().delete_latest_user_id()?;
    drop(client);
    app.ui().post(Action::LogoutSuccess)?;
    Ok(())
}

/// Opens every room, as soon as it has been synced, and waits until all are shown.
pub(crate) fn open_rooms(app: &App) -> Result<(), Failure> {
    let mut screen = app.ui().screen();
    let tabs = async {
        // A room that has not been synced yet is not there, and is asked for again.
        while screen.borrow_and_update().tabs.len() < ROOMS.len() {
            let open = screen.borrow().tabs.clone();
            let missing = ROOMS.into_iter().find(|room| !open.iter().any(|tab| tab == room));
            let Some(room) = missing else { break };
            app.request(Request::Open { room: room.to_owned() })?;
            let (done, worked) = tokio::sync::oneshot::channel();
            app.request(Request::Run(Box::new(|| {
                Box::pin(async {
                    let _ = done.send(());
                })
            })))?;
            worked.await?;
            // The frame in which it would be shown.
            screen.changed().await?;
            screen.changed().await?;
        }
        Ok::<_, Failure>(())
    };
    soon("the rooms", tabs)?
}

/// What the system says that this process has.
struct Count {
    threads: i64,
    descriptors: i64,
    kib: i64,
    /// What Rust's allocator has handed out, in bytes.
    heap: i64,
}

impl Count {
    fn now() -> Result<Self, Failure> {
        let status = fs::read_to_string("/proc/self/status")?;
        let of = |field: &str| -> Result<i64, Failure> {
            let value = status.lines().find_map(|line| line.strip_prefix(field));
            let number = value.and_then(|value| value.split_whitespace().next());
            Ok(number.ok_or_else(|| format!("the system does not tell {field}"))?.parse()?)
        };
        let descriptors = i64::try_from(fs::read_dir("/proc/self/fd")?.count())?;
        let rust = ALLOCATOR.stats();
        let heap = i64::try_from(rust.bytes_allocated)? - i64::try_from(rust.bytes_deallocated)?;
        Ok(Self { threads: of("Threads:")?, descriptors, kib: of("VmRSS:")?, heap })
    }
}

/// What the counts came to.
#[derive(Serialize, Deserialize)]
struct Usage {
    threads: Line,
    descriptors: Line,
    kib: Line,
    heap: Line,
    looks: Vec<Look>,
}

/// Some of the counts, for the picture on the page.
#[derive(Serialize, Deserialize)]
struct Look {
    /// After so many cycles.
    cycle: usize,
    descriptors: i64,
    kib: i64,
}

/// The first count, and then every eighth of them up to the last.
fn looks(counts: &[Count]) -> Vec<Look> {
    let eighths = (0..=8).map(|eighth| (counts.len() * eighth / 8).max(1));
    let at = |cycle: usize| {
        let count = counts.get(cycle - 1)?;
        Some(Look { cycle, descriptors: count.descriptors, kib: count.kib })
    };
    eighths.filter_map(at).collect()
}

/// The line of least squares through a series of counts.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The last count.
    last: i64,
    /// How far the line rises from one end to the other.
    rise: i64,
    /// From the count that is furthest below the line to the one that is furthest above it.
    scatter: i64,
    /// Whether it rises by no more than that, and what is allowed; of the numbers before rounding.
    flat: bool,
}

impl Line {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "small counts"
    )]
    fn through(counts: &[Count], allowed: i64, of: impl Fn(&Count) -> i64) -> Self {
        let values: Vec<f64> = counts.iter().map(|count| of(count) as f64).collect();
        let number = values.len().max(1) as f64;
        let middle = (number - 1.0) / 2.0;
        let mean = values.iter().sum::<f64>() / number;
        let places = || values.iter().enumerate().map(|(at, value)| (at as f64 - middle, value));
        let (products, squares) =
            places().fold((0.0, 0.0), |(p, s), (at, value)| (p + at * (value - mean), s + at * at));
        let slope = if squares > 0.0 { products / squares } else { 0.0 };
        let beside = places().map(|(at, value)| value - mean - slope * at);
        let (least, most) =
            beside.fold((f64::MAX, f64::MIN), |(least, most), it| (least.min(it), most.max(it)));
        let rise = slope * (number - 1.0);
        let scatter = (most - least).max(0.0);
        Self {
            last: counts.last().map_or(0, of),
            rise: rise.round() as i64,
            scatter: scatter.round() as i64,
            // A millionth is no rise: the sums are not exact.
            flat: rise <= scatter + allowed as f64 * number + 1e-6,
        }
    }
}
