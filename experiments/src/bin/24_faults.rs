//! # 24 · faults
//!
//! A logout has thirteen moments at which something can go wrong, and a server, a user interface, a
//! disk and a user who do it. Here all of them are crossed: each variant is one fault, and one trial of
//! it is thirteen logouts of a real application at a real server, with the fault at each moment in
//! turn: before the logout, in each state of the machine, and, because that state is only reached
//! where an answer was lost, twice in the one that asks the server (of a logout that was done, and of
//! one that was not). A fault that has come stays until the logout has ended.
//!
//! What is recorded, under the moment's name, is how the run ended, an arrow, and where the *next
//! start* of the application came out, with the server in order again: `logged in`, which is checked
//! to be with a token that the server knows and a sync service that runs, or `logged out`, checked to
//! be with a token that it does not know and nobody to log in. There is no third. That is the table of
//! end states. Each cell is declared beside its fault; a trial in which one comes out differently fails.
//!
//! Besides:
//!
//! - **`worker/…`** is about the request channel (claim B7). Closing it ends the worker, and the
//!   monitor reports that as unexpected, unless it was announced. A worker that fails is reported.
//! - **`not-logged-in`**: there is nobody to log out.
//! - **`killed/…`**: the process is killed, with SIGKILL, at a random moment of the logout, while it
//!   queues messages that it acknowledges to the parent. The next start is neither in between, nor is
//!   an acknowledged row lost. There are two hazards beside it, each of which must be caught: a process
//!   that acknowledges before it commits, and one that does not write down its intent to log out.
//!
//! The hazards of `killed` are races with a signal. Each has 45 trials: a run that misses one is a
//! one-in-a-million event even if only three trials in ten show it.

