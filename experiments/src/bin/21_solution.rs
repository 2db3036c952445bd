//! 21 solution: does the state machine remove the panic? Ten rounds of the six steps of experiment 20
//! are clean, with a runtime that is restarted and with one for each login: after each logout no
//! descriptor, no log and no missing row. Page: `docs/src/21-solution.md`.

use std::{collections::BTreeMap, path::Path};

use experiments::{
    prelude::*,
    scene::rows_in,
    setting::{PASSWORD, ROOMS, USER, homeserver, soon},
    story::{
        Change, User, act, config,
        naive::{Build, Way, six_steps},
    },
};
use mock_sdk::{
    app::managed::ManagedApp,
    client::Client,
    store::{residue, rusqlite::Connection},
};
use state_machine::{
    config::RuntimePolicy,
    driver::Driver,
    progress::{LogoutReport, Step},
    transition::{State, progress},
};
use sundown::{evidence::open_files, session::Session};

/// How often a trial goes through the steps, and how many trials of each variant there are: 200 cycles
/// of each policy. On the page there are a thousand, by `--trials 50`.
const CYCLES: u32 = 10;
const TRIALS: u32 = 10;

/// For that many cycles, on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// How many rows the client commits before each logout.
const ROWS: u64 = 5;

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Does the state machine remove the panic?")
        .hypothesis(
            "With a logout that the state machine drives, and handles that a session guards, a \
             user can log in and out any number of times: nothing panics, and after each logout no \
             descriptor is open, no log is left, and no row is lost, whether the runtime is \
             restarted or kept.",
        )
        .variants([
            hazard("*/naive/bare", Aborted, |scene| cell(scene, Way::FirstVersion, None))
                .about("the logout of experiment 20, and a bare client"),
            control("*/naive/bare/no-rooms", |scene| {
                six_steps(scene, &Build::first_version(Change::NoRooms))
            })
            .about("the same, and no room was opened"),
            control("*/machine/bare", |scene| cell(scene, Way::StateMachine, None))
                .about("the published state machine, and a bare client"),
            hazard("*/machine/bare/no-task", Aborted, |scene| {
                cell(scene, Way::StateMachine, None)
            })
            .about("the same in an application in which no task holds the client: no main loop's, and no timeline's"),
            cure("*/naive/session", |scene| in_session(scene, Way::FirstVersion))
                .about("the logout of experiment 20, and handles of a session"),
            cure("*/machine/session", |scene| in_session(scene, Way::StateMachine))
                .about("the published state machine, and handles of a session"),
            cure("*/machine/session/no-task", |scene| in_session(scene, Way::StateMachine))
                .about("the same in an application in which no task holds the client"),
            cure("*/restart", |scene| cycles(scene, RuntimePolicy::Restart))
                .about("the kit's driver and sessions, with one runtime that is restarted")
                .deadline(DEADLINE),
            cure("*/keep", |scene| cycles(scene, RuntimePolicy::Keep))
                .about("the kit's driver and sessions, with a runtime for each login")
                .deadline(DEADLINE),
        ])
        .each(|variant| variant.trials(TRIALS))
        .shows_first("old/restart")
        .claim("A9", "The state machine removes the panic: the six steps are clean with it.")
        .supported_if(every("*/naive/bare").is(Aborted) & every("*/machine/bare").is(Clean))
        .refuted_if(every("*/naive/bare").is(Aborted) & every("*/machine/bare").is(Aborted))
        .finding(
            "A9b",
            "The machine does so only as long as a task of the application holds the client until the \
             runtime goes. Handles of a session remove the panic with either logout.",
        )
        .supported_if(
            every("*/machine/bare/no-task").is(Aborted)
                & every("*/naive/session").is(Clean)
                & every("*/machine/session*").is(Clean),
        )
        .refuted_if(
            every("*/machine/bare/no-task").is(Clean)
                | !every("*/naive/session").is(Clean)
                | !every("*/machine/session*").is(Clean),
        )
        .run()
}

/// The six steps in one of the four cells, without tasks that hold the client where the variant says so.
fn cell(scene: &Scene<'_>, way: Way, session: Option<Session>) -> TrialResult {
    let tasks = scene.case() != "no-task";
    six_steps(scene, &Build { way, change: Change::Nothing, session, main_loop: tasks, tasks })
}

fn in_session(scene: &Scene<'_>, way: Way) -> TrialResult {
    cell(scene, way, Some(Session::new("client")?))
}

