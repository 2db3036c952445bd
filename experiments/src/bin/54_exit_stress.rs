//! # 54 · exit stress
//!
//! The shutdown testing notes of *etcd-client-py* have six scenarios in which a program ends while a
//! client of a key-value store is at work, and count how many exits crash. There the runtime lives in
//! a static inside an interpreter. Here the same six are run in Rust alone, against a small server
//! over loopback TCP: is it the runtime in the static that crashes? And if nothing crashes, is
//! nothing lost?
//!
//! A second process is the program. It starts operations and watches on a runtime, waits for none of
//! them, and returns from `main`. It says of each operation that it has heard the answer, and of each
//! watch that it was closed in order. The trial looks at how the process ended, and compares what it
//! said with what the scenario has begun and with what the server has taken. Where something is
//! missing the trial fails; where the program crashed, the trial aborts.
//!
//! - `static/…`: Tokio's runtime in a `OnceLock`, as the notes have it. Nothing shuts it down.
//! - `kit/…`: `RuntimeCell`, shut down at the end of `main`.
//! - `static/operations-awaited`: the fifty operations, waited for. Shows that it is the exit that
//!   cuts them off.
//! - `static/goodbye`: the same, and the main thread keeps something whose destructor spawns a task to
//!   say goodbye. Shows that an exit that crashes would be seen.
//! - `kit/forgotten`: the cell, and nobody shuts it down.

