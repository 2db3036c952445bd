//! A homeserver: real HTTP on a real port, with the endpoints that a session needs and the faults
//! that it has to survive.
//!
//! It runs on a thread and a runtime of its own, so that the application's runtime can go down beside
//! it. Everything that can be asked of a [`Homeserver`] can be asked from any thread. In a process of
//! its own it is the binary `homeserver` of this package.

use std::{
    fmt, io,
    net::{self, Ipv4Addr, SocketAddr},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use sundown::oneshot;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::{self, Runtime},
    sync::{mpsc, watch},
};

mod connection;
mod endpoint;
mod fault;
mod world;

pub use endpoint::Endpoint;
pub use fault::Fault;

use connection::{Connections, Reset};
use endpoint::Shared;
use world::World;

/// How many connections wait to be accepted.
const BACKLOG: u32 = 128;

/// Why the server is not up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HomeserverError {
    /// The address could not be had.
    #[error("cannot listen on {address}: {source}; ask for port 0 to be given a free one")]
    Address {
        /// The address.
        address: SocketAddr,
        /// What the system answered.
        source: io::Error,
    },
    /// No thread or no runtime to run on.
    #[error(
        "cannot start the homeserver: {0}; is the process at a limit of threads or descriptors?"
    )]
    Resources(#[source] io::Error),
    /// The server has ended.
    #[error("the homeserver has ended; start another")]
    Ended,
}

/// A request that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What was asked.
    pub endpoint: Endpoint,
    /// With which token, whether the server knows it or not.
    pub token: Option<String>,
}

/// A homeserver that runs. Dropped, it is told to end and not waited for; [`Homeserver::stop`] waits.
///
/// ```
/// use mock_sdk::homeserver::{Endpoint, Homeserver};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = Homeserver::start()?;
/// server.add_user("me", "secret");
/// assert!(server.url().starts_with("http://127.0.0.1:"));
/// assert_eq!(server.count(Endpoint::Login), 0);
/// server.stop();
/// # Ok(()) }
/// ```
pub struct Homeserver {
    address: SocketAddr,
    world: Arc<watch::Sender<World>>,
    commands: mpsc::UnboundedSender<Command>,
    thread: JoinHandle<()>,
}

/// What the server's thread is told. That nobody is left to tell it anything tells it to end.
enum Command {
    GoDown(oneshot::Sender<()>),
    ComeBack(oneshot::Sender<Result<(), HomeserverError>>),
}

impl Homeserver {
    /// Starts a server on a free port of the loopback interface, without users and without rooms.
    ///
    /// # Errors
    ///
    /// [`HomeserverError::Resources`] where there is no thread or no descriptor to be had.
    pub fn start() -> Result<Self, HomeserverError> {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// The same on an address; port 0 is a free one.
    ///
    /// # Errors
    ///
    /// [`HomeserverError::Address`] where another listens there, and as [`Homeserver::start`].
    pub fn start_on(address: SocketAddr) -> Result<Self, HomeserverError> {
        let refused = |source| HomeserverError::Address { address, source };
        if address.port() != 0 {
            // A shared address would be had also where another server shares it.
            drop(net::TcpListener::bind(address).map_err(refused)?);
        }
        let place = bind(address).map_err(refused)?;
        let address = place.local_addr().map_err(refused)?;
        let world = Arc::new(watch::Sender::new(World::default()));
        let (commands, commanded) = mpsc::unbounded_channel();
        // The first start, told from here, so that a failure is known here.
        let (confirm, mut confirmed) = oneshot::channel();
        let _ = commands.send(Command::ComeBack(confirm));
        let shared = Shared(Arc::clone(&world));
        let thread = thread::Builder::new()
            .name("homeserver".to_owned())
            .spawn(move || run(&place, address, &shared, commanded))
            .map_err(HomeserverError::Resources)?;
        confirmed.wait_blocking(Duration::MAX).map_err(|_| HomeserverError::Ended)??;
        Ok(Self { address, world, commands, thread })
    }

    /// Where it listens, as a client wants it: `http://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a user, or changes a password, and returns the full id. `me` is short for
    /// `@me:example.org`.
    pub fn add_user(&self, user: &str, password: &str) -> String {
        self.change(|world| world.add_user(user, password))
    }

    /// Adds a room, or renames one. Every user is in every room.
    pub fn add_room(&self, id: &str, name: &str) {
        self.change(|world| world.add_room(id, name));
    }

    /// Has somebody say something in a room, which is made where it is missing. Returns the event's
    /// id.
    pub fn say(&self, room: &str, sender: &str, body: &str) -> String {
        self.change(|world| world.say(room, sender, body))
    }

    /// What was said in a room, in order.
    #[must_use]
    pub fn messages(&self, room: &str) -> Vec<String> {
        self.world.borrow().messages(room)
    }

    /// Queues a fault for the next request to an endpoint, behind those that are queued already.
    pub fn fail_next(&self, endpoint: Endpoint, fault: Fault) {
        self.change(|world| world.faults.entry(endpoint).or_default().push_back(fault));
    }

    /// Has every request to an endpoint fail, from now on, that no queued fault is due for.
    pub fn fail_always(&self, endpoint: Endpoint, fault: Fault) {
        self.change(|world| drop(world.standing.insert(endpoint, fault)));
    }

    /// Ends all faults, those that wait in a queue included.
    pub fn heal(&self) {
        self.change(|world| {
            world.faults.clear();
            world.standing.clear();
        });
    }

    /// Forgets a token, as a server does when the user's devices are removed elsewhere.
    pub fn forget_token(&self, token: &str) {
        self.change(|world| world.forget_token(token));
    }

    /// Every token that the server knows, in order: who is logged in.
    #[must_use]
    pub fn tokens(&self) -> Vec<String> {
        self.world.borrow().tokens().cloned().collect()
    }

    /// Whether the server knows a token.
    #[must_use]
    pub fn is_alive(&self, token: &str) -> bool {
        self.world.borrow().is_alive(token)
    }

    /// Every request that arrived, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.world.borrow().seen.clone()
    }

