//! # 25 · restart or keep
//!
//! The write-up of Robrix's logout calls the restart of the runtime the most dangerous operation of
//! all, and does it: what the client has left on the runtime ends with it. There is another way to
//! that: give each login a runtime of its own, and leave the application's alone. The logout by the
//! state machine can do either. What does each cost, and who pays?
//!
//! An application has a task that has nothing to do with anybody's login, an upload say. Somebody
//! logs in, opens rooms, logs out, and logs in again. What has become of the upload?
//!
//! - `plain/restart`: one runtime, shut down by `shutdown_background` and started again, as in the
//!   write-up; the client has been asked to end before that, so that nothing panics;
//! - `plain/keep`: the same with a runtime for each login;
//! - `restart`, `keep`: the state machine, with either policy.
//!
//! A trial fails where the upload was dropped half-way without having been told.

#[expect(dead_code, reason = "an experiment of its own has a main of its own")]
#[path = "26_relogin_churn.rs"]
mod churn;

use std::{error::Error, fs, future::pending, process::ExitCode, sync::Arc, time::Instant};

use churn::{log_out_by_hand, open_rooms};
use experiments::{
    probe::{Probe, Responder, probe},
    runtime,
    story::{Failure, act, config, server, soon},
};
use lab::{
    Experiment,
    Outcome::{Clean, Failed},
    Trial, TrialResult, always, control, cure, hazard,
};
use mock_sdk::{
    app::{App, managed::ManagedApp},
    store::Generation,
};
use state_machine::{config::RuntimePolicy, driver::Driver};
use sundown::flag::Flag;

fn main() -> ExitCode {
    Experiment::new(env!("CARGO_BIN_NAME"))
        .question("Should a logout restart the runtime, or keep it?")
        .hypothesis(
            "A restart ends everything else on the runtime: without a word as the write-up does it, \
             and told so by the kit. Where each login has a runtime of its own nothing else notices \
             the logout. That costs some threads while somebody is logged in.",
        )
        .variant(
            hazard("plain/restart", always(Failed), |trial| plain(trial, RuntimePolicy::Restart))
                .about("one Tokio runtime, shut down in the background and started again"),
        )
        .variant(
            control("plain/keep", always(Clean), |trial| plain(trial, RuntimePolicy::Keep))
                .about("a Tokio runtime for each login beside the application's"),
        )
        .variant(
            cure("restart", always(Clean), |trial| managed(trial, RuntimePolicy::Restart))
                .about("the state machine, with one runtime that is restarted"),
        )
        .variant(
            cure("keep", always(Clean), |trial| managed(trial, RuntimePolicy::Keep))
                .about("the state machine, with a runtime for each login"),
        )
        .run()
}

/// The task that has nothing to do with a login. It can be asked whether it runs, and remembers
/// whether it was told to stop.
struct Upload {
    probe: Probe,
    told: Arc<Flag>,
}

impl Upload {
    fn new() -> (Self, impl FnOnce() -> (Responder, Arc<Flag>)) {
        let (probe, responder) = probe();
        let told = Arc::new(Flag::new());
        let for_task = Arc::clone(&told);
        (Self { probe, told }, move || (responder, for_task))
    }

    async fn run(mut responder: Responder, told: Arc<Flag>, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {
                // Here a real one would write down how far it has come.
                told.raise();
            }
            () = responder.answer() => {}
        }
    }

    fn look(&self, trial: &Trial<'_>) -> Result<(), Failure> {
        let fate = if soon("the upload", self.probe.is_running())? {
            "runs on"
        } else if self.told.is_raised() {
            "told to stop"
        } else {
            "dropped"
        };
        trial.record("upload", fate);
        trial.check("the upload runs on, or was told to stop", fate != "dropped");
        Ok(())
    }
}

fn plain(trial: &Trial<'_>, policy: RuntimePolicy) -> TrialResult {
    let server = server().map_err(|failure| failure as Box<dyn Error>)?;
    let (app, event_loop) = App::new(config(trial, &server, Generation::Current));
    act(&app, event_loop, || {
        let mut apps = runtime()?;
        let (upload, parts) = Upload::new();
        let (responder, told) = parts();
        drop(apps.spawn(Upload::run(responder, told, pending())));
        let sessions = match policy {
            RuntimePolicy::Restart => None,
            RuntimePolicy::Keep => Some(runtime()?),
        };
        let logged_in = sessions.as_ref().unwrap_or(&apps);
        app.start_worker(logged_in.handle());
        logged_in.block_on(app.log_in("me", "secret"))?;
        open_rooms(&app)?;
        trial.record("threads_logged_in", threads()?);

        let began = Instant::now();
        log_out_by_hand(&app, logged_in)?;
        match sessions {
            Some(sessions) => sessions.shutdown_background(),
            None => std::mem::replace(&mut apps, runtime()?).shutdown_background(),
        }
        trial.record("logout", began.elapsed());
        upload.look(trial)
    })
}

fn managed(trial: &Trial<'_>, policy: RuntimePolicy) -> TrialResult {
    let server = server().map_err(|failure| failure as Box<dyn Error>)?;
    let config = config(trial, &server, Generation::Current);
    let (managed, event_loop) = ManagedApp::start(config, policy)?;
    let managed = Arc::new(managed);
    act(managed.app(), event_loop, || {
        let (upload, parts) = Upload::new();
        let (responder, told) = parts();
        drop(managed.runtime().spawn("upload", |stop| Upload::run(responder, told, stop))?);
        soon("the login", managed.log_in("me", "secret"))??;
        open_rooms(managed.app())?;
        trial.record("threads_logged_in", threads()?);

        let driver = Driver::new(Arc::clone(&managed), managed.logout_config());
        let report = soon("the logout", ManagedApp::log_out(&driver))??;
        trial.record("logout", report.elapsed);
        trial.check("the logout has no warnings", report.warnings.is_empty());
        trial.record("starts_of_the_apps_runtime", managed.runtime().stats().generation);
        upload.look(trial)?;

        let began = Instant::now();
        soon("the next login", managed.log_in("me", "secret"))??;
        trial.record("next_login", began.elapsed());
        let _ = soon("the logout", ManagedApp::log_out(&driver))??;
        let _ = managed.runtime().shutdown_blocking(None)?;
        Ok(())
    })
}

fn threads() -> Result<usize, Failure> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}
