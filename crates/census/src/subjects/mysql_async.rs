//! mysql_async, with a server that says OK to everything.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
};

use lab::TrialResult;
use mysql_async::{Conn, OptsBuilder, Pool, PoolConstraints, PoolOpts, prelude::Queryable as _};

use crate::{
    server,
    subject::{Card, Subject},
};

/// What a client of MySQL needs to hear: a greeting, and OK.
fn mysql(mut stream: TcpStream) -> io::Result<()> {
    let mut hello = vec![10];
    hello.extend(b"8.0.0-census\0");
    hello.extend([1, 0, 0, 0]);
    hello.extend(b"abcdefgh\0");
    // The protocol of 4.1, transactions, safe authentication, and names of plugins.
    let capabilities = 0x0000_0200_u32 | 0x2000 | 0x8000 | 0x0008_0000;
    let [one, two, three, four] = capabilities.to_le_bytes();
    hello.extend([one, two, 45, 2, 0, three, four, 21]);
    hello.extend([0; 10]);
    hello.extend(b"abcdefghijkl\0");
    hello.extend(b"mysql_native_password\0");
    send(&mut stream, 0, &hello)?;
    loop {
        let mut header = [0; 4];
        stream.read_exact(&mut header)?;
        let [low, middle, high, sequence] = header;
        let mut body = vec![0; u32::from_le_bytes([low, middle, high, 0]) as usize];
        stream.read_exact(&mut body)?;
        // COM_QUIT.
        if body == [1] {
            return Ok(());
        }
        send(&mut stream, sequence.wrapping_add(1), &[0, 0, 0, 2, 0, 0, 0])?;
    }
}

fn send(stream: &mut TcpStream, sequence: u8, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let [low, middle, high, _] = length.to_le_bytes();
    stream.write_all(&[&[low, middle, high, sequence], body].concat())
}

fn pool() -> TrialResult<Pool> {
    let address = server::serve(mysql)?;
    let one = PoolConstraints::new(1, 1).ok_or("no constraints")?;
    let options = OptsBuilder::default()
        .ip_or_hostname(address.ip().to_string())
        .tcp_port(address.port())
        .user(Some("census"))
        .prefer_socket(Some(false))
        // Otherwise it asks the server.
        .max_allowed_packet(Some(1 << 20))
        .wait_timeout(Some(600))
        .pool_opts(PoolOpts::default().with_constraints(one));
    Ok(Pool::new(options))
}

struct OfPool;

impl Subject for OfPool {
    type Live = Pool;

    const CODE: &'static str = "mysql_async-pool";
    const PACKAGE: &'static str = "mysql_async";
    const VALUE: &'static str = "a `Pool` that has one idle connection";
    const CALL: &'static str = "a connection is taken from the pool, and makes a query";
    const CLOSE: Result<&'static str, &'static str> = Ok("`Pool::disconnect` of a clone");

    async fn live() -> TrialResult<Self::Live> {
        pool()
    }

    async fn call(pool: &mut Self::Live) -> TrialResult {
        Ok(pool.get_conn().await?.query_drop("INSERT").await?)
    }

    async fn close(pool: &mut Self::Live) -> TrialResult {
        Ok(pool.clone().disconnect().await?)
    }
}

struct OfConnection;

impl Subject for OfConnection {
    type Live = (Conn, Pool);

    const CODE: &'static str = "mysql_async-connection";
    const PACKAGE: &'static str = "mysql_async";
    const VALUE: &'static str = "a `Conn` of a pool, and then its pool";
    const CALL: &'static str = "the connection makes a query";
    const CLOSE: Result<&'static str, &'static str> =
        Err("the close of a connection leaves its pool open: see `mysql_async-pool`");

    async fn live() -> TrialResult<Self::Live> {
        let pool = pool()?;
        Ok((pool.get_conn().await?, pool))
    }

    async fn call((connection, _): &mut Self::Live) -> TrialResult {
        Ok(connection.query_drop("INSERT").await?)
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfPool>(file!()), Card::of::<OfConnection>(file!())]
}
