//! A process that is killed in the middle of a logout, for experiment 24.

use std::{
    collections::BTreeSet,
    error::Error,
    fs, hint,
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
    process::Stdio,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use futures::executor::block_on;
use lab::{Trial, TrialResult};
use mock_sdk::{
    app::{AppConfig, managed::ManagedApp},
    homeserver::{Endpoint, Fault},
    store::rusqlite::Connection,
};
use state_machine::{config::RuntimePolicy, driver::Driver, transition::State};

use crate::{
    setting::{PASSWORD, ROOMS, USER, homeserver, next_start},
    steps::Steps,
};

/// How the process that is killed behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// As it should.
    Everything,
    /// It acknowledges rows before it commits them.
    RowsAfterTheirAcknowledgement,
    /// Its intent to log out is not on disk when the request leaves.
    NoIntent,
}

impl Keeping {
    const fn word(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::RowsAfterTheirAcknowledgement => "rows-late",
            Self::NoIntent => "no-intent",
        }
    }
}

/// What the part is called that is killed: [`log_out`].
pub const PART: &str = "logs-out";

/// What the process says when it begins to log out, and when it has.
const LOGGING_OUT: &str = "logging out";
const LOGGED_OUT: &str = "logged out";

/// How long the answer to the logout request is on its way, when the server has done it.
const ON_ITS_WAY: Duration = Duration::from_millis(20);

/// How long a logout takes then, at most, unless the machine is busy; and its first part, where it is
/// for a hazard to be caught.
const LOGOUT_MICROS: u64 = 100_000;
const FIRST_PART_MICROS: u64 = 60_000;

/// For how long the parent watches the clock before it kills.
const AWAKE: Duration = Duration::from_millis(1);

/// Has another process log out, kills it at a random moment, and looks at what the next start finds.
///
/// # Errors
///
/// Where the process cannot be run, or its store not be read.
pub fn killed(trial: &Trial<'_>, keeping: Keeping) -> TrialResult {
    let server = homeserver()?;
    server.fail_always(Endpoint::Logout, Fault::delay(ON_ITS_WAY).done_at_once());
    let until = match keeping {
        Keeping::Everything => LOGOUT_MICROS,
        _ => FIRST_PART_MICROS,
    };
    let moment = Duration::from_micros(trial.random().u64(0..until));
    let mut part = trial.part(PART)?;
    let mut child = part
        .args([&server.url(), keeping.word()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no pipe")?).lines();
    // Not what the server says: when this is scheduled it may have forgotten the token.
    let token = lines.next().ok_or("it has not logged in")??;
    let mut said = Vec::new();
    for line in lines.by_ref() {
        let line = line?;
        if line == LOGGING_OUT {
            break;
        }
        said.push(line);
    }
    // A sleep ends a little late, so the end of it is spent awake.
    let since = Instant::now();
    thread::sleep(moment.saturating_sub(AWAKE));
    while since.elapsed() < moment {
        hint::spin_loop();
    }
    child.kill()?;
    let ended = child.wait()?;
    trial.check("it was killed", ended.code().is_none());
    said.extend(lines.map_while(Result::ok));
    let came_to_its_end = said.iter().any(|line| line == LOGGED_OUT);
    said.retain(|line| line != LOGGED_OUT);

    let stored = rows(trial.directory())?;
    let lost = said.iter().filter(|row| !stored.contains(*row)).count();
    trial.record("rows_acknowledged", said.len());
    trial.record("rows_lost", lost);
    trial.record("had_ended", came_to_its_end);
    trial.check("something was acknowledged", !said.is_empty());
    trial.check("no acknowledged row is lost", lost == 0);
    let found = next_start(trial, &server, &token, trial.directory())?;
    trial.record("next_start", found);
    Ok(())
}

/// What is queued.
fn rows(directory: &Path) -> Result<BTreeSet<String>, Box<dyn Error>> {
    let state = Connection::open(directory.join("stores/0001/state/store.sqlite3"))?;
    let mut query = state.prepare("SELECT body FROM outbox")?;
    let rows = query.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(rows)
}

/// The process that is killed: logs in, queues messages without a pause, and logs out meanwhile. What
/// it queues nobody sends: the server refuses that for now.
///
/// # Errors
///
/// Where it cannot log in or out, and where nobody kills it.
pub fn log_out(arguments: &[String]) -> TrialResult {
    let [server, keeping] = arguments else { return Err("where, and keeping what?".into()) };
    let mut config = AppConfig::new(server, Path::new("."));
    config.connections_per_store = 2;
    config.background_tasks = false;
    config.frame = Duration::from_millis(1);
    let (app, event_loop) = ManagedApp::start(config, RuntimePolicy::Restart)?;
    let (app, _ui) = (Arc::new(app), event_loop.spawn()?);
    block_on(app.log_in(USER, PASSWORD))?;

    let client = app.app().globals().client.get().ok_or("there is no client")?;
    say(&client.access_token().ok_or("there is no token")?);
    let store = client.store().state.clone();
    let acknowledges_first = keeping == Keeping::RowsAfterTheirAcknowledgement.word();
    let (written, writes) = mpsc::channel();
    drop(app.runtime().spawn("rows", move |stop| async move {
        for number in 0_u32.. {
            let row = format!("row {number}");
            if acknowledges_first {
                say(&row);
            }
            if stop.is_raised() || store.enqueue(ROOMS[0], row.clone()).await.is_err() {
                break;
            }
            if !acknowledges_first {
                say(&row);
            }
            let _ = written.send(());
        }
    })?);
    drop(client);
    writes.iter().take(10).for_each(drop);

    let forgetful = keeping == Keeping::NoIntent.word();
    let intent = app.app().files().stores().with_file_name("logout_intent");
    let steps = Steps::of(Arc::clone(&app), move |state| {
        if forgetful && state == State::LoggingOutFromServer {
            fs::remove_file(&intent)?;
        }
        Ok(())
    });
    let driver = Driver::new(steps, app.logout_config());
    say(LOGGING_OUT);
    let ended = block_on(driver.run());
    say(LOGGED_OUT);
    let _ = ended?;
    // It does not leave by itself.
    let _ = io::stdin().lines().next();
    Err("nobody killed it".into())
}

/// One write, so that lines do not mix. Where nobody reads, nobody is promised anything.
fn say(line: &str) {
    let _ = io::stdout().lock().write_all(format!("{line}\n").as_bytes());
}
