//! 24 faults: how does a logout end when something goes wrong in the middle of it? Each fault comes at
//! each of thirteen moments, and ends as `faults/table.rs` declares. The next start finds the user
//! logged in or logged out, never in between. Page: `docs/src/24-faults.md`.

use std::{
    fs, io,
    path::Path,
    process::{Child, Stdio},
    sync::{Mutex, OnceLock, atomic::AtomicBool},
    time::Instant,
};

use experiments::{
    faults::{
        self, ASKING_DONE, ASKING_NOT_DONE, BEFORE, Case, Disturbance, Limits, MOMENTS, Moment,
        killed::{self, killed},
    },
    prelude::*,
    published::{async_worker, monitor},
    runtime_thread::panic_quietly,
    setting::{LoggedIn, Setting, end, homeserver, managed, next_start, syncs},
    steps::Steps,
};
use lab::FEWEST_TRIALS;
use mock_sdk::{
    app::requests::{Request, WorkerState},
    homeserver::{Endpoint, Fault},
    store::rusqlite::Connection,
};
use state_machine::{
    application::Failure,
    driver::Driver,
    error::{LogoutError, LogoutErrorKind},
    progress::LogoutReport,
    transition::State,
};
use tokio::sync::mpsc::unbounded_channel;

/// A trial takes every fifth moment, and begins one later than the trial before. So five trials, and no run has fewer,
/// take each moment once.
const TRIALS_OF_ALL_MOMENTS: u32 = FEWEST_TRIALS;
const TRIALS_OF_A_MOMENT: u32 = 5;

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("How does a logout end when something goes wrong in the middle of it?")
        .hypothesis(
            "In an end that is declared beforehand, whatever goes wrong and whenever. The next \
             start finds the user logged in with a token that the server knows, or logged out.",
        )
        .variants(faults::all().into_iter().map(at_every_moment))
        .variants([
            cure("not-logged-in", not_logged_in).about("a logout while nobody is logged in"),
            hazard("worker/published/channel-closed", Failed, published_worker)
                .about("the published worker and monitor: a logout closes the request channel"),
            control("worker/published/fails", published_worker)
                .about("the same; the worker fails"),
            control("worker/published/marked", published_worker)
                .about("the later monitor, which looks at the mark of a logout: a logout closes it"),
            hazard("worker/published/stuck-mark", Failed, published_worker)
                .about("the same; the channel is closed by mistake, and a cancelled logout left the mark"),
            cure("worker/fails", worker).about("the mock's worker and monitor; the worker fails"),
            cure("worker/announced", worker)
                .about("the same; the request channel is closed, and that was announced"),
            cure(killed::IN_THE_LOGOUT, killed)
                .about("the process is killed at a random moment of the logout"),
            hazard(killed::WITHOUT_INTENT, seen(Failed).allowing([Clean]), killed)
                .about("the same, and the intent to log out is not on disk")
                .trials(45),
            hazard(killed::UNCOMMITTED, seen(Failed).allowing([Clean]), killed)
                .about("the same, and rows are acknowledged before their commit")
                .trials(45),
        ])
        .part("locker", lock)
        .part(killed::PART, killed::log_out)
        .claim(
            "B7",
            "Closing the request channel at a logout ends the worker, and the monitor reports that as \
             unexpected.",
        )
        .supported_if(
            every("worker/published/channel-closed").observed("reported").always_reads("true")
                & every("worker/published/marked").observed("reported").always_reads("false"),
        )
        .refuted_if(
            every("worker/published/channel-closed").observed("reported").always_reads("false"),
        )
        .finding(
            "B7b",
            "The later monitor looks at the mark of a logout, and says nothing of a worker that ends by \
             mistake while a cancelled logout has left the mark.",
        )
        .supported_if(
            every("worker/published/stuck-mark").observed("reported").always_reads("false")
                & every("worker/published/fails").observed("reported").always_reads("true"),
        )
        .refuted_if(every("worker/published/stuck-mark").observed("reported").always_reads("true"))
        .run()
}