use std::{
    error::Error,
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    pin::Pin,
    process::{self, ExitCode, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use experiments::runtime;
use lab::{
    Experiment,
    Outcome::{Aborted, Clean, Failed},
    Prediction, Trial, TrialResult, Variant, always, control, cure, hazard, seen,
};
use mock_sdk::watch::{WatchClient, WatchServer};
use sundown::runtime::{RuntimeCell, RuntimeOwner};
use tokio::runtime::Runtime;

/// A limit that nothing outlasts.
const PLENTY: Duration = Duration::from_secs(8);

/// What the program says.
const ANSWERED: &str = "answered";
const CLOSED: &str = "closed";
const THREADS: &str = "threads ";

fn main() -> ExitCode {
    let each = |role: fn(String, Prediction, Body) -> Variant, owner: Owner| {
        SCENARIOS.iter().map(move |scenario| {
            let prediction = match owner {
                Owner::Static => scenario.without_shutdown(),
                _ => always(Clean),
            };
            let name = format!("{}/{}", owner.word(), scenario.name);
            role(name, prediction, Box::new(move |trial| look(trial, owner, scenario)))
                .about(scenario.about)
                .trials(scenario.trials)
        })
    };
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("What becomes of the work on a runtime in a static when the program ends?")
        .hypothesis(
            "Without an interpreter no exit crashes: the exit code is 0, and nothing is on standard \
             error. But what is under way is cut off, and no watch is ever closed in order. A cell \
             that is shut down first loses none of it.",
        )
        .variant(
            control("static/operations-awaited", always(Clean), |trial| {
                look(trial, Owner::StaticAwaited, &OPERATIONS)
            })
            .about("50 operations, and the program waits for each"),
        )
        .variant(
            hazard("static/goodbye", always(Aborted), |trial| {
                look(trial, Owner::StaticGoodbye, &OPERATIONS)
            })
            .about("the same; and a destructor on the main thread needs the runtime"),
        )
        .variants(each(hazard, Owner::Static))
        .variants(each(cure, Owner::Kit))
        .variant(
            hazard("kit/forgotten", always(Failed), |trial| {
                look(trial, Owner::KitForgotten, &COMBINED)
            })
            .about("3 watches, 30 operations; nobody shuts the cell down"),
        )
        .part("program", program)
        .run()
}

type Body = Box<dyn Fn(&Trial<'_>) -> TrialResult + Send + Sync>;

/// What a program does before it ends.
struct Scenario {
    name: &'static str,
    about: &'static str,
    trials: u32,
    /// How many runtimes it has. What follows is for each of them.
    runtimes: usize,
    /// How many clients connect, one after another.
    clients: usize,
    /// How many watches and operations each has. Only the watches are waited for, until they are
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
    /// What a runtime in a static makes of it. A watch is closed in order only by who is told to:
    /// never here. Operations race with the exit.
    fn without_shutdown(&self) -> Prediction {
        if self.watches > 0 { always(Failed) } else { seen(Failed).allowing([Clean]) }
    }

    const fn all_watches(&self) -> usize {
        self.runtimes * self.clients * self.watches
    }

    const fn all_operations(&self) -> usize {
        self.runtimes * self.clients * self.operations
    }
}

/// Who has the runtime in the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Static,
    StaticAwaited,
    StaticGoodbye,
    Kit,
    KitForgotten,
}

impl Owner {
    const ALL: [Self; 5] =
        [Self::Static, Self::StaticAwaited, Self::StaticGoodbye, Self::Kit, Self::KitForgotten];

    const fn word(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::StaticAwaited => "static-awaited",
            Self::StaticGoodbye => "static-goodbye",
            Self::Kit => "kit",
            Self::KitForgotten => "kit-forgotten",
        }
    }
}

/// Runs a program to its end, and compares what it said with what should have come of it.
fn look(trial: &Trial<'_>, owner: Owner, scenario: &Scenario) -> TrialResult {
    let server = WatchServer::start()?;
    let address = server.address().to_string();
    let mut program = trial.part("program")?;
    let program = program.args([owner.word(), scenario.name, &address]);
    let program = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let ended = program.wait_with_output()?;
    let taken = server.puts();
    server.stop();

    let crashed = !ended.status.success() || !ended.stderr.is_empty();
    trial.record("exit_crashed", crashed);
    let said = String::from_utf8(ended.stdout)?;
    let count = |what: &str| said.lines().filter(|line| *line == what).count();
    let (answered, closed) = (count(ANSWERED), count(CLOSED));
    let (operations, watches) = (scenario.all_operations(), scenario.all_watches());
    trial.record("operations_not_taken", operations.saturating_sub(taken));
    trial.record("operations_taken_unheard", taken.saturating_sub(answered));
    trial.record("watches_not_closed", watches.saturating_sub(closed));
    trial.check("every answer was heard", answered == operations);
    trial.check("every watch was closed in order", closed == watches);
    if let Some(threads) = said.lines().find_map(|line| line.strip_prefix(THREADS)) {
        let threads: i64 = threads.parse()?;
        trial.record("threads_left", threads);
        trial.check("a shutdown leaves no thread", threads == 0 || owner != Owner::Kit);
    }
    if crashed {
        // Another outcome than a loss: the hypothesis is that none of the hazards has it.
        process::abort();
    }
    Ok(())
}

/// The program.
fn program(arguments: &[String]) -> TrialResult {
    let [owner, scenario, address] = arguments else { return Err("no scenario".into()) };
    let owner = Owner::ALL.into_iter().find(|known| known.word() == owner).ok_or("no owner")?;
    let scenario = SCENARIOS.iter().find(|known| known.name == scenario).ok_or("no scenario")?;
    let address = address.parse()?;
    let (heard, hears) = mpsc::channel();
    for runtime in 0..scenario.runtimes {
        let place = Place { owner, runtime };
        for _ in 0..scenario.clients {
            begin(place, scenario, address, &heard)?;
        }
    }
    if matches!(owner, Owner::StaticAwaited | Owner::StaticGoodbye) {
        (0..scenario.all_operations()).try_for_each(|_| hears.recv())?;
    }
    if owner == Owner::StaticGoodbye {
        GOODBYE.with(|_| {});
    }
    if owner == Owner::Kit {
        CELLS[..scenario.runtimes]
            .iter()
            .try_for_each(|cell| cell.shutdown_blocking(PLENTY).map(drop))?;
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

/// How many threads there are beside this one. `None` where the system does not tell.
fn threads() -> io::Result<Option<usize>> {
    if !cfg!(target_os = "linux") {
        return Ok(None);
    }
    Ok(Some(fs::read_dir("/proc/self/task")?.count().saturating_sub(1)))
}

/// Begins what one client has to do.
fn begin(
    place: Place,
    scenario: &Scenario,
    address: SocketAddr,
    heard: &mpsc::Sender<()>,
) -> TrialResult {
    let client = place.block_on(WatchClient::connect(address))??;
    for _ in 0..scenario.watches {
        let mut watch = place.block_on(client.watch("key"))??;
        place.spawn("watch", |mut told| async move {
            loop {
                tokio::select! {
                    change = watch.next() => if change.is_none() { return },
                    () = &mut told => break,
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
    // With one write, so that it is told whole or not at all.
    let _ = out.write_all(format!("{what}\n").as_bytes()).and_then(|()| out.flush());
}

/// Tells a task that it should end.
type Told = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One of the program's runtimes.
#[derive(Clone, Copy)]
struct Place {
    owner: Owner,
    runtime: usize,
}

static RUNTIMES: [OnceLock<Runtime>; 2] = [const { OnceLock::new() }; 2];

static CELLS: [RuntimeCell; 2] =
    [const { RuntimeCell::new(|| RuntimeOwner::builder("kit").workers(2)) }; 2];

impl Place {
    const fn is_kit(self) -> bool {
        matches!(self.owner, Owner::Kit | Owner::KitForgotten)
    }

    fn of_tokio(self) -> io::Result<&'static Runtime> {
        let place = &RUNTIMES[self.runtime];
        match place.get() {
            Some(runtime) => Ok(runtime),
            None => runtime().map(|runtime| place.get_or_init(|| runtime)),
        }
    }

    fn block_on<F: Future>(self, future: F) -> Result<F::Output, Box<dyn Error>> {
        match self.is_kit() {
            true => Ok(CELLS[self.runtime].get()?.block_on(future)?),
            false => Ok(self.of_tokio()?.block_on(future)),
        }
    }

    /// Has something done that nobody waits for.
    fn spawn<F>(
        self,
        name: &'static str,
        work: impl FnOnce(Told) -> F + Send + 'static,
    ) -> TrialResult
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if self.is_kit() {
            drop(CELLS[self.runtime].get()?.spawn(name, |stop| work(Box::pin(stop)))?);
        } else {
            drop(self.of_tokio()?.spawn(work(Box::pin(std::future::pending()))));
        }
        Ok(())
    }
}

/// Spawns a task to say goodbye, when its thread ends.
struct Goodbye;

thread_local! {
    static GOODBYE: Goodbye = const { Goodbye };
}

impl Drop for Goodbye {
    fn drop(&mut self) {
        drop(tokio::spawn(async {}));
    }
}
