//! The six steps of the write-up: rooms on the desktop, the phone, a logout, the desktop, a login. The
//! application has its state where the write-up's has it: client, sync service and runtime in statics; open
//! rooms, with their timelines, with the user interface, which is the main thread; the members of rooms in
//! a cache in a thread-local of that thread.

use std::{
    cell::RefCell,
    future::Future,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use matrix_sdk::{Client, Room, RoomMemberships, room::RoomMember, ruma::RoomId};
use matrix_sdk_ui::{
    sync_service::SyncService,
    timeline::{RoomExt as _, Timeline},
};
use sundown::{
    RuntimeOwner,
    evidence::no_open_files,
    session::{CloseErrorKind, Guarded, Session},
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    time::timeout,
};

use crate::{
    look,
    report::{check, record},
    setting::{CLUB, Setting},
};

/// The server's limit, as in the write-up.
const SERVER: Duration = Duration::from_secs(5);

/// The limit of a close that has to succeed, and of one that a tab prevents.
const LIMIT: Duration = Duration::from_secs(5);
const SOON: Duration = Duration::from_millis(300);

static TOKIO_RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);
static CLIENT: Mutex<Option<Client>> = Mutex::new(None);
static SYNC_SERVICE: Mutex<Option<Arc<SyncService>>> = Mutex::new(None);

thread_local! {
    /// The members that the user interface shows. Each holds a client.
    static MEMBERS: RefCell<Vec<RoomMember>> = const { RefCell::new(Vec::new()) };
}

/// An open room of the desktop.
struct Tab {
    _room: Room,
    _timeline: Option<Arc<Timeline>>,
}

/// The one thing in which a variant differs from the six steps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Nothing,
    OnDesktop,
    NoRooms,
    InContext,
    RuntimeKept,
    /// The runtime is kept, and a tab has a room and no timeline.
    NoTimeline,
}

fn lock<T>(global: &Mutex<T>) -> MutexGuard<'_, T> {
    global.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The last one that is recorded is the one at which the process has died.
fn step(what: &str) {
    record("step", what);
}

/// Runs it as a task of the runtime, as the application's request worker does, and waits for the result.
fn on<T: Send + 'static>(
    handle: &Handle,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::channel();
    drop(handle.spawn(async move { drop(sender.send(work.await)) }));
    receiver.recv().context("the runtime has dropped the request")?
}

fn start_matrix_tokio() -> Result<Handle> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let handle = runtime.handle().clone();
    *lock(&TOKIO_RUNTIME) = Some(runtime);
    Ok(handle)
}

/// The application of the write-up.
pub fn plain(change: &str) -> Result<()> {
    let change = match change {
        "six-steps" => Change::Nothing,
        "on-desktop" => Change::OnDesktop,
        "no-rooms" => Change::NoRooms,
        "in-context" => Change::InContext,
        "runtime-kept" => Change::RuntimeKept,
        "runtime-kept/no-timeline" => Change::NoTimeline,
        _ => anyhow::bail!("there is no change `{change}`"),
    };
    let setting = Arc::new(Setting::new()?);
    let spare = Builder::new_current_thread().build()?;
    let context = (change == Change::InContext).then(|| spare.enter());

    step("opening rooms on the desktop");
    let mut handle = start_matrix_tokio()?;
    log_in(&setting, &handle, "first")?;
    let mut tabs = Vec::new();
    if change != Change::NoRooms {
        tabs.push(open_room(&handle, change != Change::NoTimeline)?);
    }
    if change != Change::OnDesktop {
        // The tabs are not shown, and stay where they are.
        step("switching to the phone");
    }
    step("logging out");
    // On a thread in context, as there. What the user interface does is done by this one.
    beside(&handle, log_out_from_server)?;
    if change == Change::OnDesktop {
        tabs.clear();
    }
    if !matches!(change, Change::RuntimeKept | Change::NoTimeline) {
        if let Some(existing) = lock(&TOKIO_RUNTIME).take() {
            existing.shutdown_background();
        }
        handle = start_matrix_tokio()?;
    }
    if change != Change::OnDesktop {
        step("enlarging the window");
    }
    step("logging in again");
    log_in(&setting, &handle, "second")?;
    // The desktop shows the rooms of the new login, and forgets the old ones.
    tabs.clear();
    MEMBERS.with_borrow_mut(Vec::clear);
    step("nothing happened");
    drop(context);

    // What is left belongs to the second login, and is no part of the story. The runtime is left to the
    // end of the process: tasks of the SDK may panic when it is dropped, as experiment 73 shows.
    if let Some(service) = lock(&SYNC_SERVICE).take() {
        handle.block_on(service.stop());
    }
    let _context = handle.enter();
    drop(lock(&CLIENT).take());
    mem::forget(lock(&TOKIO_RUNTIME).take());
    Ok(())
}

/// Logs in, with stores of its own as the application has them for each login, and starts the sync.
fn log_in(setting: &Arc<Setting>, handle: &Handle, store: &'static str) -> Result<()> {
    let setting = Arc::clone(setting);
    let (client, service) = on(handle, async move {
        let client = setting.log_in_and_settle(store).await?;
        let service = start_sync(&setting, &client).await?;
        Ok((client, service))
    })?;
    *lock(&CLIENT) = Some(client);
    *lock(&SYNC_SERVICE) = Some(Arc::new(service));
    Ok(())
}