use std::{
    error::Error,
    fs,
    path::Path,
    process::{Child, ExitCode, Stdio},
    sync::{Arc, Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

use experiments::{
    faults::{self, Case, Disturbance, Limits, Moment},
    killed::{self, Keeping},
    runtime,
    runtime_thread::panic_quietly,
    setting::{LoggedIn, PLENTY, Setting, end, homeserver, managed, next_start},
    steps::Steps,
};
use futures::executor::block_on;
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    Trial, TrialResult, Variant, always, control, cure, every, hazard, seen,
};
use mock_sdk::{
    app::{
        App,
        requests::{Request, WorkerState},
    },
    homeserver::{Endpoint, Fault},
    store::rusqlite::Connection,
};
use state_machine::{
    application::Failure,
    driver::Driver,
    error::{LogoutError, RecoverableError},
    progress::LogoutReport,
};

fn main() -> ExitCode {
    let table = faults::all().into_iter().map(|fault| -> Variant {
        let (name, about) = (fault.name, fault.about);
        let waits = fault.limits != Limits::AsTheyAre;
        let variant = cure(name, always(Clean), move |trial| crossed(trial, &fault))
            .about(about)
            .trials(5)
            .deadline(Duration::from_secs(90));
        if waits { variant.waits() } else { variant }
    });
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("How does a logout end when something goes wrong in the middle of it?")
        .hypothesis(
            "In an end that is declared beforehand, whatever goes wrong and whenever; and the next \
             start finds the user logged in with a token that the server knows, or logged out.",
        )
        .variants(table)
        .variant(
            cure("not-logged-in", always(Clean), not_logged_in)
                .about("a logout while nobody is logged in"),
        )
        .variant(
            hazard("worker/channel-closed", always(Failed), |trial| {
                worker(trial, WorkerEnds::ChannelClosed)
            })
            .about("the request channel is closed, as in the write-up"),
        )
        .variant(
            control("worker/fails", always(Clean), |trial| worker(trial, WorkerEnds::Fails))
                .about("the worker fails"),
        )
        .variant(
            cure("worker/announced", always(Clean), |trial| worker(trial, WorkerEnds::Announced))
                .about("the request channel is closed, which was announced"),
        )
        .variant(
            cure("killed/in-the-logout", always(Clean), |trial| killed::killed(trial, Keeping::Everything))
                .about("the process is killed at a random moment of the logout")
                .trials(20),
        )
        .variant(
            hazard("killed/without-intent", seen(Failed).allowing([Clean]), |trial| {
                killed::killed(trial, Keeping::NoIntent)
            })
            .about("the same, and the intent to log out is not on disk")
            .trials(45),
        )
        .variant(
            hazard("killed/uncommitted", seen(Failed).allowing([Clean]), |trial| {
                killed::killed(trial, Keeping::RowsAfterTheirAcknowledgement)
            })
            .about("the same, and rows are acknowledged before their commit")
            .trials(45),
        )
        .part("locker", lock)
        .part(killed::PART, killed::log_out)
        .claim(
            "B6",
            "An invalidated token counts as logged out; before the point of no return everything can \
             be undone.",
        )
        .supported_if(
            every("server/token-invalidated").is(always(Clean))
                & every("server/refuses-once").is(always(Clean))
                & every("user/cancels").is(always(Clean)),
        )
        .refuted_if(
            !every("server/token-invalidated").is(always(Clean))
                | !every("server/refuses-once").is(always(Clean))
                | !every("user/cancels").is(always(Clean)),
        )
        .claim(
            "B7",
            "Closing the request channel ends the worker, and the monitor reports it as unexpected.",
        )
        .supported_if(
            every("worker/channel-closed").observed("reported").always_reads("true")
                & every("worker/announced").observed("reported").always_reads("false")
                & every("worker/fails").observed("reported").always_reads("true"),
        )
        .refuted_if(every("worker/channel-closed").observed("reported").always_reads("false"))
        .run()
}

/// Every moment of one fault.
fn crossed(trial: &Trial<'_>, fault: &Disturbance) -> TrialResult {
    for (moment, name) in Moment::ALL {
        let directory = trial.directory().join(name);
        fs::create_dir_all(&directory)?;
        let locker = (fault.name == "storage/store-locked")
            .then(|| Locker::start(trial, &directory))
            .transpose()?;
        let found = one_logout(trial, fault, (moment, name), &directory, locker)?;
        trial.record(name, found.as_str());
        let declared = fault.ends.iter().find(|(up_to, _)| moment <= *up_to);
        let expected = declared.map(|(_, end)| *end).ok_or("a cell without an end")?;
        trial.check(&format!("{name} ends with {expected}, not {found}"), found == expected);
    }
    Ok(())
}

fn one_logout(
    trial: &Trial<'_>,
    fault: &Disturbance,
    (moment, name): (Moment, &str),
    directory: &Path,
    locker: Option<Locker>,
) -> Result<String, Box<dyn Error>> {
    let app = LoggedIn::start(&Arc::new(homeserver()?), directory)?;
    let case = Arc::new(Case {
        server: Arc::clone(&app.server),
        app: Arc::clone(&app.app),
        token: app.token.clone(),
        directory: directory.to_owned(),
        moment,
        driver: OnceLock::new(),
        cancelling: Mutex::default(),
        seen: Mutex::default(),
    });
    match moment {
        Moment::AskingDone => app.server.fail_next(Endpoint::Logout, Fault::reset_mid_body()),
        Moment::AskingNotDone => app.server.fail_next(Endpoint::Logout, Fault::status(502)),
        _ => {}
    }
    let steps = Steps::of(Arc::clone(&app.app), {
        let (case, disturb) = (Arc::clone(&case), fault.disturb);
        move |state| match state == moment.state() {
            true => disturb(&case).map_err(|error| Failure::from(error.to_string())),
            false => Ok(()),
        }
    });
    let limits = fault.limits.at(moment, app.app.logout_config());
    let driver = Arc::new(Driver::new(steps, limits));
    let _ = case.driver.set(Arc::downgrade(&driver));
    if moment == Moment::Before {
        (fault.disturb)(&case)?;
    }
    let ended = end_of(&block_on(driver.run()));
    trial.check("the mark is gone", !driver.is_running());
    let cancelling = case.cancelling.lock().ok().and_then(|mut cancelling| cancelling.take());
    if let Some(cancelling) = cancelling {
        case.note(cancelling.join().map_err(|_| "the cancel panicked")?);
    }
    for note in case.seen.lock().map(|seen| seen.clone()).unwrap_or_default() {
        trial.record(&format!("{name}_told"), note.as_str());
        trial.check("nothing was allowed that must not be", !note.contains("not refused"));
    }

    // Everything is in order again.
    app.server.heal();
    app.server.come_back()?;
    if fault.name == "server/does-it-too-late" && moment <= Moment::LoggingOut {
        block_on(app.server.until(|server| !server.is_alive(&app.token)));
    }
    if fault.name == "server/never-answers" {
        // Whoever still waits for an answer is told that there will be none.
        app.server.go_down();
        app.server.come_back()?;
    }
    let user_id = app.app.app().files().latest_user_id_path();
    if user_id.is_dir() {
        fs::remove_dir_all(&user_id)?;
        fs::rename(user_id.with_extension("kept"), &user_id)?;
    }
    drop(locker);
    if driver.is_unfinished() {
        // What was stuck can end now, and another run finishes the cleanup.
        let again = finish(&driver);
        trial.check(&format!("another run completes, not {again}"), again.starts_with("completed"));
    } else if app.server.is_alive(&app.token) && fault.name != "ui/gone" {
        trial.check("who is logged in syncs", app.syncs());
    }
    drop(driver);
    drop(case);
    let (server, token) = (Arc::clone(&app.server), app.token.clone());
    app.end()?;
    Ok(format!("{ended} -> {}", next_start(trial, &server, &token, directory)?))
}

/// Runs the cleanup again, until what had been stuck has ended.
fn finish(driver: &Driver<Steps>) -> String {
    let began = Instant::now();
    loop {
        let ended = end_of(&block_on(driver.run()));
        if !driver.is_unfinished() || began.elapsed() > PLENTY {
            return ended;
        }
    }
}

/// One or two words for an end.
fn end_of(ended: &Result<LogoutReport, LogoutError>) -> String {
    match ended {
        Ok(report) if report.warnings.is_empty() => "completed".to_owned(),
        Ok(report) => {
            report.warnings.iter().fold("completed but".to_owned(), |mut all, warning| {
                all.push_str(&format!(" {:?}", warning.effect));
                all
            })
        }
        Err(LogoutError::Recoverable { cause, .. }) => match cause {
            RecoverableError::AlreadyRunning => "under way",
            RecoverableError::Cancelled => "cancelled",
            RecoverableError::NotReady(_) => "not ready",
            RecoverableError::SyncNotStopped(_) => "sync not stopped",
            RecoverableError::IntentNotRecorded(_) => "intent not recorded",
            RecoverableError::NotSent(_) => "not sent",
            RecoverableError::NotDone(_) => "not done",
            RecoverableError::InDoubt { .. } => "in doubt",
            _ => "another error",
        }
        .to_owned(),
        Err(_) => "unrecoverable".to_owned(),
    }
}

/// Another process, which locks a store when it is told to, until it is killed.
struct Locker(Child);

impl Locker {
    fn start(trial: &Trial<'_>, directory: &Path) -> Result<Self, Box<dyn Error>> {
        let mut part = trial.part("locker")?;
        let child = part.arg(directory).stdin(Stdio::piped()).spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Locker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lock(arguments: &[String]) -> TrialResult {
    let [directory] = arguments else { return Err("in which directory?".into()) };
    let directory = Path::new(directory);
    while !directory.join("lock").exists() {
        thread::sleep(Duration::from_millis(1));
    }
    let lock = Connection::open(directory.join("stores/0001/state/store.sqlite3"))?;
    lock.busy_timeout(PLENTY)?;
    lock.execute_batch("BEGIN EXCLUSIVE")?;
    fs::write(directory.join("locked"), "")?;
    // Until it is killed, or whoever started it is gone.
    let _ = std::io::stdin().lines().next();
    Ok(())
}

fn not_logged_in(trial: &Trial<'_>) -> TrialResult {
    let (app, ui) = managed(&homeserver()?, trial.directory())?;
    let driver = Driver::new(Arc::clone(&app), app.logout_config());
    let ended = end_of(&block_on(driver.run()));
    trial.record("ended", ended.as_str());
    trial.check("it says so", ended == "not ready" && !driver.is_running());
    drop(driver);
    end(app, ui)
}

/// How a worker comes to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WorkerEnds {
    ChannelClosed,
    Announced,
    Fails,
}

fn worker(trial: &Trial<'_>, how: WorkerEnds) -> TrialResult {
    let setting = Setting::start(trial.directory(), |_| {})?;
    runtime()?.block_on(async {
        setting.log_in().await?;
        let app: &App = &setting.app;
        match how {
            WorkerEnds::ChannelClosed => drop(app.globals().request_sender.take()),
            WorkerEnds::Announced => {
                app.expect_worker_end();
                drop(app.globals().request_sender.take());
            }
            WorkerEnds::Fails => {
                app.request(Request::Run(Box::new(|| Box::pin(async { panic_quietly() }))))?;
            }
        }
        let state = app.worker().wait_for(|state| *state != WorkerState::Running).await?.clone();
        let reported = matches!(state, WorkerState::EndedUnexpectedly { .. });
        trial.record("reported", reported);
        let failed = how == WorkerEnds::Fails;
        trial.check("what is reported is a failure, and the other way round", reported == failed);
        setting.end().await
    })
}
