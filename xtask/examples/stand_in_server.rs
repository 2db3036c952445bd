//! Stands in for Redis in the tests of `cargo xtask servers`: answers whatever it is told with PONG.

use std::{
    env,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
};

fn main() -> io::Result<()> {
    let mut arguments = env::args().skip_while(|argument| argument != "--port");
    let port = arguments.nth(1).and_then(|port| port.parse::<u16>().ok());
    let port = port.ok_or_else(|| io::Error::other("there is no --port"))?;
    for stream in TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.incoming() {
        let mut stream = stream?;
        // Whoever asked may be gone.
        let _ = stream.read(&mut [0; 64]).and_then(|_| stream.write_all(b"+PONG\r\n"));
    }
    Ok(())
}