fn cycles(scene: &Scene<'_>, policy: RuntimePolicy) -> TrialResult {
    let (trial, server) = (scene.trial, homeserver()?);
    let (managed, event_loop) = ManagedApp::start(config(scene, &server), policy)?;
    let managed = Arc::new(managed);
    act(managed.app(), event_loop, || {
        let mut logouts = Vec::new();
        let mut user = User::new(&server, managed.app());
        let log_in = |user: &User<'_>| user.log_in(managed.log_in(USER, PASSWORD));
        log_in(&user)?;
        for cycle in 1..=CYCLES {
            let log_out = || {
                logouts.push(log_out(&user, &managed)?);
                Ok(())
            };
            user.six_steps(Change::Nothing, log_out, || log_in(&user))?;
            user.be_quiet();
            trial.record("cycles", cycle);
        }
        logouts.push(log_out(&user, &managed)?);
        let _ = managed.runtime().shutdown_blocking(None)?;
        judge(trial, logouts);
        Ok(())
    })
}

/// One logout, and what was found after it.
struct Logout {
    report: LogoutReport,
    before: LeftOver,
    after: LeftOver,
    rows_lost: u64,
    /// A row that is taken away is missed.
    missed: bool,
}

fn log_out(user: &User<'_>, managed: &Arc<ManagedApp>) -> TrialResult<Logout> {
    let client = managed.app().globals().client.get().ok_or("nobody is logged in")?;
    let database = client.store().state.database().to_owned();
    let committed = commit(&client)?;
    drop(client);
    let before = LeftOver::look(managed)?;
    let driver = Driver::new(Arc::clone(managed), managed.logout_config());
    let report = soon("the logout", ManagedApp::log_out(&driver))??;
    for Step { state, spent } in &report.steps {
        user.say(&format!("{} % {state} ({spent:.1?})", progress(*state)));
    }
    user.say(&format!("100 % {} ({:.1?} in all)", State::Completed, report.elapsed));
    let after = LeftOver::look(managed)?;
    let rows_lost = committed.saturating_sub(rows_in(&database)?);
    take_one_away(&database)?;
    let missed = committed.saturating_sub(rows_in(&database)?) == rows_lost + 1;
    Ok(Logout { report, before, after, rows_lost, missed })
}

/// Commits rows, and returns how many there are then.
fn commit(client: &Client) -> TrialResult<u64> {
    let store = &client.store().state;
    Ok(client.runtime().block_on(async {
        for row in 0..ROWS {
            store.append_event(ROOMS[0], format!("row {row}")).await?;
        }
        store.event_count().await
    })?)
}

fn take_one_away(database: &Path) -> TrialResult {
    let newest = "place = (SELECT max(place) FROM events)";
    Connection::open(database)?.execute(&format!("DELETE FROM events WHERE {newest}"), [])?;
    Ok(())
}

/// Descriptors on anything that the application keeps, and databases with a log or its index.
struct LeftOver {
    descriptors: u64,
    logs: u64,
}

impl LeftOver {
    fn look(managed: &ManagedApp) -> TrialResult<Self> {
        let stores = managed.app().files().stores();
        let mut left = Self { descriptors: open_files(&stores)?.len().try_into()?, logs: 0 };
        for login in stores.read_dir()? {
            for store in login?.path().read_dir()? {
                let database = store?.path().join("store.sqlite3");
                left.logs += u64::from(!residue(&database)?.is_none());
            }
        }
        Ok(left)
    }
}

/// Records the worst of the logouts of a trial, and the median of their times.
fn judge(trial: &Trial<'_>, logouts: Vec<Logout>) {
    let worst = |of: fn(&Logout) -> u64| logouts.iter().map(of).max().unwrap_or_default();
    let (descriptors, logs) = (worst(|it| it.after.descriptors), worst(|it| it.after.logs));
    let lost = worst(|it| it.rows_lost);
    let seen_before = logouts.iter().all(|it| it.before.descriptors > 0 && it.before.logs > 0);
    let missed = logouts.iter().all(|it| it.missed);
    trial.record("logouts", logouts.len());
    trial.record("descriptors_left", descriptors);
    trial.record("logs_left", logs);
    trial.record("rows_lost", lost);
    trial.record("seen_before", seen_before);
    trial.record("missed_when_taken", missed);
    trial.check("descriptors and logs are seen while there are some", seen_before);
    trial.check("a row that is taken away is missed", missed);
    trial.check("no descriptor is left", descriptors == 0);
    trial.check("no log is left", logs == 0);
    trial.check("no row is lost", lost == 0);
    let mut spent: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for Logout { report, .. } in logouts {
        for warning in &report.warnings {
            trial.check(&warning.to_string(), false);
        }
        spent.entry("logout".to_owned()).or_default().push(report.elapsed);
        for step in report.steps {
            spent.entry(observation(step.state)).or_default().push(step.spent);
        }
    }
    for (name, mut times) in spent {
        times.sort_unstable();
        let median = times.get((times.len() - 1) / 2).copied().unwrap_or_default();
        trial.record(&name, median);
    }
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
