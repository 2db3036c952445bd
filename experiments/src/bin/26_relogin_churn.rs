//! 26 relogin churn: does a logout leave anything behind that adds up? Over fifty logins and logouts,
//! threads, descriptors and memory stay flat with the state machine, as by hand. One forgotten clone of
//! the client in each cycle shows. Page: `docs/src/26-relogin-churn.md`.

use std::{alloc::System, fs, mem, path::Path};

use experiments::{
    prelude::*,
    setting::{PASSWORD, USER, config, homeserver, log_out_by_hand, open_rooms, soon},
    usage::{Usage, measured},
};
use mock_sdk::{
    app::{App, AppConfig, action::Action, managed::ManagedApp, ui::EventLoop},
    client::Client,
};
use serde::{Deserialize, Serialize};
use state_machine::{
    config::RuntimePolicy::{self, Keep, Restart},
    driver::Driver,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many cycles a trial makes. On the page there are also a thousand.
const CYCLES: usize = 50;

/// How many it makes if each leaves a client behind. The later ones take ever longer, because more and more files are
/// open in the process and each logout looks at all of them.
const LEAKING_CYCLES: usize = 20;

/// For that many cycles, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// By how much the memory of the process may rise in a cycle, in KiB: four pages. It goes up in steps, by hand as
/// with the kit, and further while the machine is busy. What Rust's code holds is `heap_bytes`, which may not rise.
/// A connection that is left takes more than twenty pages.
const ALLOWED_KIB: i64 = 16;

/// The limit of a session that cannot close, because a clone of the client was forgotten.
const HOPELESS: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Does a logout leave anything behind that adds up?")
        .hypothesis(
            "No: threads, descriptors and memory do not rise with the number of logins, whether the \
             runtime is restarted or kept. One forgotten clone of the client per login does show.",
        )
        .variants([
                hazard("leak", Failed, log_in_and_out)
                    .about("a clone of the client is forgotten in every cycle")
                    .waits(),
                control("by-hand", log_in_and_out)
                    .about("the client is asked to end, and the runtime is dropped after it"),
                cure("restart", log_in_and_out)
                    .about("the state machine, with one runtime that is restarted"),
                cure("keep", log_in_and_out)
                    .about("the state machine, with a runtime for each login"),
        ])
        .each(|variant| variant.trials(5).deadline(DEADLINE))
        .part("cycles", cycles)
        .run()
}

fn log_in_and_out(scene: &Scene<'_>) -> TrialResult {
    let server = homeserver()?;
    let cycles = if scene.variant() == "leak" { LEAKING_CYCLES } else { CYCLES };
    let arguments = [scene.variant(), &server.url(), &cycles.to_string()];
    let Lines { lines, looks }: Lines = measured(scene, &arguments)?;
    for (name, line) in lines {
        scene.record(&format!("{name}_at_the_end"), line.last);
        scene.record(&format!("{name}_rise"), line.rise);
        scene.record(&format!("{name}_scatter"), line.scatter);
        scene.check(&format!("{name} are flat"), line.flat);
    }
    for (cycle, Usage { descriptors, kib, .. }) in looks {
        scene.record(&format!("descriptors_after_{cycle}"), descriptors);
        scene.record(&format!("kib_after_{cycle}"), kib);
    }
    Ok(())
}

/// The process in which it happens. It prints the lines through its counts.
fn cycles(arguments: &[String]) -> TrialResult {
    let [way, url, cycles] = arguments else { return Err("which way, where, how often?".into()) };
    let (cycles, config) = (cycles.parse()?, config(url, Path::new(".")));
    let counts = match way.as_str() {
        "by-hand" => by_hand(config, cycles),
        "restart" => managed(config, cycles, Restart, false),
        "keep" => managed(config, cycles, Keep, false),
        "leak" => managed(config, cycles, Keep, true),
        _ => Err("which way to log out?".into()),
    }?;
    let settled = counts.get(counts.len() / 2..).unwrap_or_default();
    let lines = Usage::COUNTS.map(|(name, count)| {
        let allowed = if name == "kib" { ALLOWED_KIB } else { 0 };
        (name.to_owned(), Line::through(settled, allowed, count))
    });
    let lines = Lines { lines: lines.into(), looks: looks(&counts) };
    println!("{}", serde_json::to_string(&lines)?);
    Ok(())
}

fn managed(
    config: AppConfig,
    cycles: usize,
    policy: RuntimePolicy,
    leak: bool,
) -> TrialResult<Vec<Usage>> {
    let (managed, event_loop) = ManagedApp::start(config, policy)?;
    let managed = Arc::new(managed);
    let mut limits = managed.logout_config();
    if leak {
        limits.session = HOPELESS;
    }
    let driver = Driver::new(Arc::clone(&managed), limits);
    let counts = counted(managed.app(), event_loop, cycles, || {
        soon("the login", managed.log_in(USER, PASSWORD))??;
        soon("the rooms", open_rooms(managed.app()))??;
        if leak {
            let client = managed.app().globals().client.get().ok_or("nobody is logged in")?;
            mem::forget(Client::clone(&client));
        }
        let report = soon("the logout", ManagedApp::log_out(&driver))??;
        if !leak && !report.warnings.is_empty() {
            return Err(format!("the logout warns: {:?}", report.warnings).into());
        }
        Ok(())
    })?;
    let _ = managed.runtime().shutdown_blocking(None)?;
    Ok(counts)
}

fn by_hand(config: AppConfig, cycles: usize) -> TrialResult<Vec<Usage>> {
    let (app, event_loop) = App::new(config);
    counted(&app, event_loop, cycles, || {
        let runtime = runtime()?;
        app.start_worker(runtime.handle());
        runtime.block_on(app.log_in(USER, PASSWORD))?;
        soon("the rooms", open_rooms(&app))??;
        runtime.block_on(log_out_by_hand(&app))
    })
}

/// Goes through the cycles, and counts after each.
fn counted(
    app: &App,
    event_loop: EventLoop,
    cycles: usize,
    cycle: impl Fn() -> TrialResult,
) -> TrialResult<Vec<Usage>> {
    let ui = event_loop.spawn()?;
    let mut counts = Vec::with_capacity(cycles);
    for _ in 0..cycles {
        cycle()?;
        fs::remove_dir_all(app.files().stores())?;
        counts.push(Usage::now()?);
    }
    app.ui().post(Action::Quit)?;
    ui.join()?;
    Ok(counts)
}

/// What the process prints: a line through each count, and for the picture on the page some counts,
/// each with its cycle.
#[derive(Serialize, Deserialize)]
struct Lines {
    lines: Vec<(String, Line)>,
    looks: Vec<(usize, Usage)>,
}

/// The first count, and then every eighth of them up to the last.
fn looks(counts: &[Usage]) -> Vec<(usize, Usage)> {
    let cycles = (0..=8).map(|eighth| (counts.len() * eighth / 8).max(1));
    cycles.filter_map(|cycle| Some((cycle, *counts.get(cycle - 1)?))).collect()
}

/// The least-squares line through a series of counts.
#[derive(Serialize, Deserialize)]
struct Line {
    /// The last count.
    last: i64,
    /// How far the line rises from one end to the other.
    rise: i64,
    /// From the count furthest below the line to the one furthest above it.
    scatter: i64,
    /// Whether it rises by no more than the scatter and what is allowed, before rounding.
    flat: bool,
}

impl Line {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "small counts"
    )]
    fn through(counts: &[Usage], allowed: i64, of: fn(&Usage) -> i64) -> Self {
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
