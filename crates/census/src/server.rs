//! The servers of the trials: small ones in the trial's own process, and real ones that the machine may lack.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
};

use lab::{
    Equipment, Lack, Preparation, TrialResult,
    server::{Kind, Server as Running},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::look;

/// A real server.
#[derive(Clone, Copy, Debug)]
pub enum Server {
    Redis,
}

impl Server {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redis => "Redis",
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::Redis => Kind::Redis,
        }
    }

    /// The variable with the reason why the server is missing.
    fn lacks(self) -> String {
        format!("{}_MISSING", self.kind().variable())
    }

    /// Why it is missing, and what to do about it; nothing if it runs.
    pub fn missing(self) -> Option<String> {
        env::var(self.lacks()).ok()
    }

    /// Where it listens.
    pub fn address(self) -> TrialResult<String> {
        Ok(env::var(self.kind().variable())?)
    }
}

/// Starts the real servers that the machine has.
pub fn prepare(preparation: &Preparation<'_>) -> Result<Equipment, Lack> {
    let mut equipment = Equipment::new();
    for server in [Server::Redis] {
        let kind = server.kind();
        match Running::start(kind, preparation.sandbox(), preparation.interrupt()) {
            Ok(running) => {
                equipment = equipment
                    .version(running.program(), running.version())
                    .variable(kind.variable(), running.address().to_string())
                    .keeping(running);
            }
            Err(Lack::Missing { what, remedy }) => {
                equipment = equipment.variable(&server.lacks(), format!("{what}: {remedy}"));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(equipment)
}

/// Serves each connection on a thread of its own.
pub fn serve(treat: fn(TcpStream) -> io::Result<()>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    look::exclude(address.port());
    let named = || thread::Builder::new().name(look::OWN.to_owned());
    named().spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = named().spawn(move || treat(stream));
        }
    })?;
    Ok(address)
}

/// Sends back what it reads.
pub fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            count => stream.write_all(buffer.get(..count).unwrap_or_default())?,
        }
    }
}

/// Answers every request without a body.
pub fn http(stream: TcpStream) -> io::Result<()> {
    let mut requests = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    let mut line = String::new();
    loop {
        line.clear();
        if requests.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\na row")?;
        }
    }
}

/// A connection to an echo server: the plainest one that a pool can hold.
pub struct Connection(tokio::net::TcpStream);

impl Connection {
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self(tokio::net::TcpStream::connect(address).await?))
    }

    pub async fn call(&mut self) -> io::Result<()> {
        let mut read = [0; 5];
        self.0.write_all(b"a row").await?;
        self.0.read_exact(&mut read).await.map(drop)
    }
}
