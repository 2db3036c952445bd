//! 25 restart or keep: should a logout restart the runtime, or keep it? The application's upload is
//! dropped half-way by a plain restart, is told to stop by the kit's, and does not notice the logout if
//! each login has a runtime of its own. Page: `docs/src/25-restart-or-keep.md`.

use std::{future::pending, mem, time::Instant};

use experiments::{
    prelude::*,
    probe::{Probe, Responder, probe},
    setting::{PASSWORD, USER, homeserver, log_out_by_hand, open_rooms, soon},
    story::{act, config},
    usage::Usage,
};
use mock_sdk::app::{App, managed::ManagedApp};
use state_machine::{
    config::RuntimePolicy::{self, Keep, Restart},
    driver::Driver,
};
use sundown::Flag;

fn main() -> ExitCode {
    Experiment::new(file!())
        .question("Should a logout restart the runtime, or keep it?")
        .hypothesis(
            "A restart ends everything else on the runtime: without a word in the write-up, and \
             after a signal in the kit. If each login has a runtime of its own, nothing else \
             notices the logout.",
        )
        .variants([
            hazard("plain/restart", Failed, |scene| plain(scene, Restart))
                .about("one Tokio runtime, shut down in the background and started again"),
            control("plain/keep", |scene| plain(scene, Keep))
                .about("a Tokio runtime for each login beside the application's"),
            cure("restart", |scene| managed(scene, Restart))
                .about("the state machine, with one runtime that is restarted"),
            cure("keep", |scene| managed(scene, Keep))
                .about("the state machine, with a runtime for each login"),
        ])
        .claim(
            "B15",
            "Closing the runtime and starting another one is dangerous: it drops a task that has nothing to do \
             with the logout.",
        )
        .supported_if(every("plain/restart").is(Failed) & every("plain/keep").is(Clean))
        .refuted_if(every("plain/restart").is(Clean))
        .run()
}

/// A task that has nothing to do with a login. It can be asked whether it runs, and remembers whether
/// it was told to stop.
struct Upload {
    probe: Probe,
    told: Arc<Flag>,
}

impl Upload {
    fn new() -> (Self, Responder) {
        let (probe, responder) = probe();
        (Self { probe, told: Arc::default() }, responder)
    }

    async fn run(mut responder: Responder, told: Arc<Flag>, stop: impl Future<Output = ()>) {
        tokio::select! {
            () = stop => {
                // Here a real upload would write down how far it has come.
                told.raise();
            }
            () = responder.answer() => {}
        }
    }

    fn look(&self, trial: &Trial<'_>) -> TrialResult {
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

fn plain(scene: &Scene<'_>, policy: RuntimePolicy) -> TrialResult {
    let (trial, server) = (scene.trial, homeserver()?);
    let (app, event_loop) = App::new(config(scene, &server));
    act(&app, event_loop, || {
        let mut apps = runtime()?;
        let (upload, responder) = Upload::new();
        drop(apps.spawn(Upload::run(responder, Arc::clone(&upload.told), pending())));
        let logins = match policy {
            Restart => None,
            Keep => Some(runtime()?),
        };
        let logged_in = logins.as_ref().unwrap_or(&apps);
        app.start_worker(logged_in.handle());
        logged_in.block_on(app.log_in(USER, PASSWORD))?;
        soon("the rooms", open_rooms(&app))??;
        trial.record("threads_logged_in", Usage::now()?.threads);

        let began = Instant::now();
        logged_in.block_on(log_out_by_hand(&app))?;
        match logins {
            Some(logins) => logins.shutdown_background(),
            None => mem::replace(&mut apps, runtime()?).shutdown_background(),
        }
        trial.record("logout", began.elapsed());
        upload.look(trial)
    })
}

fn managed(scene: &Scene<'_>, policy: RuntimePolicy) -> TrialResult {
    let (trial, server) = (scene.trial, homeserver()?);
    let (managed, event_loop) = ManagedApp::start(config(scene, &server), policy)?;
    let managed = Arc::new(managed);
    act(managed.app(), event_loop, || {
        let (upload, responder) = Upload::new();
        let told = Arc::clone(&upload.told);
        drop(managed.runtime().spawn("upload", |stop| Upload::run(responder, told, stop))?);
        soon("the login", managed.log_in(USER, PASSWORD))??;
        soon("the rooms", open_rooms(managed.app()))??;
        trial.record("threads_logged_in", Usage::now()?.threads);

        let driver = Driver::new(Arc::clone(&managed), managed.logout_config());
        let report = soon("the logout", ManagedApp::log_out(&driver))??;
        trial.record("logout", report.elapsed);
        trial.check("the logout has no warnings", report.warnings.is_empty());
        trial.record("starts_of_the_apps_runtime", managed.runtime().stats().generation);
        upload.look(trial)?;

        let began = Instant::now();
        soon("the next login", managed.log_in(USER, PASSWORD))??;
        trial.record("next_login", began.elapsed());
        let _ = soon("the logout", ManagedApp::log_out(&driver))??;
        let _ = managed.runtime().shutdown_blocking(None)?;
        Ok(())
    })
}
