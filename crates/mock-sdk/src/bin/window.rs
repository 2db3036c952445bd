//! A program with a window that is closed: `window SCENARIO DIRECTORY HOMESERVER`. Its main thread runs
//! the user interface. Another thread is the user, who logs in as `me`, sends messages to a room, and
//! closes the window. Each login has a runtime of its own.
//!
//! `tests/exit.rs` runs the program, and looks at the exit code, the output, the ledger in `exit.json`,
//! and what the next start finds. The output has one line `accepted` for every message that the
//! application took.

use std::{
    env,
    error::Error,
    path::PathBuf,
    process,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use leak_strategy::plan::ExitPlan;
use mock_sdk::app::{
    AppConfig,
    action::Action,
    managed::{ManagedApp, WORKERS},
    requests::Request,
};
use state_machine::{config::RuntimePolicy, driver::Driver};

type Done = Result<(), Box<dyn Error>>;

/// Long enough for anything that does not hang.
const PLENTY: Duration = Duration::from_secs(30);
const CODE: i32 = 7;
/// The exit code if the program does not leave.
const STUCK: i32 = 99;
const MESSAGES: usize = 20;
const ROOM: &str = "!a:example.org";

fn main() -> Done {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [scenario, directory, homeserver] = &*arguments else {
        eprintln!("usage: window SCENARIO DIRECTORY HOMESERVER (run by tests/exit.rs)");
        process::exit(2);
    };
    thread::spawn(|| {
        thread::sleep(3 * PLENTY);
        process::exit(STUCK);
    });
    let mut config = AppConfig::new(homeserver, &PathBuf::from(directory));
    config.frame = Duration::from_millis(1);
    let ledger = config.directory.join("exit.json");
    let (managed, event_loop) = ManagedApp::start(config, RuntimePolicy::Keep)?;
    let managed = Arc::new(managed);
    let (limit, within) = match scenario.as_str() {
        "hangs" => (Duration::from_secs(1), Duration::from_millis(300)),
        _ => (PLENTY, PLENTY),
    };
    let plan = ExitPlan::builder(limit).ledger(ledger).build();
    managed.add_to(&plan, within)?;
    let user = scenario.clone();
    thread::spawn(move || {
        if let Err(error) = be_the_user(&user, &managed) {
            eprintln!("error: {error}");
            process::exit(1);
        }
    });
    if scenario == "without-plan" {
        event_loop.run();
        process::exit(CODE);
    }
    event_loop.run_and_leave(&plan, CODE)
}

fn be_the_user(scenario: &str, managed: &Arc<ManagedApp>) -> Done {
    log_in(managed)?;
    match scenario {
        "closed" | "without-plan" => {
            // The worker does nothing else until its channel is closed.
            let app = managed.app().clone();
            run(managed, async move {
                while app.globals().request_sender.with(|sender| sender.is_some()) {
                    tokio::task::yield_now().await;
                }
            })?;
            send(managed)?;
        }
        "second-login" => {
            let driver = Driver::new(Arc::clone(managed), managed.logout_config());
            let _ = managed.runtime().block_on(ManagedApp::log_out(&driver))??;
            log_in(managed)?;
            send(managed)?;
        }
        "hangs" => {
            send(managed)?;
            let (saved, is_saved) = mpsc::channel();
            run(managed, async move {
                let _ = saved.send(());
            })?;
            is_saved.recv()?;
            hang(managed)?;
        }
        _ => return Err(format!("there is no scenario `{scenario}`").into()),
    }
    println!("closing");
    Ok(managed.app().ui().post(Action::Quit)?)
}

fn log_in(managed: &ManagedApp) -> Done {
    managed.runtime().block_on(managed.log_in("me", "secret"))??;
    let client = managed.app().globals().client.get().ok_or("nobody is logged in")?;
    // Rooms come with the first sync.
    managed.runtime().block_on(async {
        while client.room(ROOM).await?.is_none() {
            tokio::task::yield_now().await;
        }
        Ok::<_, Box<dyn Error>>(())
    })??;
    Ok(managed.app().request(Request::Open { room: ROOM.to_owned() })?)
}

fn run(managed: &ManagedApp, work: impl Future<Output = ()> + Send + 'static) -> Done {
    Ok(managed.app().request(Request::Run(Box::new(|| Box::pin(work))))?)
}

fn send(managed: &ManagedApp) -> Done {
    for number in 0..MESSAGES {
        let body = format!("message {number}");
        managed.app().request(Request::Send { room: ROOM.to_owned(), body })?;
        println!("accepted");
    }
    Ok(())
}

/// Blocks every worker thread of the login's runtime for good: nothing on it goes on or can be aborted.
fn hang(managed: &ManagedApp) -> Done {
    let client = managed.app().globals().client.get().ok_or("nobody is logged in")?;
    let runtime = client.runtime();
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
