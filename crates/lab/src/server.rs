//! Starts a server on a free port, waits until it answers, and ends it when its owner is dropped.
//!
//! A server is a command in the sandbox, in an empty directory of its own. So it leaves nothing behind, even
//! if its owner is killed.

mod postgres;

use std::{
    env,
    ffi::OsString,
    fmt,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    equipment::Lack,
    interrupt::Interrupt,
    sandbox::{Ended, Sandbox, SandboxError, Sandboxed, Surroundings},
};

/// How long a server may take until it answers. Usually it takes a fraction of a second.
const LIMIT: Duration = Duration::from_secs(30);

/// How long one request may take, and how long to wait before the next.
const ATTEMPT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(10);

/// How many ports to try: another process may take a free port before the server does.
const PORTS: usize = 3;

/// The deadline of a server: effectively none.
const FOR_EVER: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// How much of a server's output goes into an error, in bytes.
const SAID: usize = 600;

/// A server that can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The key-value store of that name.
    Etcd,
    /// Redis, or Valkey, which speaks the same protocol.
    Redis,
    /// The message broker of that name, with its streams.
    Nats,
    /// PostgreSQL. Its user `postgres` needs no password.
    Postgres,
}

/// A running server, which ends when this value is dropped.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    program: PathBuf,
    version: String,
    address: SocketAddr,
    stop: Interrupt,
    ended: mpsc::Receiver<Result<Ended, SandboxError>>,
    thread: Option<JoinHandle<()>>,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Etcd, Self::Redis, Self::Nats, Self::Postgres];

    /// Its own name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Redis => "Redis",
            Self::Nats => "NATS",
            Self::Postgres => "PostgreSQL",
        }
    }

    /// The suitable programs, best first.
    #[must_use]
    pub const fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Etcd => &["etcd"],
            Self::Redis => &["redis-server", "valkey-server"],
            Self::Nats => &["nats-server"],
            Self::Postgres => &["postgres"],
        }
    }

    /// The environment variable for the server's address, `host:port`.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Etcd => "ETCD_ADDRESS",
            Self::Redis => "REDIS_ADDRESS",
            Self::Nats => "NATS_ADDRESS",
            Self::Postgres => "POSTGRES_ADDRESS",
        }
    }

    /// Finds the program of such a server.
    ///
    /// # Errors
    ///
    /// [`Lack::Missing`] if there is none on PATH. Debian's PostgreSQL need not be on PATH.
    pub fn find(self) -> Result<PathBuf, Lack> {
        let missing = || Lack::missing(format!("there is no {self} on PATH"), self.remedy());
        let found = match self {
            Self::Postgres => postgres::program(),
            _ => find(self.programs()),
        };
        found.ok_or_else(missing)
    }

    /// The remedy if it is missing.
    const fn remedy(self) -> &'static str {
        match self {
            Self::Etcd => "install it (Debian: apt-get install etcd-server)",
            Self::Redis => "install it (Debian: apt-get install redis-server)",
            Self::Nats => "install it (Debian: apt-get install nats-server)",
            Self::Postgres => "install it (Debian: apt-get install postgresql)",
        }
    }

    /// The command that starts this program. It turns off durability where possible: nobody needs the data later.
    fn command(
        self,
        program: &Path,
        [port, peers]: [u16; 2],
    ) -> Result<(PathBuf, Vec<OsString>), Lack> {
        let url = |port| format!("http://127.0.0.1:{port}");
        let port_text = port.to_string();
        let arguments: Vec<String> = match self {
            Self::Etcd => [
                ("--listen-client-urls", url(port)),
                ("--advertise-client-urls", url(port)),
                ("--listen-peer-urls", url(peers)),
                ("--data-dir", "data".into()),
            ]
            .map(|(name, value)| format!("{name}={value}"))
            .into_iter()
            .chain(["--unsafe-no-fsync".into()])
            .collect(),
            Self::Redis => ["--bind", "127.0.0.1", "--port", &port_text, "--save", ""]
                .map(str::to_owned)
                .into(),
            Self::Nats => {
                ["--addr", "127.0.0.1", "--port", &port_text, "--jetstream", "--store_dir", "data"]
                    .map(str::to_owned)
                    .into()
            }
            Self::Postgres => return postgres::command(program, port),
        };
        Ok((program.to_owned(), arguments.into_iter().map(Into::into).collect()))
    }

    /// A request, and a text that its answer must contain.
    const fn greeting(self) -> (&'static str, &'static str) {
        match self {
            Self::Etcd => ("GET /health HTTP/1.0\r\n\r\n", "\"health\":\"true\""),
            Self::Redis => ("PING\r\n", "+PONG"),
            // It speaks first.
            Self::Nats => ("PING\r\n", "\r\nPONG"),
            // An error while it starts, and otherwise its parameters.
            Self::Postgres => (postgres::GREETING, "server_version"),
        }
    }

    /// Whether the server at this address answers correctly.
    fn answers(self, address: SocketAddr) -> bool {
        let (greeting, expected) = self.greeting();
        self.ask(address, greeting, expected).unwrap_or(false)
    }

    fn ask(self, address: SocketAddr, greeting: &str, expected: &str) -> io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&address, ATTEMPT)?;
        stream.set_read_timeout(Some(ATTEMPT))?;
        stream.write_all(greeting.as_bytes())?;
        let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
        loop {
            let read = stream.read(&mut buffer)?;
            answer.extend_from_slice(buffer.get(..read).unwrap_or_default());
            if String::from_utf8_lossy(&answer).contains(expected) {
                return Ok(true);
            }
            if read == 0 || answer.len() > 64 * buffer.len() {
                return Ok(false);
            }
        }
    }

    /// The version, as the program prints it.
    fn version_of(self, program: &Path) -> String {
        let said = Command::new(program).arg("--version").output();
        let said = said.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
        let said = said.unwrap_or_default();
        // `etcd Version: 3.4.23`, `Redis server v=7.0.15 sha=…`, `nats-server: v2.9.10`,
        // `postgres (PostgreSQL) 15.18 (Debian …)`.
        let marks = [" Version: ", " v=", ": v", "(PostgreSQL) "];
        let version = marks.iter().find_map(|mark| said.split_once(mark));
        let version = version.and_then(|(_, rest)| rest.split_whitespace().next());
        version.unwrap_or("of an unknown version").to_owned()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, others @ ..] = self.programs() else { return Ok(()) };
        f.write_str(first)?;
        others.iter().try_for_each(|other| write!(f, " or {other}"))
    }
}

