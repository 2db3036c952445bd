//! What answers in the place of a server, with crates that are dropped here or that their interfaces need.

use std::{
    io::{BufRead as _, BufReader, Read as _, Result, Write as _},
    net::TcpStream,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{Response, StatusCode},
};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, DuplexStream};

pub use ::servers::*;

/// Says to every line of a client of Faktory that it is welcome, or OK.
pub fn faktory(mut stream: TcpStream) -> Result<()> {
    stream.write_all(b"+HI {\"v\":2}\r\n")?;
    for line in BufReader::new(stream.try_clone()?).lines() {
        if line? == "END" {
            break;
        }
        stream.write_all(b"+OK\r\n")?;
    }
    Ok(())
}

/// Says OK to every request of a client of RTSP: there is one stream, which sends nothing.
pub fn rtsp(mut stream: TcpStream) -> Result<()> {
    let description = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=a\r\nt=0 0\r\n\
        m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:track1\r\n";
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    loop {
        let request: Vec<String> =
            lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
        let Some(method) = request.first().and_then(|line| line.split(' ').next()) else {
            return Ok(());
        };
        let is_number = |line: &&String| line.to_lowercase().starts_with("cseq:");
        let number = request.iter().find(is_number).map_or("CSeq: 1", |line| line);
        let answer = match method {
            "DESCRIBE" => format!(
                "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{description}",
                description.len()
            ),
            "SETUP" => {
                "Session: 1;timeout=60\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"
                    .to_owned()
            }
            _ => "Session: 1\r\n\r\n".to_owned(),
        };
        stream.write_all(format!("RTSP/1.0 200 OK\r\n{number}\r\n{answer}").as_bytes())?;
    }
}

/// Greets a client of the Music Player Daemon, and says nothing any more.
pub fn mpd(mut stream: TcpStream) -> Result<()> {
    stream.write_all(b"OK MPD 0.23.3\n")?;
    silent(stream)
}

/// Greets a client of the Music Player Daemon, and is gone.
pub fn mpd_once(mut stream: TcpStream) -> Result<()> {
    stream.write_all(b"OK MPD 0.23.3\n")?;
    stream.read_exact(&mut [0])
}

/// Greets a client of IMAP, and says OK to as many commands.
pub async fn imap(stream: DuplexStream, commands: usize) -> Result<()> {
    let (read, mut write) = tokio::io::split(stream);
    write.write_all(b"* OK a server\r\n").await?;
    let mut lines = tokio::io::BufReader::new(read).lines();
    for _ in 0..commands {
        let Some(line) = lines.next_line().await? else { break };
        let tag = line.split(' ').next().unwrap_or_default();
        write.write_all(format!("{tag} OK done\r\n").as_bytes()).await?;
    }
    Ok(())
}

/// What Docker's server says: there is a container.
fn docker(request: &Request) -> (StatusCode, &'static str) {
    let path = request.uri().path();
    let container = r#"{"Id":"a","Name":"/a","State":{"Status":"running","Running":true},
        "NetworkSettings":{"Ports":{},"Networks":{}}}"#;
    match request.method().as_str() {
        "POST" if path.ends_with("/create") => {
            (StatusCode::CREATED, r#"{"Id":"a","Warnings":[],"Warning":""}"#)
        }
        "GET" if path.ends_with("/a/json") => (StatusCode::OK, container),
        "GET" if path.ends_with("/networks") => (StatusCode::OK, "[]"),
        "GET" => (StatusCode::OK, "{}"),
        _ => (StatusCode::NO_CONTENT, ""),
    }
}

/// Docker's server, at the address that `DOCKER_HOST` names. It runs on the runtime of the value.
pub async fn docker_listens() {
    let listener = crate::DOCKER.lock().expect("no panic").take().expect("once");
    listener.set_nonblocking(true).expect("a socket");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a context");
    let router = Router::new().fallback(async |request: Request| {
        let (status, says) = docker(&request);
        Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .body(Body::from(says))
            .expect("an answer")
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
}