    /// How many requests to an endpoint arrived.
    #[must_use]
    pub fn count(&self, endpoint: Endpoint) -> usize {
        self.world.borrow().seen.iter().filter(|seen| seen.endpoint == endpoint).count()
    }

    /// Waits until what the server has seen, and knows, is so; asked again after every change. Works
    /// under any executor.
    pub async fn until(&self, so: impl Fn(&Self) -> bool) {
        let mut changes = self.world.subscribe();
        // Subscribed first: a change after the look is not missed. What is asked looks at the world
        // itself, so that it is not held meanwhile.
        while !so(self) {
            // Fails only where the sender is gone, and this has it.
            let _ = changes.changed().await;
        }
    }

    /// Goes down: every connection is closed, and new ones are refused, until it comes back. What it
    /// knows, it keeps. Where it is down already, nothing happens.
    pub fn go_down(&self) {
        let (confirm, mut confirmed) = oneshot::channel();
        let _ = self.commands.send(Command::GoDown(confirm));
        let _ = confirmed.wait_blocking(Duration::MAX);
    }

    /// Comes back, on the same port, which it has kept for itself. Where it is up, nothing happens.
    ///
    /// # Errors
    ///
    /// [`HomeserverError`] where it cannot listen again; it stays down then.
    pub fn come_back(&self) -> Result<(), HomeserverError> {
        let (confirm, mut confirmed) = oneshot::channel();
        let _ = self.commands.send(Command::ComeBack(confirm));
        confirmed.wait_blocking(Duration::MAX).map_err(|_| HomeserverError::Ended)?
    }

    /// Ends: closes every connection, and waits for its thread, which takes as long as dropping its
    /// tasks does.
    pub fn stop(self) {
        let Self { commands, thread, .. } = self;
        drop(commands);
        // It does not panic; if it did, it has ended.
        let _ = thread.join();
    }

    fn change<R>(&self, change: impl FnOnce(&mut World) -> R) -> R
    where
        R: Default,
    {
        let mut result = R::default();
        self.world.send_modify(|world| result = change(world));
        result
    }
}

impl fmt::Debug for Homeserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Homeserver").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A socket on an address that others of this server can share, and no socket of anybody else, not
/// even while none of them listens.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = socket(address)?;
    socket.bind(address)?;
    Ok(socket)
}

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseport(true)?;
    Ok(socket)
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    // Its connections take this over, and whoever comes after this server does not have to wait
    // until the last of them is forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The server's thread: one runtime for each time it is up. To go down is to drop it, with every
/// task and every connection, as when a process dies.
///
/// `_place` is bound and never listens: while the server is down its port refuses connections, and
/// nobody else is given it.
fn run(
    _place: &TcpSocket,
    address: SocketAddr,
    shared: &Shared,
    mut commanded: mpsc::UnboundedReceiver<Command>,
) {
    while let Some(command) = commanded.blocking_recv() {
        match command {
            Command::GoDown(confirm) => drop(confirm.send(())),
            Command::ComeBack(confirm) => match listen(address) {
                Ok((runtime, connections)) => {
                    let _ = confirm.send(Ok(()));
                    let gone_down = runtime.block_on(serve(connections, shared, &mut commanded));
                    drop(runtime);
                    let Some(confirm) = gone_down else { return };
                    let _ = confirm.send(());
                }
                Err(error) => drop(confirm.send(Err(error))),
            },
        }
    }
}

fn listen(address: SocketAddr) -> Result<(Runtime, Connections), HomeserverError> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(HomeserverError::Resources)?;
    let context = runtime.enter();
    let listener =
        listener(address).map_err(|source| HomeserverError::Address { address, source })?;
    drop(context);
    Ok((runtime, Connections(listener)))
}

/// Serves until it is told to go down; then who is to be told that it has. `None` at the end.
async fn serve(
    connections: Connections,
    shared: &Shared,
    commanded: &mut mpsc::UnboundedReceiver<Command>,
) -> Option<oneshot::Sender<()>> {
    let service: IntoMakeServiceWithConnectInfo<_, Reset> =
        endpoint::router(shared.clone()).into_make_service_with_connect_info();
    // It is serving for as long as it is not dropped.
    let _serving = tokio::spawn(axum::serve(connections, service).into_future());
    loop {
        match commanded.recv().await? {
            Command::GoDown(confirm) => return Some(confirm),
            Command::ComeBack(confirm) => drop(confirm.send(Ok(()))),
        }
    }
}
