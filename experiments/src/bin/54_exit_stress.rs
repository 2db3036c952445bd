//! 54 exit stress: a program ends while a client is at work on a runtime in a static: the six
//! scenarios of the notes of etcd-client-py, without their interpreter. No exit crashes, but the
//! work under way is lost. A second process is the program. Page: `docs/src/54-exit-stress.md`.

use std::{
    future::pending,
    io::{self, Write as _},
    pin::Pin,
    process::{self, Stdio},
    sync::{LazyLock, mpsc},
};

use experiments::{prelude::*, probe::threads_beyond};
use lab::Prediction;
use mock_sdk::watch::{WatchClient, WatchServer};
use sundown::runtime::{RuntimeCell, RuntimeHandle, RuntimeOwner};

/// What the program prints.
const ANSWERED: &str = "answered";
const CLOSED: &str = "closed";
const THREADS: &str = "threads ";

/// The scenarios of the notes, as often as there: how many runtimes, clients, watches and operations
/// each has.
const SCENARIOS: [(&str, &str, u32, [usize; 4]); 6] = [
    ("active-watch", "a watch", 20, [1, 1, 1, 0]),
    ("operations", "50 operations at once", 20, [1, 1, 0, 50]),
    ("rapid-clients", "5 clients, one after another, with an operation each", 20, [1, 5, 0, 1]),
    ("watches-and-operations", "3 watches, and 30 operations at once", 30, [1, 1, 3, 30]),
    ("ultra-rapid", "an operation, and nothing else", 50, [1, 1, 0, 1]),
    (
        "two-runtimes",
        "two runtimes, each with a watch and 15 operations at once",
        20,
        [2, 1, 1, 15],
    ),
];

fn main() -> ExitCode {
    // A watch is closed in order only if it is told to, which it is not. Operations race with the exit.
    let lost = |watches| match watches {
        0 => seen(Failed).allowing([Clean]),
        _ => Prediction::from(Failed),
    };
    Experiment::new(file!())
        .question("What becomes of the work on a runtime in a static when the program ends?")
        .hypothesis(
            "Without an interpreter no exit crashes: the exit code is 0, and nothing is on standard \
             error. But what is under way is cut off, and no watch is ever closed in order. A cell \
             that is shut down first loses none of it.",
        )
        .variants([
            control("static/operations-awaited", look)
                .about("50 operations, and the program waits for each"),
            hazard("static/goodbye", Aborted, look)
                .about("the same; and a destructor on the main thread needs the runtime"),
        ])
        .variants(SCENARIOS.map(|(name, about, trials, [.., watches, _])| {
            hazard(format!("static/{name}"), lost(watches), look).about(about).trials(trials)
        }))
        .variants(SCENARIOS.map(|(name, about, trials, _)| {
            cure(format!("kit/{name}"), look).about(about).trials(trials)
        }))
        .variants([hazard("kit/forgotten", Failed, look)
            .about("3 watches, 30 operations; nobody shuts the cell down")])
        .keeps("exit_crashed", [])
        .keeps("threads_left", [])
        .keeps("watches_not_closed", [])
        .part("program", program)
        .run()
}

/// What the program does before it ends.
struct Scenario {
    /// How many runtimes it has. What follows is for each of them.
    runtimes: usize,
    /// How many clients connect, one after another.
    clients: usize,
    /// How many watches and operations each client has. The program waits until the watches are
    /// open.
    watches: usize,
    operations: usize,
}

impl Scenario {
    fn of(variant: &str) -> TrialResult<Self> {
        let name = match variant {
            "static/operations-awaited" | "static/goodbye" => "operations",
            "kit/forgotten" => "watches-and-operations",
            _ => variant.split_once('/').ok_or("half a name")?.1,
        };
        let scenario = SCENARIOS.into_iter().find(|(known, ..)| *known == name);
        let (.., [runtimes, clients, watches, operations]) = scenario.ok_or("no scenario")?;
        Ok(Self { runtimes, clients, watches, operations })
    }

    const fn all(&self, of_each_client: usize) -> usize {
        self.runtimes * self.clients * of_each_client
    }
}

/// Whether the program of a variant shuts its runtimes down.
fn is_shut_down(variant: &str) -> bool {
    variant.starts_with("kit/") && variant != "kit/forgotten"
}

