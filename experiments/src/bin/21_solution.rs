//! # 21 · solution
//!
//! The six steps of experiment 20 once more, with nothing changed but the logout: the state machine
//! drives it, every handle of the client is guarded by a session, and the runtimes are the kit's.
//! And then again, over and over: each login is the first step of the next round.
//!
//! - `restart`: the application has one runtime, which each logout shuts down and starts anew;
//! - `keep`: each login has a runtime of its own, and the application's stays.
//!
//! After each logout the trial looks from outside: descriptors open on anything the application
//! keeps, write-ahead logs left beside a database, rows that were committed and are not there. A
//! warning of the logout fails the trial, too. The naive logout of experiment 20 runs beside it.

#[expect(dead_code, reason = "an experiment of its own has a main of its own")]
#[path = "20_problem.rs"]
mod problem;

use std::{
    collections::BTreeMap,
    error::Error,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use experiments::{
    each_generation,
    story::{Committed, Failure, LeftOver, User, act, config, log_in, server, soon},
};
use lab::{
    Experiment,
    Outcome::{Aborted, Clean},
    Trial, TrialResult, always, control, cure, every, hazard,
};
use mock_sdk::{
    app::{managed::ManagedApp, ui::Shown},
    store::{Generation, rusqlite::Connection},
};
use state_machine::{
    config::RuntimePolicy,
    driver::Driver,
    progress::{LogoutReport, Step},
    transition::{State, progress},
};

/// How often a trial goes through the steps, and how many trials of each variant there are: 200 cycles
/// of each policy. On the page there are a thousand, by `--trials 50`.
const CYCLES: u32 = 10;
const TRIALS: u32 = 10;

/// For that many cycles, on a machine that has other things to do.
const DEADLINE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("Does the state machine remove the panic?")
        .hypothesis(
            "With a logout that is driven by the state machine, and handles that are guarded by a \
             session, one can log in and out as often as one likes: nothing panics, and after each \
             logout no descriptor is open, no log is left, and no row is lost, whether the runtime \
             is restarted or kept.",
        )
        .variants(
            each_generation(hazard, "naive", always(Aborted), |trial, generation| {
                problem::six_steps(trial, generation, problem::Change::default())
            })
            .about("the logout of experiment 20")
            .trials(TRIALS),
        )
        .variants(
            each_generation(control, "naive/no-rooms", always(Clean), |trial, generation| {
                problem::six_steps(trial, generation, problem::Change::NO_ROOMS)
            })
            .about("the same where no room was opened")
            .trials(TRIALS),
        )
        .variants(long(
            each_generation(cure, "restart", always(Clean), |trial, generation| {
                cycles(trial, generation, RuntimePolicy::Restart)
            })
            .about("the state machine, with one runtime that is restarted"),
        ))
        .variants(long(
            each_generation(cure, "keep", always(Clean), |trial, generation| {
                cycles(trial, generation, RuntimePolicy::Keep)
            })
            .about("the state machine, with a runtime for each login"),
        ))
        .tells("old/restart")
        .claim("A9", "The state machine removes the panic.")
        .supported_if(
            every("*/naive").is(always(Aborted))
                & every("*/restart").is(always(Clean))
                & every("*/keep").is(always(Clean)),
        )
        .refuted_if(!every("*/restart").is(always(Clean)) | !every("*/keep").is(always(Clean)))
        .run()
}

fn long(variants: impl IntoIterator<Item = lab::Variant>) -> impl Iterator<Item = lab::Variant> {
    variants.into_iter().map(|variant| variant.trials(TRIALS).deadline(DEADLINE))
}

fn cycles(trial: &Trial<'_>, generation: Generation, policy: RuntimePolicy) -> TrialResult {
    let server = server().map_err(|failure| failure as Box<dyn Error>)?;
    let (managed, event_loop) = ManagedApp::start(config(trial, &server, generation), policy)?;
    let managed = Arc::new(managed);
    act(managed.app(), event_loop, || {
        let mut found = Found::new();
        let mut user = User::new(&server, managed.app());
        log_in(&user, &managed)?;
        for cycle in 1..=CYCLES {
            six_steps(&mut user, &managed, &mut found)?;
            user.be_quiet();
            trial.record("cycles", cycle);
        }
        log_out(&user, &managed, &mut found)?;
        let _ = managed.runtime().shutdown_blocking(None)?;
        found.tell(trial);
        Ok(())
    })
}

