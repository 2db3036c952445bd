//! A program with a window that is closed: `window SCENARIO DIRECTORY HOMESERVER`. Its main thread runs
//! the user interface, and another one is the user, who logs in as `me`, sends messages to a room, and
//! closes the window, or leaves it open for a signal to end the program.
//!
//! The tests in `tests/app/exit.rs` run it, and look at the exit code, at what it said, at the ledger
//! in `exit.json`, and at what the next start finds. It says `accepted` of every message that the
//! application took, and `saved` when they are on disk.

use std::{
    env,
    error::Error,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use leak_strategy::{plan::ExitPlan, signals::SignalGuard};
use mock_sdk::app::{App, AppConfig, action::Action, managed::ManagedApp, requests::Request};
use state_machine::config::RuntimePolicy;
use sundown::runtime::RuntimeOwner;
use tokio::runtime::Handle;

type Done = Result<(), Box<dyn Error>>;

/// Long enough for anything that does not hang, and for what does.
const PLENTY: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_secs(1);
const SHORT_EACH: Duration = Duration::from_millis(300);

const CODE: i32 = 7;

/// The code of a program that should have ended long ago.
const STUCK: i32 = 99;

const MESSAGES: usize = 20;
const WORKERS: usize = 2;
const USAGE: &str = "usage: window SCENARIO DIRECTORY HOMESERVER";
const ABOUT: &str = "A program with a window that is closed. The tests in \
                     crates/mock-sdk/tests/app/exit.rs run it, and name the scenarios.";
const ROOM: &str = "!a:example.org";

fn main() -> Done {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "-h" || argument == "--help") {
        println!("{USAGE}\n\n{ABOUT}");
        return Ok(());
    }
    let [scenario, directory, homeserver] = &*arguments else {
        eprintln!("{USAGE}");
        process::exit(2);
    };
    thread::spawn(|| {
        thread::sleep(Duration::from_secs(90));
        process::exit(STUCK);
    });
    let directory = PathBuf::from(directory);
    let mut config = AppConfig::new(homeserver, &directory);
    config.frame = Duration::from_millis(1);
    if scenario.starts_with("managed") {
        return be_managed(config, scenario);
    }
    let runtime = RuntimeOwner::builder("window").workers(WORKERS).start()?;
    let (app, event_loop) = App::new(config);
    app.start_worker(&runtime.handle()?);

    let (plan, within) = plan(scenario == "everything-hangs", &directory);
    app.add_to(&plan, runtime.clone(), within)?;

    let (scenario, user) = (scenario.clone(), app.clone());
    let by_hand = scenario == "by-hand";
    thread::spawn(move || {
        if let Err(error) = be_the_user(&scenario, &user, &runtime, &directory) {
            eprintln!("error: {error}");
            process::exit(1);
        }
    });
    if by_hand {
        event_loop.run();
        process::exit(CODE);
    }
    let _guard = SignalGuard::install(&plan)?;
    event_loop.run_and_leave(&plan, CODE)
}

fn plan(hangs: bool, directory: &Path) -> (ExitPlan, Duration) {
    let (limit, within) = if hangs { (SHORT, SHORT_EACH) } else { (PLENTY, PLENTY) };
    (ExitPlan::builder(limit).ledger(directory.join("exit.json")).build(), within)
}

/// An application in which each login has a runtime of its own.
fn be_managed(config: AppConfig, scenario: &str) -> Done {
    let (plan, within) = plan(scenario == "managed-hangs", &config.directory);
    let (managed, event_loop) = ManagedApp::start(config, RuntimePolicy::Keep)?;
    let managed = Arc::new(managed);
    managed.add_to(&plan, within)?;
    let scenario = scenario.to_owned();
    thread::spawn(move || {
        if let Err(error) = be_the_user_of_a_managed_one(&scenario, &managed) {
            eprintln!("error: {error}");
            process::exit(1);
        }
    });
    event_loop.run_and_leave(&plan, CODE)
}