async fn start_sync(setting: &Setting, client: &Client) -> Result<SyncService> {
    let before = setting.syncs();
    let service = SyncService::builder(client.clone()).build().await?;
    service.start().await;
    setting.server.until(|_| setting.syncs() >= before + 4).await;
    Ok(service)
}

/// Opens a room: its timeline is made on the runtime, and kept by this thread.
fn open_room(handle: &Handle, with_timeline: bool) -> Result<Tab> {
    let client = lock(&CLIENT).clone().context("nobody is logged in")?;
    let (tab, members) = on(handle, async move { room_of(&client, with_timeline).await })?;
    MEMBERS.set(members);
    Ok(tab)
}

async fn room_of(client: &Client, with_timeline: bool) -> Result<(Tab, Vec<RoomMember>)> {
    // A room without messages: a debug build of 0.13 panics now and then if a timeline is opened while its
    // first message arrives (`duplicate read receipts`), which is not what this is about.
    let room = client.join_room_by_id(&RoomId::parse(CLUB)?).await?;
    let timeline = match with_timeline {
        true => Some(Arc::new(room.timeline().await?)),
        false => None,
    };
    let members = room.members(RoomMemberships::JOIN).await?;
    check("the room has members", !members.is_empty());
    Ok((Tab { _room: room, _timeline: timeline }, members))
}

/// The first half of the logout. The statics are cleared in context.
async fn log_out_from_server() -> Result<()> {
    let service = lock(&SYNC_SERVICE).clone().context("there is no sync service")?;
    service.stop().await;
    drop(service);
    let client = lock(&CLIENT).clone().context("no active client found")?;
    timeout(SERVER, client.matrix_auth().logout()).await??;
    drop(client);
    drop(lock(&CLIENT).take());
    drop(lock(&SYNC_SERVICE).take());
    Ok(())
}

fn beside<F: Future<Output = Result<()>> + 'static>(
    handle: &Handle,
    work: fn() -> F,
) -> Result<()> {
    let handle = handle.clone();
    let ended = thread::spawn(move || handle.block_on(work())).join();
    ended.map_err(|_| anyhow!("the thread of the logout panicked"))?
}

/// What an application has of one login, with the kit.
struct Login {
    session: Session,
    client: Guarded<Client>,
    service: Guarded<SyncService>,
}

/// The same six steps, with the same omission: the logout leaves the tabs and the cache alone.
pub fn with_the_kit() -> Result<()> {
    let setting = Setting::new()?;
    step("opening rooms on the desktop");
    let (login, handle) = guarded_login(&setting, "first")?;
    let open = |client: &Guarded<Client>| {
        handle.block_on(client.try_map_async(async |client| room_of(client, true).await))
    };
    // Tab and members are one value here: each part holds a client.
    let tabs = vec![open(&login.client)?];
    step("switching to the phone");
    step("logging out");
    handle.block_on(async { timeout(SERVER, login.client.matrix_auth().logout()).await })??;
    let Login { session, client, service } = login;
    drop((client, service));
    // On a busy machine a limit may pass before the service has ended, and is no answer about the tab.
    let began = Instant::now();
    let names_the_tab = loop {
        let told = session.close_blocking(SOON);
        let names_it = told.as_ref().is_err_and(|error| {
            let here =
                |place: &&'static std::panic::Location<'_>| place.file().ends_with("steps.rs");
            matches!(error.kind, CloseErrorKind::StillHeld)
                && error.held.iter().any(|held| here(&held.made_at))
        });
        if names_it || told.is_ok() || began.elapsed() >= LIMIT {
            break names_it;
        }
    };
    check("the session says that a tab holds the client", names_the_tab);
    step("enlarging the window");
    step("logging in again");
    let (again, _handle) = guarded_login(&setting, "second")?;
    check("the look sees the open files", look::files(&setting.store("second"))? > 0);
    // On this thread, which has no context.
    drop(tabs);
    check("the first session closes now", session.close_blocking(LIMIT).is_ok());
    check("no file of the first login is open", look::files(&setting.store("first"))? == 0);
    step("nothing happened");
    let Login { session, client, service } = again;
    drop((client, service));
    check("the second session closes", session.close_blocking(LIMIT).is_ok());
    check("no file is open", look::files(setting.stores())? == 0);
    check("no thread of the kit is left", look::threads("sundown")? == 0);
    Ok(())
}

fn guarded_login(setting: &Setting, store: &str) -> Result<(Login, Handle)> {
    let owner = RuntimeOwner::builder("app").workers(2).watch_panics().start()?;
    let handle = owner.handle()?;
    let evidence = no_open_files(setting.store(store));
    let session = Session::builder("matrix").runtime(owner).evidence(evidence).start()?;
    let client = session.guard(handle.block_on(setting.log_in_and_settle(store))?)?;
    let service = session.guard(handle.block_on(start_sync(setting, &client))?)?;
    session.before_close_with(&service, async |service: Guarded<SyncService>| {
        service.stop().await;
    })?;
    #[cfg(feature = "pause")]
    session.before_close_with(&client, async |client: Guarded<Client>| {
        check("the client has been paused", client.pause().await.is_ok());
    })?;
    session.look();
    Ok((Login { session, client, service }, handle))
}