/// Runs the program to its end, and compares its output with what the scenario started and the
/// server received.
fn look(scene: &Scene<'_>) -> TrialResult {
    let scenario = Scenario::of(scene.variant())?;
    let server = WatchServer::start()?;
    let mut program = scene.part("program")?;
    program.args([scene.variant(), &server.address().to_string()]);
    let ended =
        program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?.wait_with_output()?;
    let taken = server.puts();
    server.stop();

    let crashed = !ended.status.success() || !ended.stderr.is_empty();
    scene.record("exit_crashed", crashed);
    let said = String::from_utf8(ended.stdout)?;
    let count = |what: &str| said.lines().filter(|line| *line == what).count();
    let (answered, closed) = (count(ANSWERED), count(CLOSED));
    let operations = scenario.all(scenario.operations);
    let watches = scenario.all(scenario.watches);
    scene.record("operations_not_taken", operations.saturating_sub(taken));
    scene.record("operations_taken_unheard", taken.saturating_sub(answered));
    scene.record("watches_not_closed", watches.saturating_sub(closed));
    scene.check("every answer was heard", answered == operations);
    scene.check("every watch was closed in order", closed == watches);
    if let Some(threads) = said.lines().find_map(|line| line.strip_prefix(THREADS)) {
        let threads: i64 = threads.parse()?;
        scene.record("threads_left", threads);
        scene.check("a shutdown leaves no thread", threads == 0 || !is_shut_down(scene.variant()));
    }
    if crashed {
        // Another outcome than a loss: the hypothesis is that none of the hazards has it.
        process::abort();
    }
    Ok(())
}

/// The program.
fn program(arguments: &[String]) -> TrialResult {
    let [variant, address] = arguments else { return Err("no scenario".into()) };
    let scenario = Scenario::of(variant)?;
    let (heard, hears) = mpsc::channel();
    for nth in 0..scenario.runtimes {
        let place = Place::of(variant, nth)?;
        for _ in 0..scenario.clients {
            place.block_on(begin(&place, &scenario, address, &heard))??;
        }
    }
    if matches!(variant.as_str(), "static/operations-awaited" | "static/goodbye") {
        (0..scenario.all(scenario.operations)).try_for_each(|_| hears.recv())?;
    }
    if variant == "static/goodbye" {
        GOODBYE.with(|_| {});
    }
    let mut patience = Duration::ZERO;
    if is_shut_down(variant) {
        for cell in &CELLS[..scenario.runtimes] {
            // No limit, so nothing is cut off: operations end by themselves, and watches when they are told to.
            let report = cell.shutdown_blocking(None)?;
            if report.aborted > 0 {
                return Err(format!("{report}").into());
            }
        }
        patience = PLENTY;
    }
    // Not every system lists them.
    if let Ok(threads) = threads_beyond(1, patience) {
        say(&format!("{THREADS}{threads}"));
    }
    Ok(())
}

/// Starts the work of one client.
async fn begin(
    place: &Place,
    scenario: &Scenario,
    address: &str,
    heard: &mpsc::Sender<()>,
) -> TrialResult {
    let client = WatchClient::connect(address.parse()?).await?;
    for _ in 0..scenario.watches {
        let mut watch = client.watch("key").await?;
        place.spawn("watch", |mut stop| async move {
            loop {
                tokio::select! {
                    change = watch.next() => if change.is_none() { return },
                    () = &mut stop => break,
                }
            }
            drop(watch);
            say(CLOSED);
        })?;
    }
    for _ in 0..scenario.operations {
        let (client, heard) = (client.clone(), heard.clone());
        place.spawn("operation", |_| async move {
            if client.put("key", "value").await.is_ok() {
                say(ANSWERED);
                let _ = heard.send(());
            }
        })?;
    }
    Ok(())
}

fn say(what: &str) {
    let mut out = io::stdout().lock();
    // With one write, so that the line is printed whole or not at all.
    let _ = out.write_all(format!("{what}\n").as_bytes()).and_then(|()| out.flush());
}

/// One of the program's runtimes.
enum Place {
    Tokio(&'static Runtime),
    Kit(RuntimeHandle),
}

static RUNTIMES: [LazyLock<io::Result<Runtime>>; 2] = [const { LazyLock::new(runtime) }; 2];

static CELLS: [RuntimeCell; 2] =
    [const { RuntimeCell::new(|| RuntimeOwner::builder("kit").workers(2)) }; 2];

/// The signal that tells a task to stop. On Tokio's own runtime it never comes.
type StopSignal = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Place {
    fn of(variant: &str, nth: usize) -> TrialResult<Self> {
        Ok(match variant.starts_with("kit/") {
            true => Self::Kit(CELLS[nth].get()?),
            false => Self::Tokio(RUNTIMES[nth].as_ref()?),
        })
    }

    fn block_on<F: Future>(&self, future: F) -> TrialResult<F::Output> {
        match self {
            Self::Tokio(runtime) => Ok(runtime.block_on(future)),
            Self::Kit(runtime) => Ok(runtime.block_on(future)?),
        }
    }

    /// Spawns a task that nobody waits for.
    fn spawn<F>(
        &self,
        name: &'static str,
        work: impl FnOnce(StopSignal) -> F + Send + 'static,
    ) -> TrialResult
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self {
            Self::Tokio(runtime) => drop(runtime.spawn(work(Box::pin(pending())))),
            Self::Kit(runtime) => drop(runtime.spawn(name, |stop| work(Box::pin(stop)))?),
        }
        Ok(())
    }
}

/// Spawns a task to say goodbye when its thread ends.
struct Goodbye;

thread_local! {
    static GOODBYE: Goodbye = const { Goodbye };
}

impl Drop for Goodbye {
    fn drop(&mut self) {
        drop(tokio::spawn(async {}));
    }
}
