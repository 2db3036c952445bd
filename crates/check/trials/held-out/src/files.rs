//! Files, devices, local sockets and processes.

use std::{mem, pin::Pin, process::Stdio, time::Duration};

use futures_util::StreamExt as _;
use tokio::{
    io::{self, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
    process::Command,
};
use tokio_io_timeout::TimeoutStream;
use tokio_process_stream::ProcessLineStream;
use tokio_seqpacket::{UnixSeqpacket, UnixSeqpacketListener};
use tokio_serial::SerialStream;
use trials::Case;

use crate::folder;

pub fn cases() -> Vec<Case> {
    [stored(), serial(), packets(), timeouts(), lines(), terminals()]
        .into_iter()
        .flatten()
        .collect()
}

fn stored() -> Vec<Case> {
    vec![
        Case::of("cacache", || async {
            cacache::Writer::create(folder(), "a").await.expect("a writer")
        })
        .when("unused"),
        Case::of("cacache", || async {
            let mut writer = cacache::Writer::create(folder(), "a").await.expect("a writer");
            writer.write_all(b"a row").await.expect("written");
            writer
        })
        .when("with a row"),
        Case::of("cacache", || async {
            let size = cacache::WriteOpts::new().size(1 << 20);
            let mut writer = size.open(folder(), "a").await.expect("a writer");
            writer.write_all(b"a row").await.expect("written");
            writer
        })
        .when("of a known size"),
        Case::of("cacache", || async {
            let folder = folder();
            cacache::write(&folder, "a", b"a row").await.expect("written");
            let mut reader = cacache::Reader::open(&folder, "a").await.expect("a reader");
            reader.read_u8().await.expect("a row");
            reader
        }),
    ]
}

fn serial() -> Vec<Case> {
    vec![
        Case::of("tokio-serial", || async {
            let (one, mut other) = SerialStream::pair().expect("a pair");
            other.write_all(b"a").await.expect("written");
            mem::forget(other);
            one
        })
        .when("open"),
        Case::of("tokio-serial", || async { SerialStream::pair().expect("a pair").0 })
            .when("its peer is gone"),
    ]
}

fn packets() -> Vec<Case> {
    vec![
        Case::of("tokio-seqpacket", || async {
            let (one, other) = UnixSeqpacket::pair().expect("a pair");
            one.send(b"a row").await.expect("sent");
            mem::forget(other);
            one
        })
        .when("used"),
        Case::of("tokio-seqpacket", || async { UnixSeqpacket::pair().expect("a pair").0 })
            .when("its peer is gone"),
        Case::of("tokio-seqpacket", || async {
            UnixSeqpacketListener::bind(folder().join("a")).expect("bound")
        }),
    ]
}

fn timeouts() -> Vec<Case> {
    let stream = || {
        let (one, other) = io::duplex(8);
        mem::forget(other);
        let mut stream: TimeoutStream<DuplexStream> = TimeoutStream::new(one);
        stream.set_read_timeout(Some(Duration::from_secs(9)));
        Box::pin(stream)
    };
    vec![
        Case::of("tokio-io-timeout", move || async move { stream() }).when("unused"),
        Case::of("tokio-io-timeout", move || async move {
            let mut stream: Pin<Box<TimeoutStream<DuplexStream>>> = stream();
            let nap = tokio::time::timeout(Duration::from_millis(1), stream.read_u8()).await;
            assert!(nap.is_err(), "there was a row");
            stream
        })
        .when("waiting"),
    ]
}

/// Of a process that says a line, and stays unless it is to end.
fn process(ends: bool) -> ProcessLineStream {
    let script = if ends { "echo a" } else { "echo a; exec sleep 9" };
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stderr(Stdio::piped()).kill_on_drop(true);
    ProcessLineStream::try_from(command).expect("a process")
}

fn lines() -> Vec<Case> {
    vec![
        Case::of("tokio-process-stream", || async {
            let mut lines = process(false);
            lines.next().await.expect("a line");
            lines
        })
        .when("runs"),
        Case::of("tokio-process-stream", || async {
            let mut lines = process(true);
            while lines.next().await.is_some() {}
            lines
        })
        .when("has ended"),
    ]
}

fn terminals() -> Vec<Case> {
    vec![
        Case::of("pty-process", || async { pty_process::open().expect("a terminal").0 })
            .when("without a process"),
        Case::of("pty-process", || async {
            let (terminal, of_child) = pty_process::open().expect("a terminal");
            let command = pty_process::Command::new("sleep").arg("9").kill_on_drop(true);
            mem::forget(command.spawn(of_child).expect("a process"));
            terminal
        })
        .when("with a process"),
        Case::of("pty-process", || async {
            let (terminal, of_child) = pty_process::open().expect("a terminal");
            mem::forget(of_child);
            terminal.into_split().0
        }),
    ]
}
