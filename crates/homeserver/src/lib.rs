//! A homeserver: real HTTP on a real port, with the endpoints that a session needs and the faults that
//! it has to survive.
//!
//! It runs on a thread and a runtime of its own, so that the application's runtime can go down beside
//! it. A [`Homeserver`] can be used from any thread.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use sundown_core::oneshot;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::{self, Runtime},
    sync::{mpsc, watch},
};

mod body;
mod endpoint;
mod fault;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod matrix_error;
mod news;
mod serve;
mod sliding_sync;
mod world;

pub use endpoint::Endpoint;
pub use fault::Fault;

use world::World;

/// How many connections wait to be accepted.
const BACKLOG: u32 = 128;

/// A running homeserver. If it is dropped, it is told to end and not waited for; [`Homeserver::stop`]
/// waits.
///
/// ```
/// use homeserver::{Endpoint, Homeserver};
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

/// A command to the server's thread, which ends when the sender of its commands is gone.
enum Command {
    GoDown(oneshot::Sender<()>),
    ComeBack(oneshot::Sender<io::Result<()>>),
}

impl Homeserver {
    /// Starts a server on a free port of the loopback interface, without users and rooms.
    ///
    /// # Errors
    ///
    /// If there is no thread, port or descriptor left.
    pub fn start() -> io::Result<Self> {
        // Bound, but never listening: while the server is down, its port refuses connections, and
        // nobody else gets it.
        let reserved = TcpSocket::new_v4()?;
        reserved.set_reuseport(true)?;
        reserved.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = reserved.local_addr()?;
        let world = Arc::new(watch::Sender::new(World::default()));
        let (commands, receiver) = mpsc::unbounded_channel();
        let shared = Arc::clone(&world);
        let thread = thread::Builder::new().name("homeserver".to_owned()).spawn(move || {
            run(address, &shared, receiver);
            drop(reserved);
        })?;
        let server = Self { address, world, commands, thread };
        server.come_back()?;
        Ok(server)
    }

    /// Its URL, as a client wants it: `http://127.0.0.1:40123`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a user. `me` is short for `@me:example.org`.
    pub fn add_user(&self, user: &str, password: &str) {
        self.world.send_modify(|world| world.add_user(user, password));
    }

    /// Sends a message to a room as some user. The room is created if it is missing, with every user
    /// in it.
    pub fn say(&self, room: &str, sender: &str, body: &str) {
        self.world.send_modify(|world| drop(world.say(room, sender, body)));
    }

    /// Adds an empty room that nobody is in. A user who joins it sees all that was ever said there.
    pub fn add_room_to_join(&self, room: &str) {
        self.world.send_modify(|world| world.add_room_to_join(room));
    }

    /// The messages in a room, in order.
    #[must_use]
    pub fn messages(&self, room: &str) -> Vec<String> {
        self.world.borrow().messages(room)
    }

    /// Queues a fault for the next request to an endpoint, behind those that are queued already.
    pub fn fail_next(&self, endpoint: Endpoint, fault: Fault) {
        self.world.send_modify(|world| world.faults.entry(endpoint).or_default().push_back(fault));
    }

    /// From now on every request to an endpoint fails, after the queued faults.
    pub fn fail_always(&self, endpoint: Endpoint, fault: Fault) {
        self.world.send_modify(|world| {
            world.standing_faults.insert(endpoint, fault);
        });
    }

    /// Ends all faults, also the queued ones.
    pub fn heal(&self) {
        self.world.send_modify(|world| {
            world.faults.clear();
            world.standing_faults.clear();
        });
    }

    /// Forgets a token, as a server does when the user's devices are removed elsewhere.
    pub fn forget_token(&self, token: &str) {
        self.world.send_modify(|world| world.forget_token(token));
    }

    /// How many tokens the server knows: how many logins there are.
    #[must_use]
    pub fn logins(&self) -> usize {
        self.world.borrow().logins()
    }

    /// Whether the server knows a token.
    #[must_use]
    pub fn is_alive(&self, token: &str) -> bool {
        self.world.borrow().is_alive(token)
    }

    /// How many requests to an endpoint have arrived.
    #[must_use]
    pub fn count(&self, endpoint: Endpoint) -> usize {
        self.world.borrow().arrived.get(&endpoint).copied().unwrap_or(0)
    }

    /// Waits until the condition holds, which is checked after every change of the server's state.
    /// Works under any executor.
    pub async fn until(&self, condition: impl Fn(&Self) -> bool) {
        // Subscribed first: a change after the check is not missed. The condition borrows the state
        // itself, and so this must not hold it meanwhile.
        let mut changes = self.world.subscribe();
        while !condition(self) {
            // Fails only if the sender is gone, and `self` has it.
            let _ = changes.changed().await;
        }
    }

    /// Goes down: every connection is closed, and new ones are refused, until it comes back. It keeps
    /// its state. If it is down already, nothing happens.
    pub fn go_down(&self) {
        let (confirm, mut confirmed) = oneshot::channel();
        let _ = self.commands.send(Command::GoDown(confirm));
        let _ = confirmed.wait_blocking(Duration::MAX);
    }

    /// Comes back on the same port. If it is up, nothing happens.
    ///
    /// # Errors
    ///
    /// If it cannot listen again: it stays down then.
    pub fn come_back(&self) -> io::Result<()> {
        let (confirm, mut confirmed) = oneshot::channel();
        let _ = self.commands.send(Command::ComeBack(confirm));
        confirmed.wait_blocking(Duration::MAX).map_err(io::Error::other)?
    }

    /// Ends the server: closes every connection, and waits for its thread.
    pub fn stop(self) {
        let Self { commands, thread, .. } = self;
        drop(commands);
        // If it panicked, it has ended too.
        let _ = thread.join();
    }
}

impl fmt::Debug for Homeserver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Homeserver").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The server's thread: one runtime for each time it is up. Going down drops the runtime with every task
/// and every connection, as when a process dies.
fn run(
    address: SocketAddr,
    world: &Arc<watch::Sender<World>>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    while let Some(command) = commands.blocking_recv() {
        match command {
            Command::GoDown(confirm) => drop(confirm.send(())),
            Command::ComeBack(confirm) => match listen(address) {
                Ok((runtime, listener)) => {
                    let _ = confirm.send(Ok(()));
                    let down = runtime.block_on(serve_until_down(listener, world, &mut commands));
                    drop(runtime);
                    let Some(confirm) = down else { return };
                    let _ = confirm.send(());
                }
                Err(error) => drop(confirm.send(Err(error))),
            },
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<(Runtime, TcpListener)> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let context = runtime.enter();
    let socket = TcpSocket::new_v4()?;
    // Shares the port with the socket that reserves it.
    socket.set_reuseport(true)?;
    // Inherited by its connections: the port is free again before the last of them is forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    drop(context);
    Ok((runtime, listener))
}

/// Serves until the server is to go down, and returns the confirmation for that. `None` at its end.
async fn serve_until_down(
    listener: TcpListener,
    world: &Arc<watch::Sender<World>>,
    commands: &mut mpsc::UnboundedReceiver<Command>,
) -> Option<oneshot::Sender<()>> {
    drop(tokio::spawn(serve::accept(listener, Arc::clone(world))));
    loop {
        match commands.recv().await? {
            Command::GoDown(confirm) => return Some(confirm),
            Command::ComeBack(confirm) => drop(confirm.send(Ok(()))),
        }
    }
}
