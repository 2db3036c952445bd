//! lettre, with a server of SMTP that accepts every message.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::Duration,
};

use lab::TrialResult;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor, address::Envelope};
use tokio::time::sleep;

use crate::{
    server,
    subject::{Card, Subject},
};

/// What a client of SMTP needs to hear.
fn smtp(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(b"220 census\r\n")?;
    let mut lines = BufReader::new(stream.try_clone()?);
    let (mut line, mut in_message) = (String::new(), false);
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if in_message && line != ".\r\n" {
            continue;
        }
        in_message = line.starts_with("DATA");
        stream.write_all(if in_message { b"354 go on\r\n" } else { b"250 OK\r\n" })?;
    }
}

/// Far more than that task needs.
const PUT_BACK: Duration = Duration::from_millis(100);

struct OfTransport;

impl Subject for OfTransport {
    type Live = AsyncSmtpTransport<Tokio1Executor>;

    const CODE: &'static str = "lettre-transport";
    const PACKAGE: &'static str = "lettre";
    const VALUE: &'static str =
        "an `AsyncSmtpTransport<Tokio1Executor>`, whose pool has one idle connection";
    const CALL: &'static str = "a message is sent";
    const CLOSE: Result<&'static str, &'static str> = Ok("AsyncSmtpTransport::shutdown");

    async fn live() -> TrialResult<Self::Live> {
        let address = server::serve(smtp)?;
        let host = address.ip().to_string();
        Ok(AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(address.port())
            .build())
    }

    async fn call(transport: &mut Self::Live) -> TrialResult {
        let (from, to) = ("a@example.org".parse()?, "b@example.org".parse()?);
        transport.send_raw(&Envelope::new(Some(from), vec![to])?, b"a row\r\n").await?;
        // A task of its own puts the connection back into the pool. Until then none is idle.
        sleep(PUT_BACK).await;
        Ok(())
    }

    async fn close(transport: &mut Self::Live) -> TrialResult {
        transport.shutdown().await;
        Ok(())
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfTransport>(file!())]
}
