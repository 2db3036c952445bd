//! What answers in the place of a server: as little as a client needs to be alive.

use std::{
    io::{BufRead as _, BufReader, Read as _, Result, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
};

/// Treats each connection so, on a thread of its own.
pub fn serve(treat: fn(TcpStream) -> Result<()>) -> SocketAddr {
    let (listener, address) = listen();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || treat(stream));
        }
    });
    address
}

/// Treats one connection so. Then nobody listens any more.
pub fn serve_one(treat: fn(TcpStream) -> Result<()>) -> SocketAddr {
    let (listener, address) = listen();
    thread::spawn(move || {
        let accepted = listener.accept();
        drop(listener);
        accepted.and_then(|(stream, _)| treat(stream))
    });
    address
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

/// Says nothing.
pub fn silent(mut stream: TcpStream) -> Result<()> {
    std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
}

/// Says nothing, and is gone.
pub fn gone(_: TcpStream) -> Result<()> {
    Ok(())
}

/// A PostgreSQL is ready.
const READY: &[u8] = b"Z\0\0\0\x05I";

/// Reads the length of a message of PostgreSQL's, and the rest of it.
fn body(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut body = vec![0; u32::from_be_bytes(length).saturating_sub(4) as usize];
    stream.read_exact(&mut body)?;
    Ok(body)
}

/// Accepts a client of PostgreSQL, and ends.
pub fn postgres_once(mut stream: TcpStream) -> Result<()> {
    body(&mut stream)?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\0")?;
    stream.write_all(READY)
}

/// Says OK to everything that a client of PostgreSQL says.
pub fn postgres(stream: TcpStream) -> Result<()> {
    postgres_until(stream, |_| false)
}

/// Does so until the client wants to listen, and ends.
pub fn postgres_until_listen(stream: TcpStream) -> Result<()> {
    postgres_until(stream, |said| said.starts_with(b"LISTEN"))
}

fn postgres_until(mut stream: TcpStream, is_last: fn(&[u8]) -> bool) -> Result<()> {
    body(&mut stream)?;
    stream.write_all(b"R\0\0\0\x08\0\0\0\0")?;
    stream.write_all(READY)?;
    let mut kind = [0];
    while stream.read_exact(&mut kind).is_ok() {
        if is_last(&body(&mut stream)?) {
            break;
        }
        if kind == *b"Q" {
            stream.write_all(b"C\0\0\0\x07OK\0")?;
        }
        if [*b"Q", *b"S"].contains(&kind) {
            stream.write_all(READY)?;
        }
    }
    Ok(())
}

/// Says OK to every command of what a client of Redis says at once. `false` if it says nothing any more.
fn redis_commands(stream: &mut TcpStream) -> Result<bool> {
    let mut read = [0; 4096];
    let count = stream.read(&mut read)?;
    let commands = read[..count].iter().filter(|byte| **byte == b'*').count();
    stream.write_all(&b"+OK\r\n".repeat(commands))?;
    Ok(count > 0)
}

/// Says OK to every command that a client of Redis gives.
pub fn redis(mut stream: TcpStream) -> Result<()> {
    while redis_commands(&mut stream)? {}
    Ok(())
}

/// Accepts a client of Redis, and ends when it wants more.
pub fn redis_once(mut stream: TcpStream) -> Result<()> {
    redis_commands(&mut stream)?;
    stream.read_exact(&mut [0])
}

/// Greets a client of MySQL, and says OK to everything.
pub fn mysql(mut stream: TcpStream) -> Result<()> {
    // The version of the protocol and of the server, a number of the connection, and the first half of a challenge.
    let mut greeting = b"\x0a8.0.0\0\x01\0\0\0abcdefgh\0".to_vec();
    // The protocol of 4.1, transactions, authentication with a challenge, and names of plugins.
    let [one, two, three, four] = 0x0008_a200_u32.to_le_bytes();
    greeting.extend([one, two, 45, 2, 0, three, four, 21]);
    greeting.extend(b"\0\0\0\0\0\0\0\0\0\0abcdefghijkl\0mysql_native_password\0");
    let mut answer = greeting;
    let mut number = 0;
    loop {
        let length = u8::try_from(answer.len()).map_err(std::io::Error::other)?;
        stream.write_all(&[&[length, 0, 0, number], &answer[..]].concat())?;
        let mut header = [0; 4];
        stream.read_exact(&mut header)?;
        let [low, middle, high, of_client] = header;
        let length = u32::from_le_bytes([low, middle, high, 0]).into();
        std::io::copy(&mut (&stream).take(length), &mut std::io::sink())?;
        number = of_client.wrapping_add(1);
        answer = vec![0, 0, 0, 2, 0, 0, 0];
    }
}

/// Accepts a client of RabbitMQ, opens its channels and closes what it closes.
pub fn amqp(stream: TcpStream) -> Result<()> {
    let send = |channel: [u8; 2], method: &[u8]| {
        let length = u32::try_from(method.len()).map_err(std::io::Error::other)?;
        let length = length.to_be_bytes();
        (&stream).write_all(&[&[1], &channel[..], &length[..], method, &[0xCE]].concat())
    };
    (&stream).read_exact(&mut [0; 8])?;
    // Start: version 0.9, no properties, a mechanism and a locale.
    let start = b"\0\x0a\0\x0a\0\x09\0\0\0\0\0\0\0\x05PLAIN\0\0\0\x05en_US";
    send([0, 0], start)?;
    loop {
        // Kind, channel and length; then the class and the method, and a byte that ends the frame.
        let mut header = [0; 7];
        (&stream).read_exact(&mut header)?;
        let [_, high, low, length @ ..] = header;
        let mut body = vec![0; u32::from_be_bytes(length) as usize + 1];
        (&stream).read_exact(&mut body)?;
        let answer: &[u8] = match body[..] {
            // StartOk: Tune, with 2047 channels, frames of 128 KiB, and no heartbeat.
            [0, 10, 0, 11, ..] => b"\0\x0a\0\x1e\x07\xff\0\x02\0\0\0\0",
            // Open of a connection.
            [0, 10, 0, 40, ..] => b"\0\x0a\0\x29\0",
            // Close of a connection.
            [0, 10, 0, 50, ..] => b"\0\x0a\0\x33",
            // Open of a channel.
            [0, 20, 0, 10, ..] => b"\0\x14\0\x0b\0\0\0\0",
            // Close of a channel.
            [0, 20, 0, 40, ..] => b"\0\x14\0\x29",
            _ => continue,
        };
        send([high, low], answer)?;
    }
}

const NATS_INFO: &[u8] = b"INFO {\"server_id\":\"a\",\"server_name\":\"a\",\"version\":\"2.12.0\",\"proto\":1,\
    \"max_payload\":1024,\"headers\":true,\"host\":\"127.0.0.1\",\"port\":4222,\"go\":\"\",\"client_id\":1}\r\n";

/// Answers to as many pings of a client of NATS, and ends.
fn nats_pings(mut stream: TcpStream, pings: usize) -> Result<()> {
    stream.write_all(NATS_INFO)?;
    let lines = BufReader::new(stream.try_clone()?).lines().map_while(Result::ok);
    for _ in lines.filter(|line| line == "PING").take(pings) {
        stream.write_all(b"PONG\r\n")?;
    }
    Ok(())
}

/// Answers to the pings of a client of NATS.
pub fn nats(stream: TcpStream) -> Result<()> {
    nats_pings(stream, usize::MAX)
}

/// Accepts a client of NATS, and ends.
pub fn nats_once(stream: TcpStream) -> Result<()> {
    nats_pings(stream, 1)
}

/// Says OK to every line that a client of SMTP or FTP writes. Both know these numbers.
pub fn lines(mut stream: TcpStream) -> Result<()> {
    stream.write_all(b"220 a server\r\n")?;
    for line in BufReader::new(stream.try_clone()?).lines() {
        line?;
        stream.write_all(b"250 OK\r\n")?;
    }
    Ok(())
}

/// Accepts a client of SMTP or FTP, and ends.
pub fn lines_once(mut stream: TcpStream) -> Result<()> {
    stream.write_all(b"220 a server\r\n")
}

/// Says to every question about a name that there is no such name.
pub fn names() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("an address");
    thread::spawn(move || -> Result<()> {
        let mut message = [0; 512];
        loop {
            let (count, from) = socket.recv_from(&mut message)?;
            // An answer, and NXDOMAIN.
            message[2] |= 0x80;
            message[3] = 3;
            socket.send_to(&message[..count], from)?;
        }
    });
    address
}

