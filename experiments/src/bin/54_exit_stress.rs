//! 54 exit stress: a program ends while a client is at work on a runtime in a static: the six
//! scenarios of the notes of etcd-client-py, without their interpreter. No exit crashes, but the
//! work under way is lost. A second process is the program. Page: `docs/src/54-exit-stress.md`.

use std::{
    error::Error,
    fs,
    io::{self, Write as _},
    pin::Pin,
    process::{self, ExitCode, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use experiments::{Scene, control, cure, hazard, runtime};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean, Failed},
    Prediction, TrialResult, seen,
};
use mock_sdk::watch::{WatchClient, WatchServer};
use sundown::runtime::{RuntimeCell, RuntimeOwner};
use tokio::runtime::Runtime;

/// A limit that nothing outlasts.
const PLENTY: Duration = Duration::from_secs(8);

/// What the program prints.
const ANSWERED: &str = "answered";
const CLOSED: &str = "closed";
const THREADS: &str = "threads ";

fn main() -> ExitCode {
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
        .variants(SCENARIOS.iter().map(|scenario| {
            hazard(format!("static/{}", scenario.name), scenario.without_shutdown(), look)
                .about(scenario.about)
                .trials(scenario.trials)
        }))
        .variants(SCENARIOS.iter().map(|scenario| {
            cure(format!("kit/{}", scenario.name), look)
                .about(scenario.about)
                .trials(scenario.trials)
        }))
        .variants([hazard("kit/forgotten", Failed, look)
            .about("3 watches, 30 operations; nobody shuts the cell down")])
        .part("program", program)
        .run()
}

/// What a program does before it ends.
struct Scenario {
    name: &'static str,
    about: &'static str,
    trials: u32,
    /// How many runtimes it has. What follows is for each of them.
    runtimes: usize,
    /// How many clients connect, one after another.
    clients: usize,
    /// How many watches and operations each client has. The program waits until the watches are
    /// open.
    watches: usize,
    operations: usize,
}

const OPERATIONS: Scenario = Scenario {
    name: "operations",
    about: "50 operations at once",
    trials: 20,
    runtimes: 1,
    clients: 1,
    watches: 0,
    operations: 50,
};

const COMBINED: Scenario = Scenario {
    name: "watches-and-operations",
    about: "3 watches, and 30 operations at once",
    trials: 30,
    watches: 3,
    operations: 30,
    ..OPERATIONS
};

/// The scenarios of the notes, as often as there.
const SCENARIOS: [Scenario; 6] = [
    Scenario { name: "active-watch", about: "a watch", watches: 1, operations: 0, ..OPERATIONS },
    OPERATIONS,
    Scenario {
        name: "rapid-clients",
        about: "5 clients, one after another, with an operation each",
        clients: 5,
        operations: 1,
        ..OPERATIONS
    },
    COMBINED,
    Scenario {
        name: "ultra-rapid",
        about: "an operation, and nothing else",
        trials: 50,
        operations: 1,
        ..OPERATIONS
    },
    Scenario {
        name: "two-runtimes",
        about: "two runtimes, each with a watch and 15 operations at once",
        runtimes: 2,
        watches: 1,
        operations: 15,
        ..OPERATIONS
    },
];

impl Scenario {
    /// The scenario of the variant with this last name.
    fn named(name: &str) -> Result<&'static Self, Box<dyn Error>> {
        match name {
            "operations-awaited" | "goodbye" => Ok(&OPERATIONS),
            "forgotten" => Ok(&COMBINED),
            _ => Ok(SCENARIOS.iter().find(|known| known.name == name).ok_or("no scenario")?),
        }
    }

    /// What a static makes of it. A watch is closed in order only if it is told to, which it is
    /// not. Operations race with the exit.
    fn without_shutdown(&self) -> Prediction {
        if self.watches > 0 { Failed.into() } else { seen(Failed).allowing([Clean]) }
    }

    const fn all(&self, of_each_client: usize) -> usize {
        self.runtimes * self.clients * of_each_client
    }
}

