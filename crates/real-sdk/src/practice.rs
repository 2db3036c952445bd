//! What applications do today: a wrapper that enters a context in its destructor, leaking, and a runtime
//! that is kept for ever.

use std::{
    cell::RefCell,
    mem::{self, ManuallyDrop},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use matrix_sdk::{Client, RoomMemberships, room::RoomMember, ruma::RoomId};
use matrix_sdk_ui::{room_list_service::State, sync_service::SyncService};
use sundown::{
    RuntimeOwner,
    evidence::no_open_files,
    session::{Guarded, Session},
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    look,
    remote::Remote,
    report::{check, record},
    setting::{self, LOBBY, Setting},
    usage::{self, Usage},
};

/// How long files may take to be closed where nobody waits for it. They take milliseconds.
const A_MOMENT: Duration = Duration::from_secs(1);

/// The same where they must be closed, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// The limit of a close.
const LIMIT: Duration = Duration::from_secs(10);

/// Logins before the first count, in which what is made once is made, and logins between the counts.
const FIRST: usize = 2;
const COUNTED: usize = 6;

/// By how many bytes Rust's part of the memory may grow with a login. A client that is left takes more than
/// three times as much.
const ALLOWED: usize = 64 * 1024;

/// The runtime of the application, as the bindings have it: it starts when it is needed, and never ends.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();

fn runtime() -> Result<&'static Runtime> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// Enters the runtime around the drop of what it holds, on whatever thread that is.
#[derive(Clone)]
struct EntersInDrop<T>(Option<T>);

impl<T> EntersInDrop<T> {
    const fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Drop for EntersInDrop<T> {
    fn drop(&mut self) {
        let _context = RUNTIME.get().map(Runtime::enter);
        drop(self.0.take());
    }
}

thread_local! {
    /// What a user interface keeps for itself.
    static CACHE: RefCell<Option<EntersInDrop<Client>>> = const { RefCell::new(None) };
    static HANDLE: RefCell<Option<Guarded<Client>>> = const { RefCell::new(None) };
}

pub async fn members_of(client: &Client) -> Result<Vec<RoomMember>> {
    let room = client.get_room(&RoomId::parse(LOBBY)?).context("the room is unknown")?;
    let members = room.members(RoomMemberships::JOIN).await?;
    check("the room has members", !members.is_empty());
    Ok(members)
}

/// Waits until no file is open. Returns how long that took, or nothing if it is not so in time.
fn closed_within(limit: Duration, setting: &Setting) -> Result<Option<Duration>> {
    let began = Instant::now();
    while look::files(setting.stores())? > 0 {
        if began.elapsed() >= limit {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(Some(began.elapsed()))
}

/// The wrapper, dropped in one way or another.
pub fn wrapper(how: &str) -> Result<()> {
    let setting = Setting::new()?;
    if how == "touched-first" {
        // A look whether something is cached, before this thread has used Tokio.
        check("the cache is empty", CACHE.with_borrow(Option::is_none));
    }
    let (client, members) = runtime()?.block_on(async {
        let client = setting.log_in_and_settle("store").await?;
        let members = members_of(&client).await?;
        anyhow::Ok((EntersInDrop::new(client), members))
    })?;
    match how {
        "any-thread" => {
            let clone = client.clone();
            let members = EntersInDrop::new(members);
            thread::spawn(move || drop(clone)).join().map_err(|_| anyhow!("it panicked"))?;
            drop(client);
            thread::spawn(move || drop(members)).join().map_err(|_| anyhow!("it panicked"))?;
            record("files_open_when_dropped", look::files(setting.stores())?);
            let closed = closed_within(PATIENCE, &setting)?;
            if check("the files are closed in the end", closed.is_some()) {
                record("closed_after", closed.unwrap_or_default());
            }
        }
        "is-over" => {
            drop((EntersInDrop::new(members), client));
            let open = look::files(setting.stores())?;
            record("files_open_when_dropped", open);
            check("no file is open when the drop returns", open == 0);
        }
        "something-bare" => {
            drop(client);
            drop(members);
        }
        "touched-first" | "touched-last" => {
            drop(EntersInDrop::new(members));
            CACHE.set(Some(client));
        }
        _ => bail!("there is no way `{how}`"),
    }
    Ok(())
}

/// What the comment beside the wrapper says of destructors.
struct BlocksInDrop;

impl Drop for BlocksInDrop {
    fn drop(&mut self) {
        if let Some(runtime) = RUNTIME.get() {
            runtime.block_on(async {});
        }
    }
}

/// Without a wrapper, in a task of the runtime, where `block_on` panics.
pub fn in_a_task(what: &str) -> Result<()> {
    let setting = Setting::new()?;
    let runtime = runtime()?;
    let dropped = match what {
        "client" => {
            let (client, members) = runtime.block_on(async {
                let client = setting.log_in_and_settle("store").await?;
                let members = members_of(&client).await?;
                anyhow::Ok((client, members))
            })?;
            runtime.spawn(async move { drop((client, members)) })
        }
        "block-on" => runtime.spawn(async { drop(BlocksInDrop) }),
        _ => bail!("there is no value `{what}`"),
    };
    check("the drop returned", runtime.block_on(dropped).is_ok());
    check("no file is open in the end", closed_within(PATIENCE, &setting)?.is_some());
    Ok(())
}

/// The client is never dropped.
pub fn leaked() -> Result<()> {
    let setting = Setting::new()?;
    let (client, members) = runtime()?.block_on(async {
        let client = setting.log_in_and_settle("store").await?;
        let members = members_of(&client).await?;
        anyhow::Ok((ManuallyDrop::new(client), members))
    })?;
    // It is not the last owner, whatever happens to the others.
    let ended = thread::spawn(move || drop((client, members))).join();
    ended.map_err(|_| anyhow!("it panicked"))?;
    record("files_open", look::files(setting.stores())?);
    Ok(())
}

/// The same with a session's handles.
pub fn guarded(how: &str) -> Result<()> {
    let setting = Setting::new()?;
    if how == "touched-first" {
        check("the cache is empty", HANDLE.with_borrow(Option::is_none));
    }
    let owner = RuntimeOwner::builder("app").workers(2).watch_panics().start()?;
    let handle = owner.handle()?;
    let evidence = no_open_files(setting.stores());
    let session = Session::builder("matrix").runtime(owner).evidence(evidence).start()?;
    let client = session.guard(handle.block_on(setting.log_in_and_settle("store"))?)?;
    let members = client.try_map_async(async |client| members_of(client).await);
    let members = handle.block_on(members)?;
    session.look();
    match how {
        "any-thread" => {
            drop(client);
            thread::spawn(move || drop(members)).join().map_err(|_| anyhow!("it panicked"))?;
            let report = session.close_blocking(LIMIT)?;
            record("took", report.elapsed);
            check("no file is open when the close returns", look::files(setting.stores())? == 0);
            check("no thread of the kit is left", look::threads("sundown")? == 0);
        }
        // The session is not closed: the process ends.
        "touched-first" => HANDLE.set(Some(client)),
        _ => bail!("there is no way `{how}`"),
    }
    Ok(())
}

/// Logs in and out, again and again, in one way or another, and counts what each login leaves.
pub fn logins(way: &str) -> Result<()> {
    usage::with_one_arena()?;
    let server = Remote::start()?;
    let directory = std::env::current_dir()?;
    let mut before = None;
    for number in 1..=FIRST + COUNTED {
        let store = directory.join(format!("login-{number}"));
        let login = Login { server: &server.url, store: &store };
        match way {
            "forgotten" => login.on_the_kept_runtime(false, |client, service| {
                mem::forget((client, service));
                Ok(())
            })?,
            "idle" => login.idle()?,
            "stopped" => login.on_the_kept_runtime(false, |client, service| {
                drop((EntersInDrop::new(service), EntersInDrop::new(client)));
                Ok(())
            })?,
            "paused" => login.on_the_kept_runtime(true, |client, service| {
                drop((EntersInDrop::new(service), EntersInDrop::new(client)));
                Ok(())
            })?,
            "restarted" => login.on_a_runtime_of_its_own()?,
            "kit" => login.in_a_session()?,
            _ => bail!("there is no way `{way}`"),
        }
        // Nobody says when the files have been closed.
        let began = Instant::now();
        while look::files(&store)? > 0 && began.elapsed() < A_MOMENT {
            thread::sleep(Duration::from_millis(1));
        }
        if number == FIRST {
            before = Some((look::files(&directory)?, Usage::now()?));
        }
    }
    let (open_before, before) = before.context("too few logins")?;
    let (open, after) = (look::files(&directory)?, Usage::now()?);
    record("files_left_per_login", (open - open_before.min(open)) / COUNTED);
    let grown = |count: fn(&Usage) -> i64| usize::try_from((count(&after) - count(&before)).max(0));
    for (name, count) in Usage::COUNTS {
        record(&format!("{name}_per_login"), grown(count)? / COUNTED);
    }
    check("no file of an earlier login is open", open == 0);
    if way == "kit" {
        // One may be on its way.
        check("no thread is left at each login", grown(|usage| usage.threads)? <= 1);
        check("no descriptor is left at each login", grown(|usage| usage.descriptors)? <= 1);
    }
    check("no client is left in memory", grown(|usage| usage.heap_bytes)? < COUNTED * ALLOWED);
    Ok(())
}

/// One login, and the logout after it.
struct Login<'a> {
    server: &'a str,
    store: &'a std::path::Path,
}

impl Login<'_> {
    async fn client(&self) -> Result<Client> {
        setting::settled(setting::log_in(self.server, self.store).await?).await
    }

    /// Nothing goes on when the client is dropped.
    fn idle(&self) -> Result<()> {
        let client = runtime()?.block_on(async {
            let client = self.client().await?;
            client.matrix_auth().logout().await?;
            anyhow::Ok(client)
        })?;
        drop(EntersInDrop::new(client));
        Ok(())
    }

    /// A sync service has run, and was stopped.
    fn on_the_kept_runtime(
        &self,
        pause: bool,
        let_go: impl FnOnce(Client, SyncService) -> Result<()>,
    ) -> Result<()> {
        let (client, service) = runtime()?.block_on(async {
            let client = self.client().await?;
            let service = syncing(&client).await?;
            service.stop().await;
            client.matrix_auth().logout().await?;
            if pause {
                self::pause(&client).await;
            }
            anyhow::Ok((client, service))
        })?;
        let_go(client, service)
    }

    /// A runtime for each login, which is dropped last, by hand.
    fn on_a_runtime_of_its_own(&self) -> Result<()> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (client, service) = runtime.block_on(async {
            let client = self.client().await?;
            let service = syncing(&client).await?;
            service.stop().await;
            client.matrix_auth().logout().await?;
            pause(&client).await;
            anyhow::Ok((client, service))
        })?;
        let context = runtime.enter();
        drop((client, service));
        drop(context);
        drop(runtime);
        check("no file is open when the runtime is gone", look::files(self.store)? == 0);
        Ok(())
    }

    fn in_a_session(&self) -> Result<()> {
        let owner = RuntimeOwner::builder("app").workers(2).watch_panics().start()?;
        let handle = owner.handle()?;
        let evidence = no_open_files(self.store);
        let session = Session::builder("matrix").runtime(owner).evidence(evidence).start()?;
        let client = session.guard(handle.block_on(self.client())?)?;
        let service = session.guard(handle.block_on(syncing(&client))?)?;
        session.before_close_with(&service, async |service: Guarded<SyncService>| {
            service.stop().await;
        })?;
        session.before_close_with(&client, async |client: Guarded<Client>| pause(&client).await)?;
        handle.block_on(client.matrix_auth().logout())?;
        session.look();
        drop((client, service));
        let _ = session.close_blocking(LIMIT)?;
        check("no file is open when the close returns", look::files(self.store)? == 0);
        Ok(())
    }
}

/// The last step of the SDK's own shutdown, where it has one.
pub async fn pause(client: &Client) {
    #[cfg(feature = "pause")]
    check("the client has been paused", client.pause().await.is_ok());
    let _ = client;
}

/// Starts a sync service, and returns when it syncs.
pub async fn syncing(client: &Client) -> Result<SyncService> {
    let service = SyncService::builder(client.clone()).build().await?;
    service.start().await;
    let mut state = service.room_list_service().state();
    while state.get() != State::Running {
        state.next().await.context("the service has ended")?;
    }
    Ok(service)
}
