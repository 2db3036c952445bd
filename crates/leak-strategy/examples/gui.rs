//! An application with an event loop and logins: the user logs in, opens rooms, logs out, logs in again,
//! and closes the window.
//!
//! The loop never waits: logins and logouts run on a runtime in the background, and post what has become
//! of them. One login at a time: what the user asks for during a logout waits until that is over. Each
//! login has a runtime and a session of its own, and stands in the exit plan from its begin, before
//! anything of it is open, to the end of its logout. In the last event the window drops its handles, and
//! the plan leaves. With the argument `impatient` that event comes during the first login.
//!
//! On Linux and macOS this prints
//!
//! ```text
//! loop: alice is logged in
//! loop: 2 rooms are open, logging out
//! loop: logged out, Ok(Evidence)
//! loop: bob is logged in
//! loop: exiting
//! ```

use std::{
    env,
    error::Error,
    fs::{self, File},
    mem,
    path::PathBuf,
    sync::{Arc, mpsc},
    time::Duration,
};

use deadpool_runtime_current as deadpool_runtime;
use deadpool_sync_current::SyncWrapper;
use sundown::{
    Guarded, RuntimeOwner, Session,
    evidence::{no_open_files, open_files},
    exit::{
        app,
        plan::ExitPlan,
        resource::{Policy, Resource},
    },
    limit::within,
    oneshot::{self, Sender},
    session::Confirmation,
};
use tempfile::TempDir;
use tokio::{sync::Notify, time::sleep};

type AnyError = Box<dyn Error + Send + Sync>;

/// How long the loop may take to close the tabs, and how long a logout may take after that.
const TABS: Duration = Duration::from_secs(2);
const LOGOUT: Duration = Duration::from_secs(8);

/// How long the exit may take, and each thing that it tears down.
const EXIT: Duration = Duration::from_secs(5);
const POLICY: Policy = Policy::TearDown { within: Duration::from_secs(2) };

/// How long the server takes to answer a login.
const ANSWER: Duration = Duration::from_millis(40);

/// What is posted to the loop, from any thread.
enum Event {
    LogIn(&'static str),
    LoggedIn(Result<Login, AnyError>),
    OpenRoom,
    LogOut,
    CloseTabs(Sender<()>),
    LoggedOut(Result<Confirmation, AnyError>),
    /// The last one: `Event::LoopDestroyed` of tao, `ApplicationHandler::exiting` of winit.
    Exiting,
}

/// A login, until its logout begins.
struct Login {
    session: Session,
    client: Guarded<Client>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let plan = ExitPlan::builder(EXIT).build();
    let background = RuntimeOwner::builder("background").workers(1).start()?;
    let store = folder.path().join("store");
    fs::create_dir(&store)?;
    // What is added later is torn down earlier: each login needs the runtime, and has its store in the folder.
    plan.add(Resource::new("folder", POLICY, |_exit| remove(folder)))?;
    plan.add(app::runtime(POLICY, background.clone()))?;
    let (post, events) = mpsc::channel();
    post.send(Event::LogIn("alice"))?;
    if env::args().any(|argument| argument == "impatient") {
        // Handled before the login has its answer.
        post.send(Event::Exiting)?;
    }
    let window = Window {
        plan: plan.clone(),
        background,
        store,
        post,
        login: None,
        tabs: vec![],
        state: State::LoggedOut,
    };
    plan.run(|| match window.run(events) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("error: {error}");
            1
        }
    })
}

struct Window {
    plan: ExitPlan,
    background: RuntimeOwner,
    store: PathBuf,
    post: mpsc::Sender<Event>,
    login: Option<Login>,
    tabs: Vec<Guarded<Room>>,
    state: State,
}

/// One login at a time.
enum State {
    LoggedOut,
    /// Or about to be.
    LoggedIn,
    /// And who logs in after that.
    LoggingOut(Option<&'static str>),
}

impl Window {
    fn run(mut self, events: mpsc::Receiver<Event>) -> Result<(), AnyError> {
        while let Ok(event) = events.recv() {
            match event {
                Event::LogIn(user) => match &mut self.state {
                    State::LoggedOut => self.log_in(user)?,
                    State::LoggedIn => println!("loop: log out first"),
                    State::LoggingOut(next) => *next = Some(user),
                },
                Event::LoggedIn(login) => {
                    let login = login?;
                    println!("loop: {} is logged in", login.client.user);
                    the_user_goes_on(login.client.user, &self.post)?;
                    self.login = Some(login);
                }
                // Derived through the handle: the session owns the room as well.
                Event::OpenRoom => {
                    self.tabs.extend(self.login.iter().map(|login| login.client.map(Room::of)))
                }
                Event::LogOut => {
                    let (Some(login), State::LoggedIn) = (&self.login, &self.state) else {
                        println!("loop: the login is not over, or the logout has begun");
                        continue;
                    };
                    println!("loop: {} rooms are open, logging out", self.tabs.len());
                    let (session, post) = (login.session.clone(), self.post.clone());
                    // Drops the receiver of the result; the task goes on.
                    drop(self.background.spawn("logout", |_stop| log_out(session, post))?);
                    self.state = State::LoggingOut(None);
                }
                Event::CloseTabs(confirm) => {
                    self.drop_handles();
                    let _ = confirm.send(());
                }
                Event::LoggedOut(answer) => {
                    println!("loop: logged out, {answer:?}");
                    // If it failed, the session stays in the plan, and nobody logs in to its folder: an application
                    // shows the error, which names what is left, and closes the session again.
                    answer?;
                    drop(self.plan.withdraw(app::CLIENT)?);
                    let ended = mem::replace(&mut self.state, State::LoggedOut);
                    if let State::LoggingOut(Some(user)) = ended {
                        self.log_in(user)?;
                    }
                }
                Event::Exiting => {
                    println!("loop: exiting");
                    self.drop_handles();
                    // Whoever waits for the loop finds that it is gone.
                    drop(events);
                    self.plan.leave(0)
                }
            }
        }
        Ok(())
    }