/// Runs the program to its end, and compares its output with what the scenario started and the
/// server received.
fn look(scene: &Scene<'_>) -> TrialResult {
    let (owner, name) = scene.variant().split_once('/').ok_or("half a name")?;
    let scenario = Scenario::named(name)?;
    let server = WatchServer::start()?;
    let mut program = scene.part("program")?;
    program.args([owner, name, &server.address().to_string()]);
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
        let is_shut_down = owner == "kit" && name != "forgotten";
        scene.check("a shutdown leaves no thread", threads == 0 || !is_shut_down);
    }
    if crashed {
        // Another outcome than a loss: the hypothesis is that none of the hazards has it.
        process::abort();
    }
    Ok(())
}

/// The program.
fn program(arguments: &[String]) -> TrialResult {
    let [owner, name, address] = arguments else { return Err("no scenario".into()) };
    let (scenario, is_kit) = (Scenario::named(name)?, owner == "kit");
    let (heard, hears) = mpsc::channel();
    for runtime in 0..scenario.runtimes {
        let place = Place { is_kit, runtime };
        for _ in 0..scenario.clients {
            begin(place, scenario, address, &heard)?;
        }
    }
    if matches!(name.as_str(), "operations-awaited" | "goodbye") {
        (0..scenario.all(scenario.operations)).try_for_each(|_| hears.recv())?;
    }
    if name == "goodbye" {
        GOODBYE.with(|_| {});
    }
    if is_kit && name != "forgotten" {
        for cell in &CELLS[..scenario.runtimes] {
            let _ = cell.shutdown_blocking(PLENTY)?;
        }
        // A thread that was joined is listed a moment longer.
        let since = Instant::now();
        while threads()?.is_some_and(|threads| threads > 0) && since.elapsed() < PLENTY {
            thread::yield_now();
        }
    }
    if let Some(threads) = threads()? {
        say(&format!("{THREADS}{threads}"));
    }
    Ok(())
}

/// How many threads there are beside this one. `None` if the system does not list them.
fn threads() -> io::Result<Option<usize>> {
    if !cfg!(target_os = "linux") {
        return Ok(None);
    }
    Ok(Some(fs::read_dir("/proc/self/task")?.count().saturating_sub(1)))
}

/// Starts the work of one client.
fn begin(
    place: Place,
    scenario: &Scenario,
    address: &str,
    heard: &mpsc::Sender<()>,
) -> TrialResult {
    let client = place.block_on(WatchClient::connect(address.parse()?))??;
    for _ in 0..scenario.watches {
        let mut watch = place.block_on(client.watch("key"))??;
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
#[derive(Clone, Copy)]
struct Place {
    is_kit: bool,
    runtime: usize,
}

static RUNTIMES: [OnceLock<Runtime>; 2] = [const { OnceLock::new() }; 2];

static CELLS: [RuntimeCell; 2] =
    [const { RuntimeCell::new(|| RuntimeOwner::builder("kit").workers(2)) }; 2];

/// The signal that tells a task to stop. On Tokio's own runtime it never comes.
type StopSignal = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Place {
    fn tokio(self) -> io::Result<&'static Runtime> {
        let place = &RUNTIMES[self.runtime];
        match place.get() {
            Some(runtime) => Ok(runtime),
            None => runtime().map(|runtime| place.get_or_init(|| runtime)),
        }
    }

    fn block_on<F: Future>(self, future: F) -> Result<F::Output, Box<dyn Error>> {
        match self.is_kit {
            true => Ok(CELLS[self.runtime].get()?.block_on(future)?),
            false => Ok(self.tokio()?.block_on(future)),
        }
    }

    /// Spawns a task that nobody waits for.
    fn spawn<F>(
        self,
        name: &'static str,
        work: impl FnOnce(StopSignal) -> F + Send + 'static,
    ) -> TrialResult
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if self.is_kit {
            drop(CELLS[self.runtime].get()?.spawn(name, |stop| work(Box::pin(stop)))?);
        } else {
            drop(self.tokio()?.spawn(work(Box::pin(std::future::pending()))));
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
