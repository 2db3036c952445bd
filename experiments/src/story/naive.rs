//! The application and the logout of the write-up, which panics: experiment 20, and the hazard of 21.

use std::{error::Error, time::Duration};

use lab::TrialResult;
use mock_sdk::app::{App, action::Action, global::Global};
use sundown::evidence::open_files;
use tokio::{runtime::Runtime, time::timeout};

use super::{Change, User, act, config};
use crate::{
    Scene, runtime,
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

/// The six steps, with one change, in the application of the write-up.
pub fn six_steps(scene: &Scene<'_>, change: Change) -> TrialResult {
    let (trial, server) = (scene.trial, homeserver()?);
    let (app, event_loop) = App::new(config(scene, &server));
    let naive = Naive { app: &app, tokio_runtime: Global::default(), change };
    naive.start_matrix_tokio()?;
    let spare = runtime()?;
    let context = (change == Change::InContext).then(|| spare.enter());
    act(&app, event_loop, || {
        let user = User::new(&server, &app);
        naive.log_in(&user)?;
        user.six_steps(change, || naive.log_out(&user), || naive.log_in(&user))?;
        user.say("nothing happened");
        let files = open_files(&app.files().stores_path("0001"))?.len();
        trial.record("old_files_open", files);
        user.say(&format!("{files} files of the old client are open"));
        Ok(())
    })?;
    drop(context);
    // What is left belongs to the second login, and is no part of the story.
    let again = naive.tokio_runtime.take();
    let _context = again.as_ref().map(Runtime::enter);
    drop((app.globals().all_joined_rooms.take(), app.globals().sync_service.take()));
    drop(app.globals().client.take());
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
                existing.shutdown_background();
            }
            user.say("90 %  starting it again");
            self.start_matrix_tokio()?;
        }
        self.app.ui().post(Action::LogoutSuccess)?;
        user.say("100 % logged out");
        Ok(())
    }
}