impl Server {
    /// Starts a server on a free port of 127.0.0.1, and waits until it answers.
    ///
    /// # Errors
    ///
    /// [`Lack::Missing`] if the machine has no such server, [`Lack::Broken`] if it ends or does not answer
    /// within 30 seconds, and [`Lack::Interrupted`].
    pub fn start(kind: Kind, sandbox: &Arc<Sandbox>, interrupt: &Interrupt) -> Result<Self, Lack> {
        let program = kind.find()?;
        let version = kind.version_of(&program);
        let mut attempts = 1;
        loop {
            let ports = free_ports().map_err(|error| {
                Lack::broken(format!("there is no free port on 127.0.0.1 for {kind}: {error}"))
            })?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports[0]));
            let (runs, arguments) = kind.command(&program, ports)?;
            let (stop, (send, ended)) = (Interrupt::by_hand(), mpsc::channel());
            let (sandbox, told) = (Arc::clone(sandbox), stop.clone());
            let thread = thread::spawn(move || {
                let command = Sandboxed {
                    program: &runs,
                    arguments,
                    surroundings: Surroundings::Bare { variables: &[] },
                    deadline: FOR_EVER,
                };
                // The owner may have been dropped.
                let _ = send.send(sandbox.run(&command, &told));
            });
            let (program, version, thread) = (program.clone(), version.clone(), Some(thread));
            let server = Self { kind, program, version, address, stop, ended, thread };
            match server.wait_until_it_answers(interrupt)? {
                None => return Ok(server),
                Some(_) if attempts < PORTS => attempts += 1,
                Some(ended) => {
                    let said = [&ended.stdout, &ended.stderr].map(|it| it.tail(SAID)).join("\n");
                    let (ending, said) = (ended.ending, said.trim());
                    let why = format!("{kind} ended before it answered ({ending}): {said}");
                    return Err(Lack::broken(why));
                }
            }
        }
    }

    /// Returns when the server answers, or how it ended before that.
    fn wait_until_it_answers(&self, interrupt: &Interrupt) -> Result<Option<Ended>, Lack> {
        let (kind, address, began) = (self.kind, self.address, Instant::now());
        loop {
            if let Ok(ended) = self.ended.try_recv() {
                return Ok(Some(ended?));
            }
            if interrupt.raised() {
                return Err(Lack::Interrupted);
            }
            if kind.answers(address) {
                return Ok(None);
            }
            let after = began.elapsed();
            if after > LIMIT {
                let why = format!("{kind} runs, and does not answer on {address} after {after:?}");
                return Err(Lack::broken(why));
            }
            thread::sleep(PAUSE);
        }
    }

    /// The kind of server.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The name of the program that was found: `etcd`.
    #[must_use]
    pub fn program(&self) -> &str {
        self.program.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// The version, as the program prints it: `3.4.23`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The address on which it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether the server has ended, although it has not been dropped.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Server {
    /// Kills the server and waits, some milliseconds, until it has ended and its directory is removed.
    fn drop(&mut self) {
        self.stop.raise();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The first of these programs that is on PATH.
fn find(programs: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let is_program = |file: &PathBuf| {
        file.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
    };
    let places = |program| env::split_paths(&path).map(move |folder| folder.join(program));
    programs.iter().flat_map(places).find(is_program)
}

/// Two ports that are free now. Another process may take them before the server does.
fn free_ports() -> io::Result<[u16; 2]> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (one, other) = (listen()?, listen()?);
    Ok([one.local_addr()?.port(), other.local_addr()?.port()])
}