/// Answers to every request of a client of HTTP with nothing.
pub fn http(stream: TcpStream) -> Result<()> {
    http_with(stream, |_| "")
}

/// Gives a client of Consul every session and every lock that it wants.
pub fn consul(stream: TcpStream) -> Result<()> {
    http_with(stream, |line| if line.contains("/session/") { r#"{"ID":"a"}"# } else { "true" })
}

/// Answers to a request of a client of HTTP with what belongs to its first line.
fn http_with(mut stream: TcpStream, answer: fn(&str) -> &str) -> Result<()> {
    let mut read = BufReader::new(stream.try_clone()?);
    loop {
        let mut first = String::new();
        if read.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let (mut is_chunked, mut length) = (false, 0);
        loop {
            let mut line = String::new();
            if read.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("transfer-encoding", _)) => is_chunked = true,
                Some(("content-length", value)) => length = value.parse().unwrap_or_default(),
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        if is_chunked {
            let mut length = None;
            while length != Some(0) {
                let mut line = String::new();
                read.read_line(&mut line)?;
                let of_chunk =
                    u64::from_str_radix(line.trim_end(), 16).map_err(std::io::Error::other)?;
                // The chunk, and the end of its line.
                std::io::copy(&mut (&mut read).take(of_chunk + 2), &mut std::io::sink())?;
                length = Some(of_chunk);
            }
        } else {
            std::io::copy(&mut (&mut read).take(length), &mut std::io::sink())?;
        }
        let answer = answer(&first);
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{answer}", answer.len())?;
    }
}

/// Says to everything that a client of Redis says that it subscribes to the topic `a`.
pub fn redis_topic(mut stream: TcpStream) -> Result<()> {
    while stream.read(&mut [0; 4096])? > 0 {
        stream.write_all(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n")?;
    }
    Ok(())
}

/// Accepts the password of a client of RCON, and says nothing to every command.
pub fn rcon(mut stream: TcpStream) -> Result<()> {
    loop {
        // The length of what follows, a number, and the kind.
        let mut header = [0; 12];
        stream.read_exact(&mut header)?;
        let [one, two, three, four, number @ .., _, _, _, _] = header;
        let length = u64::from(u32::from_le_bytes([one, two, three, four]).saturating_sub(8));
        std::io::copy(&mut (&stream).take(length), &mut std::io::sink())?;
        // A password is of kind 3, and its answer of kind 2. A command is of kind 2, and its answer of kind 0.
        let kind = if header[8] == 3 { 2 } else { 0 };
        stream.write_all(&[&[10, 0, 0, 0], &number[..], &[kind, 0, 0, 0, 0, 0]].concat())?;
    }
}

/// Connects a client of a SOCKS5 proxy, and says nothing.
pub fn socks5(mut stream: TcpStream) -> Result<()> {
    let mut greeting = [0; 2];
    stream.read_exact(&mut greeting)?;
    std::io::copy(&mut (&stream).take(greeting[1].into()), &mut std::io::sink())?;
    // No password.
    stream.write_all(&[5, 0])?;
    // An address of IPv4, and a port.
    stream.read_exact(&mut [0; 10])?;
    stream.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 9])?;
    silent(stream)
}

/// Connects a client of a SOCKS4 proxy, and says nothing.
pub fn socks4(mut stream: TcpStream) -> Result<()> {
    // An address of IPv4, a port, and an empty name.
    stream.read_exact(&mut [0; 9])?;
    stream.write_all(&[0, 0x5a, 0, 9, 127, 0, 0, 1])?;
    silent(stream)
}

/// Tells a client of DolphinDB about a table with a number in each row, and says OK to what comes then.
pub fn dolphindb(mut stream: TcpStream) -> Result<()> {
    dolphindb_table(&mut stream)?;
    while stream.read(&mut [0; 4096])? > 0 {
        stream.write_all(b"1 0 0\nOK\n")?;
    }
    Ok(())
}

/// Does so, and ends.
pub fn dolphindb_until_insert(mut stream: TcpStream) -> Result<()> {
    dolphindb_table(&mut stream)
}

fn dolphindb_table(stream: &mut TcpStream) -> Result<()> {
    // To who connects. Then vectors of one, each with the form and the type, the counts of rows and columns, and the
    // value: the type of the column, and its name.
    let answers: [&[u8]; 3] = [
        b"1 0 0\nOK\n",
        b"1 1 0\nOK\n\x01\x04\0\0\0\x01\0\0\0\x01\0\0\0\x04",
        b"1 1 0\nOK\n\x01\x12\0\0\0\x01\0\0\0\x01a\0",
    ];
    for answer in answers {
        if stream.read(&mut [0; 4096])? == 0 {
            break;
        }
        stream.write_all(answer)?;
    }
    Ok(())
}