    fn log_in(&mut self, user: &'static str) -> Result<(), AnyError> {
        let runtime = RuntimeOwner::builder("client").workers(2).start()?;
        let evidence = no_open_files(&self.store);
        let session =
            Session::builder("login").runtime(runtime.clone()).evidence(evidence).start()?;
        // Already now, while nothing is open: the window may be closed during the login.
        self.plan.add(app::session(POLICY, session.clone()))?;
        let (path, post) = (self.store.join("store.sqlite3"), self.post.clone());
        let log_in = move |_stop| async move {
            let login = log_in(user, path, runtime, session).await;
            // If the loop is gone, the login is dropped here.
            let _ = post.send(Event::LoggedIn(login));
        };
        drop(self.background.spawn("login", log_in)?);
        self.state = State::LoggedIn;
        Ok(())
    }

    /// The last handles, on a thread without a runtime's context.
    fn drop_handles(&mut self) {
        self.tabs.clear();
        self.login = None;
    }
}

/// What the user does after a login.
fn the_user_goes_on(user: &str, post: &mpsc::Sender<Event>) -> Result<(), AnyError> {
    let events = match user {
        // The second login is asked for before the logout is over.
        "alice" => vec![Event::OpenRoom, Event::OpenRoom, Event::LogOut, Event::LogIn("bob")],
        _ => vec![Event::OpenRoom, Event::Exiting],
    };
    events.into_iter().try_for_each(|event| post.send(event)).map_err(|_| "the loop is gone".into())
}

/// Fails if something in it is still open, where the system can say that.
fn remove(folder: TempDir) -> Result<(), AnyError> {
    let open = open_files(folder.path()).unwrap_or_default();
    if !open.is_empty() {
        return Err(format!("still open: {open:?}").into());
    }
    Ok(folder.close()?)
}

/// Runs in the background.
async fn log_in(
    user: &'static str,
    path: PathBuf,
    runtime: RuntimeOwner,
    session: Session,
) -> Result<Login, AnyError> {
    // On the runtime of the login: what the client spawns has to end with it.
    let log_in = move |stop| async move {
        tokio::select! {
            client = Client::log_in(user, path) => client,
            () = stop => Err("the window was closed during the login".into()),
        }
    };
    let client = runtime.spawn("client", log_in)?.await??;
    let client = session.guard(client)?;
    // Without this the client's task would get no stop signal, and each logout would wait for it for two seconds.
    session.before_close_with(&client, async |client| client.stop_sync())?;
    Ok(Login { session, client })
}

/// Runs in the background, where it may wait for the loop and for the session.
async fn log_out(session: Session, post: mpsc::Sender<Event>) {
    let (confirm, closed) = oneshot::channel();
    // If the loop is gone, nobody confirms, and nobody wants the answer.
    let _ = post.send(Event::CloseTabs(confirm));
    // If it is stuck, the session's error says where the handles were made that it has.
    let _ = within(TABS, closed).await;
    let answer = session.close(LOGOUT).await;
    let answer = answer.map(|report| report.confirmation).map_err(AnyError::from);
    let _ = post.send(Event::LoggedOut(answer));
}

/// A client over a store. Clones are the same client.
#[derive(Clone)]
struct Client {
    user: &'static str,
    stop: Arc<Notify>,
    /// The real wrapper of a pooled connection, around a real file.
    _connection: Arc<SyncWrapper<File>>,
}

impl Client {
    async fn log_in(user: &'static str, path: PathBuf) -> Result<Self, AnyError> {
        let open = move || File::create(path);
        let connection = SyncWrapper::new(deadpool_runtime::Runtime::Tokio1, open).await?;
        sleep(ANSWER).await; // It asks the server.
        let stop = Arc::new(Notify::new());
        drop(tokio::spawn(sync(Arc::clone(&stop))));
        Ok(Self { user, stop, _connection: Arc::new(connection) })
    }

    fn stop_sync(&self) {
        self.stop.notify_one();
    }
}

/// A task of the client's own, such as an SDK has.
async fn sync(stop: Arc<Notify>) {
    loop {
        tokio::select! {
            () = stop.notified() => return,
            () = sleep(Duration::from_millis(100)) => {} // It asks the server for what is new.
        }
    }
}

struct Room {
    _client: Client,
}

impl Room {
    fn of(client: &Client) -> Self {
        Self { _client: client.clone() }
    }
}