fn be_the_user_of_a_managed_one(scenario: &str, managed: &ManagedApp) -> Done {
    let app = managed.app();
    if scenario != "managed-nobody-there" {
        managed.runtime().block_on(managed.log_in("me", "secret"))??;
        open_a_room(app, managed.runtime())?;
        send(app)?;
    }
    if scenario == "managed-hangs" {
        saved(app)?;
        let client = app.globals().client.get().ok_or("nobody is logged in")?;
        hang(client.runtime())?;
    }
    say("closing")?;
    app.ui().post(Action::Quit)?;
    Ok(())
}

fn be_the_user(scenario: &str, app: &App, runtime: &RuntimeOwner, directory: &Path) -> Done {
    log_in(app, runtime)?;
    match scenario {
        "closed" | "by-hand" | "signal" => {
            until_the_channel_is_closed(app)?;
            send(app)?;
        }
        "everything-hangs" => {
            send(app)?;
            saved(app)?;
            hang(&runtime.handle()?)?;
        }
        "logged-out" => {
            log_out(app, runtime)?;
            if directory.join("exit.json").exists() {
                return Err("the logout left a ledger".into());
            }
            say("still here")?;
            app.start_worker(&runtime.handle()?);
            log_in(app, runtime)?;
            send(app)?;
        }
        "nobody-there" => log_out(app, runtime)?,
        _ => return Err(format!("there is no scenario '{scenario}'").into()),
    }
    say("closing")?;
    if scenario != "signal" {
        app.ui().post(Action::Quit)?;
    }
    Ok(())
}

fn say(what: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{what}")
}

fn log_in(app: &App, runtime: &RuntimeOwner) -> Done {
    runtime.block_on(app.log_in("me", "secret"))??;
    open_a_room(app, runtime)
}

fn open_a_room(app: &App, runtime: &RuntimeOwner) -> Done {
    let client = app.globals().client.get().ok_or("nobody is logged in")?;
    // Rooms come with the first sync.
    runtime.block_on(async {
        while client.room(ROOM).await?.is_none() {
            tokio::task::yield_now().await;
        }
        Ok::<_, Box<dyn Error>>(())
    })??;
    app.request(Request::Open { room: ROOM.to_owned() })?;
    Ok(())
}

/// The cooperative one. No exit plan has a part in it.
fn log_out(app: &App, runtime: &RuntimeOwner) -> Done {
    let confirmed = app.ui().clean_app_state();
    runtime.block_on(async {
        confirmed.await?;
        let globals = app.globals();
        drop((globals.sync_service.take(), globals.all_joined_rooms.take()));
        app.expect_worker_end();
        drop(globals.request_sender.take());
        let client = globals.client.take().ok_or("nobody is logged in")?;
        client.matrix_auth().logout().await?;
        client.close().await?;
        Ok::<_, Box<dyn Error>>(())
    })??;
    app.files().delete_latest_user_id()?;
    Ok(())
}

fn send(app: &App) -> Done {
    for number in 0..MESSAGES {
        let body = format!("message {number}");
        app.request(Request::Send { room: ROOM.to_owned(), body })?;
        say("accepted")?;
    }
    Ok(())
}

/// Waits until everything that was requested has been carried out.
fn saved(app: &App) -> Done {
    let (done, is_done) = mpsc::channel();
    app.request(Request::Run(Box::new(move || {
        Box::pin(async move {
            let _ = done.send(());
        })
    })))?;
    is_done.recv()?;
    say("saved")?;
    Ok(())
}

/// Keeps the worker from what comes after this, for as long as requests are taken.
fn until_the_channel_is_closed(app: &App) -> Done {
    let of_worker = app.clone();
    app.request(Request::Run(Box::new(move || {
        Box::pin(async move {
            while of_worker.globals().request_sender.change(|sender| sender.is_some()) {
                tokio::task::yield_now().await;
            }
        })
    })))?;
    Ok(())
}

/// Blocks every worker of the runtime for good, so that nothing on it goes on or can be aborted.
fn hang(runtime: &Handle) -> Done {
    let (blocked, is_blocked) = mpsc::channel();
    for _ in 0..WORKERS {
        let blocked = blocked.clone();
        drop(runtime.spawn(async move {
            let _ = blocked.send(());
            loop {
                thread::park();
            }
        }));
    }
    (0..WORKERS).try_for_each(|_| is_blocked.recv())?;
    Ok(())
}