fn at_every_moment(fault: Disturbance) -> Variant {
    let (name, about, limits) = (fault.name, fault.about, fault.limits);
    let variant = cure(name, move |scene| crossed(scene, &fault))
        .about(about)
        .trials(TRIALS_OF_A_MOMENT * TRIALS_OF_ALL_MOMENTS)
        .deadline(Duration::from_secs(90));
    if limits == Limits::AsTheyAre { variant } else { variant.waits() }
}

fn crossed(scene: &Scene<'_>, fault: &Disturbance) -> TrialResult {
    let first = usize::try_from(scene.number() % TRIALS_OF_ALL_MOMENTS)?;
    let moments = (1..).zip(MOMENTS).skip(first).step_by(TRIALS_OF_ALL_MOMENTS as usize);
    for (moment, (name, state)) in moments {
        let directory = scene.directory().join(name);
        fs::create_dir_all(&directory)?;
        let found = one_logout(scene, fault, (moment, name, state), &directory)?;
        scene.record(name, found.as_str());
        let declared = fault.ends.iter().find(|(up_to, _)| moment <= *up_to);
        let (_, expected) = declared.ok_or("a cell without an end")?;
        scene.check(&format!("{name} ends with {expected}, not {found}"), found == *expected);
    }
    Ok(())
}

/// One logout with the fault at one moment, and the next start: how each ended.
fn one_logout(
    scene: &Scene<'_>,
    fault: &Disturbance,
    (moment, name, state): (Moment, &str, State),
    directory: &Path,
) -> TrialResult<String> {
    let locker = (fault.name == "storage/store-locked")
        .then(|| Locker::start(scene, directory))
        .transpose()?;
    let app = LoggedIn::start(directory)?;
    let case = Arc::new(Case {
        server: Arc::clone(&app.server),
        app: Arc::clone(&app.app),
        token: app.token.clone(),
        directory: directory.to_owned(),
        moment,
        driver: OnceLock::new(),
        cancel: Mutex::default(),
    });
    match moment {
        ASKING_DONE => app.server.fail_next(Endpoint::Logout, Fault::reset_mid_body()),
        ASKING_NOT_DONE => app.server.fail_next(Endpoint::Logout, Fault::status(502)),
        _ => {}
    }
    let steps = Steps::of(Arc::clone(&app.app), {
        let (case, disturb) = (Arc::clone(&case), Arc::clone(&fault.disturb));
        move |entered| match entered == state {
            true => disturb(&case).map_err(|error| Failure::from(error.to_string())),
            false => Ok(()),
        }
    });
    let driver = Arc::new(Driver::new(steps, fault.limits.at(moment, app.app.logout_config())));
    let _ = case.driver.set(Arc::downgrade(&driver));
    if moment == BEFORE {
        (fault.disturb)(&case)?;
    }
    let ended = end_of(&block_on(driver.run()));
    scene.check("the mark is gone", !driver.is_running());
    let cancel = case.cancel.lock().map_err(|_| "it is lost")?.take();
    if let Some(cancel) = cancel {
        let told = cancel.join().map_err(|_| "the cancel panicked")?;
        scene.record(&format!("{name}_told"), told);
    }

    // Everything is put in order again.
    app.server.heal();
    app.server.come_back()?;
    (fault.repair)(&case)?;
    drop(locker);
    if driver.is_unfinished() {
        let again = finish(&driver);
        scene.check(&format!("another run completes, not {again}"), again.starts_with("completed"));
    } else if app.server.is_alive(&app.token) && fault.name != "ui/gone" {
        scene.check("a user who is logged in syncs", syncs(&app.server, PLENTY));
    }
    drop((driver, case));
    let (server, token) = (Arc::clone(&app.server), app.token.clone());
    app.end()?;
    Ok(format!("{ended} -> {}", next_start(scene, &server, &token, directory)?))
}

