//! The end of a process that has a client: where the client was left, how the process ends, and what is
//! left on the disk.

use std::{
    any::Any,
    cell::RefCell,
    collections::BTreeSet,
    env, fs,
    io::{self, BufRead as _, BufReader, Write as _},
    mem,
    path::Path,
    process::{self, Child, Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use leak_strategy::{
    app,
    ledger::{Ledger, Outcome},
    plan::ExitPlan,
    resource::{Policy, Resource},
};
use matrix_sdk::Client;
use matrix_sdk_ui::sync_service::SyncService;
use sundown::{
    RuntimeOwner,
    evidence::no_open_files,
    session::{Guarded, Session},
};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

use crate::{
    practice::{members_of, pause, syncing},
    report::{check, record},
    setting::{Setting, build},
};

const CODE: i32 = 7;
const LEDGER: &str = "exit.json";
const STORE: &str = "store";

/// The limit of a plan in which nothing hangs, and of one in which something does.
const PLENTY: Duration = Duration::from_secs(20);
const LIMIT: Duration = Duration::from_secs(2);
const EACH: Duration = Duration::from_millis(800);

/// What a busy machine may add to a limit.
const GRACE: Duration = Duration::from_secs(3);

/// When a process counts as stuck: long after the limit of its plan, on a machine that is busy.
const STUCK: Duration = Duration::from_secs(12);

/// How many tasks write.
const WRITERS: usize = 4;

thread_local! {
    /// What a user interface keeps for itself.
    static CACHE: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

/// What an application keeps in its globals. Its runtime outlives `main`.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();
static KEPT: OnceLock<(Client, SyncService)> = OnceLock::new();

fn runtime() -> Result<&'static Runtime> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// Leaves a client somewhere, and returns, so that `main` does.
pub fn here(place: &str) -> Result<()> {
    let setting = Setting::new()?;
    let runtime = runtime()?;
    let client = runtime.block_on(setting.log_in_and_settle(STORE))?;
    match place {
        "thread-local" => CACHE.set(Some(Box::new(client))),
        "thread-that-ends" => {
            let ended = thread::spawn(|| CACHE.set(Some(Box::new(client)))).join();
            ended.map_err(|_| anyhow!("the thread panicked"))?;
        }
        "cleared" => {
            CACHE.set(Some(Box::new(client)));
            let _context = runtime.enter();
            CACHE.set(None);
        }
        "members" => {
            let members = runtime.block_on(members_of(&client))?;
            CACHE.set(Some(Box::new(members)));
            // As a logout does that clears the globals and misses the cache.
            let _context = runtime.enter();
            drop(client);
        }
        "process-exit" | "plan" => {
            CACHE.set(Some(Box::new(client)));
            println!("the last line");
            io::stdout().flush()?;
            if place == "plan" {
                ExitPlan::builder(PLENTY).build().leave(0);
            }
            process::exit(0);
        }
        "forgotten" | "dropped" => {
            let members = runtime.block_on(members_of(&client))?;
            CACHE.set(Some(Box::new(members)));
            if place == "forgotten" {
                mem::forget(client);
            } else {
                // It is not the last owner here.
                drop(client);
            }
        }
        "static" => {
            let service = runtime.block_on(syncing(&client))?;
            drop(KEPT.set((client, service)));
            // The server stays: the sync goes on until the process is gone.
            mem::forget(setting);
        }
        "guarded" => {
            let session = Session::new("matrix")?;
            CACHE.set(Some(Box::new(session.guard(client)?)));
        }
        _ => bail!("there is no place `{place}`"),
    }
    Ok(())
}

/// Starts a process that writes, makes it leave in the middle of that, and looks at what it has left.
pub fn behind(how: &str) -> Result<()> {
    let mut child = spawn("child", how)?;
    let mut said = BufReader::new(child.stdout.take().context("no pipe")?);
    let mut acknowledged = BTreeSet::new();
    let enough = 10 + usize::try_from(child.id())? % 40;
    let mut line = String::new();
    while acknowledged.len() < enough && said.read_line(&mut line)? > 0 {
        acknowledged.insert(mem::take(&mut line).trim().parse::<usize>()?);
    }
    if how.starts_with("killed") {
        child.kill()?;
    } else {
        writeln!(child.stdin.take().context("no pipe")?, "leave")?;
    }
    for line in said.lines() {
        acknowledged.insert(line?.parse()?);
    }
    let code = child.wait()?.code();
    match how {
        "static" | "forgotten" => check("the code is that of main", code == Some(0)),
        "plan" => check("the code is the one that was asked for", code == Some(CODE)),
        _ => check("it was killed", code.is_none()),
    };
    let log = log_bytes(Path::new(STORE))?;
    record("log_bytes_left", log);
    if how == "plan" {
        let ledger = ledger()?;
        let torn_down = |it: &&leak_strategy::ledger::Entry| it.outcome == Outcome::TornDown;
        check("all three are in the ledger", ledger.entries.len() == 3);
        check("all were torn down", ledger.entries.iter().filter(torn_down).count() == 3);
        record("log_left", log > 0);
        // In 0.13 a task of the SDK may hold the client until the runtime ends. That closes connections
        // side by side, and SQLite may then keep a log.
        check("no log is left", log == 0 || !cfg!(feature = "pause"));
    }
    let lost = missing(&acknowledged)?;
    record("values_acknowledged", acknowledged.len());
    record("values_lost", lost);
    check("no acknowledged value is lost", lost == 0);
    Ok(())
}

fn spawn(part: &str, how: &str) -> Result<Child> {
    let mut child = Command::new(env::current_exe()?);
    child.args(["exits", part, how]).stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(child.spawn()?)
}

fn ledger() -> Result<Ledger> {
    Ok(serde_json::from_slice(&fs::read(LEDGER)?)?)
}

/// The size of all write-ahead logs.
fn log_bytes(store: &Path) -> Result<usize> {
    let mut bytes = 0;
    for file in fs::read_dir(store)? {
        let file = file?;
        if file.file_name().to_string_lossy().ends_with("-wal") {
            bytes += usize::try_from(file.metadata()?.len())?;
        }
    }
    Ok(bytes)
}

fn key(number: usize) -> Vec<u8> {
    format!("value {number}").into_bytes()
}

/// Opens the store again, as the next start does, and counts the values that are not there.
fn missing(acknowledged: &BTreeSet<usize>) -> Result<usize> {
    runtime()?.block_on(async {
        // Nothing is asked of the server.
        let client = build("http://127.0.0.1:9", Path::new(STORE)).await?;
        let mut missing = 0;
        for number in acknowledged {
            let value = client.state_store().get_custom_value(&key(*number)).await?;
            missing += usize::from(value.is_none());
        }
        drop(client);
        Ok(missing)
    })
}

/// What the tasks share that write.
#[derive(Default)]
struct Writing {
    next: AtomicUsize,
    is_over: AtomicBool,
}

/// The process that leaves something behind.
pub fn child(how: &str) -> Result<()> {
    let setting = Setting::new()?;
    setting.friend_talks()?;
    let writing = Arc::new(Writing::default());
    if how == "plan" {
        return by_plan(setting, writing);
    }
    let runtime = runtime()?;
    let (client, service) = runtime.block_on(async {
        let client = setting.log_in_and_settle(STORE).await?;
        let service = syncing(&client).await?;
        anyhow::Ok((client, service))
    })?;
    let early = how == "killed-early";
    for _ in 0..WRITERS {
        let (client, writing) = (client.clone(), Arc::clone(&writing));
        drop(runtime.spawn(async move { write(&client, &writing, early).await }));
    }
    if how == "forgotten" {
        told_to_leave()?;
        mem::forget((client, service));
    } else {
        drop(KEPT.set((client, service)));
        told_to_leave()?;
    }
    // Everything goes on until the process is gone. `process::exit` is what follows `main`; the line that
    // `main` would print is no number.
    process::exit(0)
}

/// Writes one value after another, and acknowledges each on standard output: when it has been written, or
/// before that.
async fn write(client: &Client, writing: &Writing, early: bool) {
    // Relaxed: each number is taken once, and the flag only has to be seen at some time.
    while !writing.is_over.load(Ordering::Relaxed) {
        let number = writing.next.fetch_add(1, Ordering::Relaxed);
        if early {
            println!("{number}");
        }
        if client.state_store().set_custom_value(&key(number), vec![1; 64]).await.is_err() {
            return;
        }
        if !early {
            println!("{number}");
        }
    }
}

fn told_to_leave() -> Result<()> {
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn by_plan(setting: Setting, writing: Arc<Writing>) -> Result<()> {
    let owner = RuntimeOwner::builder("app").workers(2).start()?;
    let (session, client) = guarded(&setting, &owner)?;
    let handle = owner.handle()?;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (client, writing) = (client.clone(), Arc::clone(&writing));
            handle.spawn(async move { write(&client, &writing, false).await })
        })
        .collect();
    drop(client);
    let plan = ExitPlan::builder(PLENTY).ledger(LEDGER).build();
    let or_leak = || Policy::TearDownOrLeak { within: PLENTY / 4 };
    plan.add(app::runtime(or_leak(), owner))?;
    plan.add(app::session(or_leak(), session))?;
    let finish = Policy::TearDown { within: PLENTY / 4 };
    plan.add(
        Resource::new("writers", finish, move |_exit| {
            // Relaxed: nothing is published by it.
            writing.is_over.store(true, Ordering::Relaxed);
            handle.block_on(ended(writers)).map_err(Into::into)
        })
        .needs(app::CLIENT),
    )?;
    told_to_leave()?;
    plan.leave(CODE)
}

async fn ended(writers: Vec<JoinHandle<()>>) -> Result<()> {
    for writer in writers {
        writer.await?;
    }
    Ok(())
}

/// A session whose client syncs.
fn guarded(setting: &Setting, owner: &RuntimeOwner) -> Result<(Session, Guarded<Client>)> {
    let handle = owner.handle()?;
    let evidence = no_open_files(setting.stores());
    let session = Session::builder("matrix").runtime(owner.clone()).evidence(evidence).start()?;
    let client = session.guard(handle.block_on(setting.log_in_and_settle(STORE))?)?;
    let service = session.guard(handle.block_on(syncing(&client))?)?;
    session.before_close_with(&service, async |service: Guarded<SyncService>| {
        service.stop().await;
    })?;
    session.before_close_with(&client, async |client: Guarded<Client>| pause(&client).await)?;
    session.look();
    Ok((session, client))
}

/// A process in which a blocking closure of the application never ends, and a tab still has its handle.
pub fn hangs(how: &str) -> Result<()> {
    let mut child = spawn("child-that-hangs", how)?;
    let mut said = BufReader::new(child.stdout.take().context("no pipe")?);
    said.read_line(&mut String::new())?;
    let began = Instant::now();
    let gone = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if began.elapsed() >= STUCK => break None,
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    record("gone", gone.is_some());
    let Some(status) = gone else {
        child.kill()?;
        child.wait()?;
        check("it is gone in time", false);
        return Ok(());
    };
    record("gone_after", began.elapsed());
    check("the code is the one that was asked for", status.code() == Some(CODE));
    let ledger = ledger()?;
    // What comes after that is the system's, which ends the threads.
    record("plan_took", ledger.elapsed);
    check("the plan ended in time", ledger.elapsed <= LIMIT + GRACE);
    let client = ledger.entries.iter().find(|entry| entry.name == app::CLIENT);
    let client = client.context("the ledger does not name the client")?;
    check("the client was leaked", client.outcome == Outcome::Leaked);
    let why = client.reason.as_ref().map(ToString::to_string).unwrap_or_default();
    eprintln!("the ledger says of the client: {why}");
    check("the ledger names the place of the tab's handle", why.contains("exits.rs"));
    Ok(())
}

/// That process.
pub fn child_that_hangs(how: &str) -> Result<()> {
    let setting = Setting::new()?;
    let (began, has_begun) = mpsc::channel();
    let query = move || {
        let _ = began.send(());
        loop {
            thread::park();
        }
    };
    let set_out = || {
        println!("leaving");
        io::stdout().flush()
    };
    if how == "by-hand" {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (client, service) = runtime.block_on(async {
            let client = setting.log_in_and_settle(STORE).await?;
            let service = syncing(&client).await?;
            anyhow::Ok((client, service))
        })?;
        drop(runtime.spawn_blocking(query));
        has_begun.recv()?;
        set_out()?;
        runtime.block_on(service.stop());
        let context = runtime.enter();
        drop((client, service));
        drop(context);
        drop(runtime);
        process::exit(CODE)
    }
    let owner = RuntimeOwner::builder("app").workers(2).start()?;
    let (session, client) = guarded(&setting, &owner)?;
    drop(owner.handle()?.spawn_blocking(query));
    has_begun.recv()?;
    let _tab = client;
    let plan = ExitPlan::builder(LIMIT).ledger(LEDGER).build();
    let or_leak = || Policy::TearDownOrLeak { within: EACH };
    plan.add(app::runtime(or_leak(), owner))?;
    plan.add(app::session(or_leak(), session))?;
    set_out()?;
    plan.leave(CODE)
}
