//! The six steps of Robrix's write-up, for experiments 20, 21 and 25: the user interface is the trial's
//! main thread, as in that application, and the user is a thread beside it.

pub mod naive;

use std::{error::Error, thread};

use lab::{Trial, TrialResult};
use mock_sdk::{
    app::{
        App, AppConfig,
        action::{Action, Mode},
        ui::{EventLoop, Screen, Shown},
    },
    homeserver::{Endpoint, Homeserver},
};

use crate::{
    Scene,
    setting::{ROOMS, open_rooms, soon, synced},
};

/// The one thing in which a variant differs from the six steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// None.
    Nothing,
    /// The user stays on the desktop.
    OnDesktop,
    /// No room is opened.
    NoRooms,
    /// The user interface's thread has entered a runtime.
    InContext,
    /// The runtime is not shut down.
    RuntimeKept,
    /// Every task has ended before the runtime is shut down, and the client had none of its own.
    TasksEnded,
}

/// The settings of an application in the trial's directory.
#[must_use]
pub fn config(scene: &Scene<'_>, server: &Homeserver) -> AppConfig {
    let mut config = crate::setting::config(&server.url(), scene.directory());
    config.generation = scene.generation;
    config
}

/// Runs the event loop on this thread and the user on another, and returns what the user does.
pub fn act(
    app: &App,
    event_loop: EventLoop,
    user: impl FnOnce() -> TrialResult + Send,
) -> TrialResult {
    let ended = thread::scope(|scope| {
        let user = scope.spawn(|| {
            let ended = user().map_err(|error| error.to_string());
            let _ = app.ui().post(Action::Quit);
            ended
        });
        event_loop.run();
        user.join()
    });
    Ok(ended.map_err(|_| "the user's thread panicked")??)
}

/// What a user does with an application, and says on standard error.
#[derive(Debug)]
pub struct User<'a> {
    server: &'a Homeserver,
    app: &'a App,
    trial: Option<&'a Trial<'a>>,
    quiet: bool,
}

impl<'a> User<'a> {
    /// A user in front of a desktop.
    #[must_use]
    pub const fn new(server: &'a Homeserver, app: &'a App) -> Self {
        Self { server, app, trial: None, quiet: false }
    }

    /// A user whose steps a trial records.
    #[must_use]
    pub const fn recorded_by(self, trial: &'a Trial<'a>) -> Self {
        Self { trial: Some(trial), ..self }
    }

    /// The step that the user takes now: the last one that a trial records is the one that it ends in.
    fn step(&self, step: &str) {
        if let Some(trial) = self.trial {
            trial.record("step", step);
        }
    }

    /// Records a number of the user's trial.
    fn record(&self, name: &str, number: usize) {
        if let Some(trial) = self.trial {
            trial.record(name, number);
        }
    }

    /// Says what is being done.
    pub fn say(&self, what: &str) {
        if !self.quiet {
            let place = match self.app.ui().screen().borrow().mode {
                Mode::Desktop => "on the desktop",
                Mode::Mobile => "on the phone",
            };
            eprintln!("{place}: {what}");
        }
    }

    /// Says nothing any more: it would be the same again.
    pub const fn be_quiet(&mut self) {
        self.quiet = true;
    }

    /// Logs in, and waits until the rooms have been synced.
    pub fn log_in<E: Into<Box<dyn Error>>>(
        &self,
        login: impl Future<Output = Result<String, E>>,
    ) -> TrialResult {
        let asked = self.server.count(Endpoint::Sync);
        soon("the login", login)?.map_err(Into::into)?;
        soon("a sync", synced(self.server, asked))?;
        self.say("logged in");
        Ok(())
    }

    /// The steps after the first login: rooms are opened, the window made small, the user logged out,
    /// the window enlarged, and the user logged in again.
    pub fn six_steps(
        &self,
        change: Change,
        log_out: impl FnOnce() -> TrialResult,
        log_in: impl FnOnce() -> TrialResult,
    ) -> TrialResult {
        self.step("opening rooms");
        if change != Change::NoRooms {
            soon("the rooms", open_rooms(self.app))??;
            self.say(&format!("{} rooms are open", ROOMS.len()));
        }
        if change != Change::OnDesktop {
            self.step("switching to the phone");
            let screen = self.switch_to(Mode::Mobile)?;
            self.say(&format!("{} tabs are left, unseen", screen.tabs.len()));
        }
        self.step("logging out");
        log_out()?;
        let screen = self.drawn()?;
        self.record("tabs_left", screen.tabs.len());
        self.record("rooms_cached", screen.cached_rooms);
        if change != Change::OnDesktop {
            self.step("enlarging the window");
            self.switch_to(Mode::Desktop)?;
            self.say("the window is large again");
        }
        self.step("logging in again");
        self.say("logging in again");
        log_in()?;
        // The old tabs are dropped where this is drawn.
        let rooms = |screen: &Screen| matches!(screen.shown, Shown::Rooms { .. });
        self.screen("the rooms", |screen| rooms(screen) && screen.cached_rooms == 0)?;
        self.step("done");
        Ok(())
    }

    fn switch_to(&self, mode: Mode) -> TrialResult<Screen> {
        self.app.ui().post(Action::SetMode(mode))?;
        self.screen("another mode", |screen| screen.mode == mode)
    }

    /// The screen, with all that was posted before. The first frame may have begun earlier.
    fn drawn(&self) -> TrialResult<Screen> {
        let mut screen = self.app.ui().screen();
        soon("a frame", async {
            screen.changed().await?;
            screen.changed().await?;
            Ok(screen.borrow().clone())
        })?
    }

    fn screen(&self, what: &str, is: impl Fn(&Screen) -> bool) -> TrialResult<Screen> {
        let mut screen = self.app.ui().screen();
        let shown = async { screen.wait_for(|screen| is(screen)).await.map(|it| it.clone()) };
        Ok(soon(what, shown)??)
    }
}