/// Runs the cleanup again, until what was stuck has ended.
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
    let error = match ended {
        Ok(report) if report.warnings.is_empty() => "completed",
        Ok(report) => {
            let failed = report.warnings.iter().map(|warning| format!(" {:?}", warning.effect));
            return format!("completed but{}", failed.collect::<String>());
        }
        Err(error) => match error.kind {
            LogoutErrorKind::AlreadyRunning => "under way",
            LogoutErrorKind::Cancelled => "cancelled",
            LogoutErrorKind::NotReady(_) => "not ready",
            LogoutErrorKind::SyncNotStopped(_) => "sync not stopped",
            LogoutErrorKind::IntentNotRecorded(_) => "intent not recorded",
            LogoutErrorKind::NotSent(_) => "not sent",
            LogoutErrorKind::NotDone(_) => "not done",
            LogoutErrorKind::InDoubt { .. } => "in doubt",
            LogoutErrorKind::RuntimeNotRestarted(_) => "unrecoverable",
            _ => "another error",
        },
    };
    error.to_owned()
}

/// Another process, which locks a store when it is told to, until it is killed.
struct Locker(Child);

impl Locker {
    fn start(scene: &Scene<'_>, directory: &Path) -> TrialResult<Self> {
        let mut part = scene.part("locker")?;
        Ok(Self(part.arg(directory).stdin(Stdio::piped()).spawn()?))
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
    // Until it is killed, or its parent is gone.
    let _ = io::stdin().lines().next();
    Ok(())
}

fn not_logged_in(scene: &Scene<'_>) -> TrialResult {
    let (app, ui) = managed(&homeserver()?, scene.directory())?;
    let driver = Driver::new(Arc::clone(&app), app.logout_config());
    let ended = end_of(&block_on(driver.run()));
    scene.record("ended", ended.as_str());
    scene.check("it says so", ended == "not ready" && !driver.is_running());
    drop(driver);
    end(&app, ui)
}

/// The published worker ends, and the published monitor must report it unless a logout is the reason.
fn published_worker(scene: &Scene<'_>) -> TrialResult {
    let (sender, requests) = unbounded_channel();
    let runtime = runtime()?;
    let worker = runtime.spawn(async_worker(requests));
    // The first monitor has no mark.
    let mark = AtomicBool::new(true);
    let mark = matches!(scene.case(), "marked" | "stuck-mark").then_some(&mark);
    if scene.case() == "fails" {
        sender.send(Request::Run(Box::new(|| Box::pin(async { panic_quietly() }))))?;
    } else {
        drop(sender);
    }
    let reported = runtime.block_on(monitor(worker, mark));
    scene.record("reported", reported.is_some());
    let is_a_failure = matches!(scene.case(), "fails" | "stuck-mark");
    let as_it_should = reported.is_some() == is_a_failure;
    scene.check("what is reported is a failure, and the other way round", as_it_should);
    Ok(())
}

/// A worker ends, and the monitor must report it if, and only if, the worker failed.
fn worker(scene: &Scene<'_>) -> TrialResult {
    let setting = Setting::start(scene.directory(), |_| {})?;
    let fails = scene.variant() == "worker/fails";
    runtime()?.block_on(async {
        setting.log_in().await?;
        let app = &setting.app;
        if fails {
            app.request(Request::Run(Box::new(|| Box::pin(async { panic_quietly() }))))?;
        } else {
            app.expect_worker_end();
            drop(app.globals().request_sender.take());
        }
        let state = app.worker().wait_for(|state| *state != WorkerState::Running).await?.clone();
        let reported = matches!(state, WorkerState::EndedUnexpectedly { .. });
        scene.record("reported", reported);
        scene.check("what is reported is a failure, and the other way round", reported == fails);
        setting.end().await
    })
}
