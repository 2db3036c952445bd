//! Experiment 09, held open for tokio-console: what is left when the shutdown of a runtime returns?
//!
//! `cargo xtask console 09` builds and runs this. A task awaits the store, whose only owner it is, and
//! a query works for it, as in the experiment. After a while the runtime is shut down. Then the process
//! stays as it is until its time is up, until Ctrl-C, or until its input ends, which is that of the
//! command. Only then is the query released.

#[cfg(not(tokio_unstable))]
compile_error!(
    "Tokio serves a console only with `--cfg tokio_unstable`: run `cargo xtask console 09`"
);

use std::{
    env,
    error::Error,
    io,
    process::ExitCode,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use experiments::{
    CONNECTIONS, generation_named,
    query::{QUERY, TOO_SHORT, UNTIL_RELEASED, query},
};
use lab::interrupt::{self, Interrupt};
use mock_sdk::store::Store;
use sundown::{evidence::open_files, flag::Flag};
use tokio::runtime::Runtime;

/// How often to check whether to end.
const TICK: Duration = Duration::from_millis(50);

/// A way to shut down: what it is called, how long the query takes, and what is done.
type Method = (&'static str, Duration, fn(Runtime));

const METHODS: [Method; 3] = [
    ("background", UNTIL_RELEASED, Runtime::shutdown_background),
    ("timeout-too-short", UNTIL_RELEASED, |runtime| runtime.shutdown_timeout(TOO_SHORT)),
    // It waits for the query, which must therefore end by itself.
    ("drop", QUERY, drop),
];

/// What to watch.
struct Watched {
    generation: String,
    method: Method,
    port: u16,
    /// From the start of the query until the shutdown.
    before: Duration,
    /// From the shutdown until the end; `None` means no limit.
    after: Option<Duration>,
}

impl Watched {
    /// From `old/background 6669 10000 30000`: variant, port, and two times in milliseconds. The last
    /// may be `-`.
    fn from_arguments() -> Option<Self> {
        let mut arguments = env::args().skip(1);
        let variant = arguments.next()?;
        let (generation, method) = variant.split_once('/')?;
        let method = METHODS.into_iter().find(|(name, ..)| *name == method)?;
        let port = arguments.next()?.parse().ok()?;
        let milliseconds = |text: String| text.parse().ok().map(Duration::from_millis);
        let before = arguments.next().and_then(milliseconds)?;
        let after = arguments.next().and_then(milliseconds);
        let generation = generation_named(generation).is_ok().then(|| generation.to_owned())?;
        Some(Self { generation, method, port, before, after })
    }
}

fn main() -> ExitCode {
    let Some(watched) = Watched::from_arguments() else {
        let methods = METHODS.map(|(name, ..)| name).join(", ");
        eprintln!(
            "error: there is no such variant; there are old/… and current/…, each of: {methods}"
        );
        return ExitCode::from(2);
    };
    match watch(&watched) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn watch(watched: &Watched) -> Result<ExitCode, Box<dyn Error>> {
    let Watched { generation, method: (name, takes, shut_down), port, before, after } = watched;
    let interrupted = Interrupted { interrupt: Interrupt::install()?, input_ended: Arc::default() };
    thread::spawn({
        let input_ended = Arc::clone(&interrupted.input_ended);
        move || {
            // Nothing comes as long as the command that started this is there.
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            input_ended.raise();
        }
    });
    // Before the first task: the console does not see tasks that were spawned earlier.
    console_subscriber::ConsoleLayer::builder().server_addr(([127, 0, 0, 1], *port)).init();

    let directory = tempfile::tempdir()?;
    let runtime = experiments::runtime()?;
    let store = Store::open(directory.path(), generation_named(generation)?, CONNECTIONS);
    let store = Arc::new(runtime.block_on(store)?);
    let (task, query) = query(store, *takes);
    let spawn = tokio::task::Builder::new().name("owner of the store");
    drop(spawn.spawn_on(task, runtime.handle())?);
    query.wait_started()?;
    let metrics = runtime.metrics();

    eprintln!("The query runs. Look at it: tokio-console http://127.0.0.1:{port}");
    eprintln!("The runtime is shut down ({generation}/{name}) in {before:.0?}.");
    let mut ended = interrupted.within(Some(*before));
    if !ended {
        shut_down(runtime);
        eprintln!(
            "The shutdown has returned.\n\
             Query running: {}; files open: {}; tasks that Tokio counts: {}.",
            query.is_running(),
            open_files(directory.path())?.len(),
            metrics.num_alive_tasks(),
        );
        match after {
            Some(after) => eprintln!("Held open for {after:.0?}, or until Ctrl-C."),
            None => eprintln!("Held open until Ctrl-C."),
        }
        ended = interrupted.within(*after);
    }
    query.end();
    Ok(if ended { ExitCode::from(interrupt::EXIT_CODE) } else { ExitCode::SUCCESS })
}

/// What ends it before its time.
struct Interrupted {
    interrupt: Interrupt,
    input_ended: Arc<Flag>,
}

impl Interrupted {
    /// Waits this long. Returns whether something interrupted the wait.
    fn within(&self, time: Option<Duration>) -> bool {
        let began = Instant::now();
        while time.is_none_or(|time| began.elapsed() < time) {
            if self.interrupt.raised() || self.input_ended.is_raised() {
                return true;
            }
            thread::sleep(TICK);
        }
        false
    }
}