/// One cycle: from a login to the next.
fn six_steps(
    user: &mut User<'_>,
    managed: &Arc<ManagedApp>,
    found: &mut Found,
) -> Result<(), Failure> {
    user.open_rooms()?;
    user.switch_to_phone()?;
    log_out(user, managed, found)?;
    user.switch_to_desktop()?;
    user.say("logging in again");
    log_in(user, managed)?;
    let rooms = |shown: &Shown| matches!(shown, Shown::Rooms { .. });
    user.screen("the rooms", |screen| rooms(&screen.shown) && screen.cached_rooms == 0)?;
    Ok(())
}

/// The logout, and a look at what is left.
fn log_out(user: &User<'_>, managed: &Arc<ManagedApp>, found: &mut Found) -> Result<(), Failure> {
    let committed = {
        let client = managed.app().globals().client.get().ok_or("nobody is logged in")?;
        Committed::by(&client)?
    };
    // What is looked for afterwards is there to be seen before.
    let LeftOver { descriptors, logs } = LeftOver::look(managed.app())?;
    found.seen_before &= descriptors > 0 && logs > 0;
    let driver = Driver::new(Arc::clone(managed), managed.logout_config());
    let report = soon("the logout", ManagedApp::log_out(&driver))??;
    for Step { state, spent } in &report.steps {
        user.say(&format!("{} % {state} ({spent:.1?})", progress(*state)));
    }
    user.say(&format!("100 % {} ({:.1?} in all)", State::Completed, report.elapsed));
    found.look(&report, &committed, managed)
}

/// What was found after the logouts of a trial: of each number, the largest.
struct Found {
    /// Before each logout there were descriptors and logs to be seen.
    seen_before: bool,
    /// A row that is taken away is missed.
    missed: bool,
    left: LeftOver,
    rows_lost: u64,
    warnings: Vec<String>,
    in_all: Vec<Duration>,
    by_state: BTreeMap<String, Vec<Duration>>,
}

impl Found {
    const fn new() -> Self {
        Self {
            seen_before: true,
            missed: true,
            left: LeftOver { descriptors: 0, logs: 0 },
            rows_lost: 0,
            warnings: Vec::new(),
            in_all: Vec::new(),
            by_state: BTreeMap::new(),
        }
    }

    fn look(
        &mut self,
        report: &LogoutReport,
        committed: &Committed,
        managed: &ManagedApp,
    ) -> Result<(), Failure> {
        let LeftOver { descriptors, logs } = LeftOver::look(managed.app())?;
        self.left.descriptors = self.left.descriptors.max(descriptors);
        self.left.logs = self.left.logs.max(logs);
        let lost = committed.lost()?;
        self.rows_lost = self.rows_lost.max(lost);
        let database = newest(&managed.app().files().stores())?.join("state/store.sqlite3");
        let place = "place = (SELECT max(place) FROM events)";
        let taken = Connection::open(&database)?
            .execute(&format!("DELETE FROM events WHERE {place}"), [])?;
        self.missed &= taken == 1 && committed.lost()? == lost + 1;
        self.warnings.extend(report.warnings.iter().map(ToString::to_string));
        self.in_all.push(report.elapsed);
        for step in &report.steps {
            self.by_state.entry(observation(step.state)).or_default().push(step.spent);
        }
        Ok(())
    }

    fn tell(self, trial: &Trial<'_>) {
        trial.record("logouts", self.in_all.len());
        trial.record("descriptors_left", self.left.descriptors);
        trial.record("logs_left", self.left.logs);
        trial.record("rows_lost", self.rows_lost);
        trial.record("logout", median(self.in_all));
        for (state, spent) in self.by_state {
            trial.record(&state, median(spent));
        }
        trial.record("seen_before", self.seen_before);
        trial.record("missed_when_taken", self.missed);
        trial.check("descriptors and logs are seen while there are some", self.seen_before);
        trial.check("a row that is taken away is missed", self.missed);
        trial.check("no descriptor is left", self.left.descriptors == 0);
        trial.check("no log is left", self.left.logs == 0);
        trial.check("no row is lost", self.rows_lost == 0);
        for warning in &self.warnings {
            trial.check(warning, false);
        }
    }
}

/// The stores of the newest login.
fn newest(stores: &Path) -> Result<PathBuf, Failure> {
    let mut logins = Vec::new();
    for login in stores.read_dir()? {
        logins.push(login?.path());
    }
    Ok(logins.into_iter().max().ok_or("there are no stores")?)
}

/// `in_closing_session`.
fn observation(state: State) -> String {
    format!("{state:?}").chars().fold(String::from("in"), |mut name, letter| {
        if letter.is_uppercase() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
        name
    })
}

fn median(mut spent: Vec<Duration>) -> Duration {
    spent.sort_unstable();
    spent.get(spent.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}
