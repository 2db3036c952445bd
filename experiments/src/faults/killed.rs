//! A process that is killed in the middle of a logout.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use futures::executor::block_on;
use lab::TrialResult;
use mock_sdk::{
    app::managed::ManagedApp,
    homeserver::{Endpoint, Fault},
};
use state_machine::{config::RuntimePolicy, driver::Driver, transition::State};

use crate::{
    Scene,
    killed::{Writer, acknowledge, compare, stored, write},
    setting::{PASSWORD, ROOMS, USER, config, homeserver, next_start},
    steps::Steps,
};

/// The variants, which say how the process behaves: as it should;
pub const IN_THE_LOGOUT: &str = "killed/in-the-logout";
/// with its intent to log out removed from the disk when the request leaves;
pub const WITHOUT_INTENT: &str = "killed/without-intent";
/// acknowledging rows before it commits them.
pub const UNCOMMITTED: &str = "killed/uncommitted";

/// The part that is killed: [`log_out`].
pub const PART: &str = "logs-out";

/// What the process says when it begins to log out, and when it has.
const LOGGING_OUT: &str = "logging out";
const LOGGED_OUT: &str = "logged out";

/// How long the answer to the logout request takes when the server has logged the user out.
const ANSWER: Duration = Duration::from_millis(20);

/// The longest that a logout takes then, unless the machine is busy; and the part of it in which a
/// hazard can be caught.
const LOGOUT_MICROS: u64 = 100_000;
const FIRST_PART_MICROS: u64 = 60_000;

/// Kills a process at a random moment of its logout, and looks at what the next start finds.
pub fn killed(scene: &Scene<'_>) -> TrialResult {
    let server = homeserver()?;
    server.fail_always(Endpoint::Logout, Fault::delay(ANSWER).done_at_once());
    let healthy = scene.variant() == IN_THE_LOGOUT;
    let until = if healthy { LOGOUT_MICROS } else { FIRST_PART_MICROS };
    let moment = Duration::from_micros(scene.random().u64(0..until));
    let mut part = scene.part(PART)?;
    let mut process = Writer::start(part.args([&server.url(), scene.variant()]))?;
    // From the process: by the time this runs, the server may have forgotten the token.
    let token = process.lines.next().ok_or("it has not logged in")??;
    let mut said = Vec::new();
    for line in process.lines.by_ref() {
        let line = line?;
        if line == LOGGING_OUT {
            break;
        }
        said.push(line);
    }
    said.extend(process.kill_after(moment, scene)?);
    scene.record("had_ended", said.iter().any(|line| line == LOGGED_OUT));
    said.retain(|line| line != LOGGED_OUT);

    let queue = scene.directory().join("stores/0001/state/store.sqlite3");
    compare(scene, &said, &stored(&queue, "outbox")?);
    scene.record("next_start", next_start(scene, &server, &token, scene.directory())?);
    Ok(())
}

/// The process that is killed. It logs in, queues messages without a pause, which nobody sends, and
/// logs out meanwhile.
pub fn log_out(arguments: &[String]) -> TrialResult {
    let [server, variant] = arguments else { return Err("where, and which variant?".into()) };
    let mut config = config(server, Path::new("."));
    config.background_tasks = false;
    let (app, event_loop) = ManagedApp::start(config, RuntimePolicy::Restart)?;
    let (app, _ui) = (Arc::new(app), event_loop.spawn()?);
    block_on(app.log_in(USER, PASSWORD))?;

    let client = app.app().globals().client.get().ok_or("there is no client")?;
    acknowledge(&client.access_token().ok_or("there is no token")?);
    let store = client.store().state.clone();
    drop(client);
    let acknowledges_first = variant == UNCOMMITTED;
    let (written, writes) = mpsc::channel();
    drop(app.runtime().spawn("rows", move |stop| async move {
        for number in 0_u32.. {
            let row = format!("row {number}");
            let commit =
                async { !stop.is_raised() && store.enqueue(ROOMS[0], row.clone()).await.is_ok() };
            if !write(&row, acknowledges_first, commit).await {
                break;
            }
            let _ = written.send(());
        }
    })?);
    writes.iter().take(10).for_each(drop);

    let forgetful = variant == WITHOUT_INTENT;
    let intent = app.app().files().stores().with_file_name("logout_intent");
    let steps = Steps::of(Arc::clone(&app), move |state| {
        if forgetful && state == State::LoggingOutFromServer {
            fs::remove_file(&intent)?;
        }
        Ok(())
    });
    let driver = Driver::new(steps, app.logout_config());
    acknowledge(LOGGING_OUT);
    let ended = block_on(driver.run());
    acknowledge(LOGGED_OUT);
    let _ = ended?;
    // It waits to be killed.
    let _ = io::stdin().lines().next();
    Err("nobody killed it".into())
}
