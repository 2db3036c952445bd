//! The application of the write-up, with its first logout, which panics (experiment 20, and a hazard of
//! 21), or with the state machine that it has published.

use std::{error::Error, thread, time::Duration};

use lab::TrialResult;
use mock_sdk::app::{App, action::Action, global::Global, held::Holding};
use sundown::{evidence::open_files, session::Session};
use tokio::{runtime::Runtime, time::timeout};

use super::{Change, User, act, config};
use crate::{
    PLENTY, Scene,
    published::{self, State},
    runtime,
    setting::{PASSWORD, USER, homeserver},
};

/// The server's limit, as in the write-up.
const SERVER: Duration = Duration::from_secs(5);

/// The application, with its runtime where everybody reaches it.
struct Naive<'a> {
    app: &'a App,
    tokio_runtime: Global<Option<Runtime>>,
    change: Change,
}

/// The logout of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// That of the write-up's first part.
    FirstVersion,
    /// The published state machine.
    StateMachine,
}

/// How the application is built, and who logs out.
#[derive(Clone, Debug)]
pub struct Build {
    /// The logout.
    pub way: Way,
    /// The one thing in which the story differs.
    pub change: Change,
    /// Guards all handles of the client, if there is one.
    pub session: Option<Session>,
    /// Whether the application has a main loop that holds the client.
    pub main_loop: bool,
    /// Whether the client and its timelines have tasks of their own.
    pub tasks: bool,
}

impl Build {
    /// The application of the write-up's first part, with one change.
    #[must_use]
    pub const fn first_version(change: Change) -> Self {
        Self { way: Way::FirstVersion, change, session: None, main_loop: true, tasks: true }
    }
}

/// The six steps. At the end no file of a session is open.
pub fn six_steps(scene: &Scene<'_>, build: &Build) -> TrialResult {
    let (trial, server) = (scene.trial, homeserver()?);
    let mut config = config(scene, &server);
    config.main_loop = build.main_loop && build.change != Change::TasksEnded;
    config.background_tasks = build.tasks && build.change != Change::TasksEnded;
    if let Some(session) = &build.session {
        config.holding = Holding::guarded_by(session);
    }
    let (app, event_loop) = App::new(config);
    let change = build.change;
    let naive = Naive { app: &app, tokio_runtime: Global::default(), change };
    naive.start_matrix_tokio()?;
    let spare = runtime()?;
    let context = (change == Change::InContext).then(|| spare.enter());
    act(&app, event_loop, || {
        let user = User::new(&server, &app).recorded_by(trial);
        naive.log_in(&user)?;
        let log_out = || match build.way {
            Way::FirstVersion => naive.log_out(&user),
            Way::StateMachine => naive.log_out_by_machine(&user),
        };
        user.six_steps(change, log_out, || naive.log_in(&user))?;
        user.say("nothing happened");
        let files = open_files(&app.files().stores_path("0001"))?.len();
        trial.record("old_files_open", files);
        user.say(&format!("{files} files of the old client are open"));
        Ok(())
    })?;
    drop(context);
    // What is left belongs to the second login, and is no part of the story.
    let again = naive.tokio_runtime.take();
    let context = again.as_ref().map(Runtime::enter);
    drop((app.globals().all_joined_rooms.take(), app.globals().sync_service.take()));
    drop(app.globals().client.take());
    drop(context);
    if let Some(session) = &build.session {
        // The main loop and the sync service, which nobody has stopped, go with their runtime.
        drop(again);
        let _ = session.close_blocking(PLENTY)?;
        scene.no_file_is_open()?;
    }
    Ok(())
}

impl Naive<'_> {
    /// Logs in on the runtime, as the application's request worker does.
    fn log_in(&self, user: &User<'_>) -> TrialResult {
        let app = self.app.clone();
        let login = self.tokio_runtime.with(|runtime| {
            let runtime = runtime.as_ref().ok_or("there is no runtime")?;
            Ok::<_, &str>(runtime.spawn(async move { app.log_in(USER, PASSWORD).await }))
        })?;
        user.log_in(async { Ok::<_, Box<dyn Error>>(login.await??) })
    }

    fn start_matrix_tokio(&self) -> TrialResult {
        let started = runtime()?;
        self.app.start_worker(started.handle());
        self.tokio_runtime.replace(Some(started));
        Ok(())
    }

    fn log_out_by_machine(&self, user: &User<'_>) -> TrialResult {
        let client = self.app.globals().client.get().ok_or("no active client found")?;
        let handle = client.runtime().clone();
        drop(client);
        let on_entry = |state: State, _: &published::Flags| user.say(&format!("{state:?}"));
        let mut logout = published::Logout::new(self.app, &self.tokio_runtime);
        logout.on_entry = &on_entry;
        handle.block_on(logout.execute())?;
        self.app.ui().post(Action::LogoutSuccess)?;
        Ok(())
    }

    /// The sequence of the write-up, in its order. What is awaited runs on the runtime, and the rest on
    /// this thread, which is not the user interface's.
    fn log_out(&self, user: &User<'_>) -> TrialResult {
        let globals = self.app.globals();
        user.say("10 %  starting the logout");
        let client = globals.client.get().ok_or("no active client found")?;
        if !client.matrix_auth().logged_in() {
            return Err("the client is not logged in".into());
        }
        let handle = client.runtime().clone();
        let context = handle.enter();

        user.say("20 %  stopping the sync service");
        let service = globals.sync_service.get().ok_or("there is no sync service")?;
        handle.block_on(service.stop());
        drop(service);

        user.say("30 %  logging out from the server");
        let answer =
            handle.block_on(async { timeout(SERVER, client.matrix_auth().logout()).await });
        answer.map_err(|_| "the server did not answer within 5 seconds")??;
        drop(client);

        user.say("50 %  cleaning up client state and caches");
        drop(globals.client.take());
        drop(globals.sync_service.take());
        globals.tombstoned_rooms.take();
        globals.ignored_users.take();
        // This closes the channel, and the worker ends. The monitor calls that unexpected.
        globals.request_sender.take();

        if self.change == Change::OnDesktop {
            user.say("60 %  closing all tabs");
            handle.block_on(self.app.ui().close_all_tabs())?;
        }

        user.say("70 %  deleting the latest user id");
        self.app.files().delete_latest_user_id()?;

        if self.change == Change::RuntimeKept {
            user.say("80 %  keeping the runtime");
        } else {
            let files = open_files(&self.app.files().stores())?.len();
            user.say(&format!("80 %  shutting the runtime down; {files} files are open"));
            let existing = self.tokio_runtime.take();
            drop(context);
            if let Some(existing) = existing {
                let metrics = existing.metrics();
                if self.change == Change::TasksEnded {
                    while metrics.num_alive_tasks() > 0 {
                        thread::yield_now();
                    }
                }
                user.record("tasks_at_shutdown", metrics.num_alive_tasks());
                existing.shutdown_background();
                // It does not wait. A user does, before the next login: chance must not decide who is last.
                while metrics.num_alive_tasks() > 0 {
                    thread::yield_now();
                }
            }
            user.say("90 %  starting it again");
            self.start_matrix_tokio()?;
        }
        self.app.ui().post(Action::LogoutSuccess)?;
        user.say("100 % logged out");
        Ok(())
    }
}
