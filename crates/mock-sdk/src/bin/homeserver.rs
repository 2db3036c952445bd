//! The homeserver in a process of its own.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    process::ExitCode,
};

use clap::Parser;
use mock_sdk::homeserver::{Homeserver, HomeserverError};

/// A mock homeserver. Prints its URL as the first line of standard output, and serves until standard
/// input ends: nothing of it outlives whoever started it.
#[derive(Parser)]
#[command(
    after_help = "Example: homeserver --user me:secret --room '!a:example.org=The first room'"
)]
struct Options {
    /// Where to listen; port 0 is a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    address: SocketAddr,
    /// A user, as NAME:PASSWORD. May be given more than once.
    #[arg(long = "user", value_name = "NAME:PASSWORD", value_parser = pair::<':'>)]
    users: Vec<(String, String)>,
    /// A room, as ID=NAME. May be given more than once.
    #[arg(long = "room", value_name = "ID=NAME", value_parser = pair::<'='>)]
    rooms: Vec<(String, String)>,
}

/// Two parts of a text, on either side of the last such character.
fn pair<const BETWEEN: char>(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once(BETWEEN) {
        Some((first, second)) if !first.is_empty() => Ok((first.to_owned(), second.to_owned())),
        _ => Err(format!("{text:?} has no {BETWEEN:?} with something before it")),
    }
}

fn main() -> ExitCode {
    match serve(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("homeserver: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Homeserver(#[from] HomeserverError),
    #[error("cannot print the URL: {0}")]
    Output(#[source] io::Error),
    #[error("cannot read standard input, whose end is the end of the server: {0}")]
    Input(#[source] io::Error),
}

fn serve(options: &Options) -> Result<(), Failure> {
    let server = Homeserver::start_on(options.address)?;
    for (name, password) in &options.users {
        server.add_user(name, password);
    }
    for (id, name) in &options.rooms {
        server.add_room(id, name);
    }
    let mut output = io::stdout();
    writeln!(output, "{}", server.url()).and_then(|()| output.flush()).map_err(Failure::Output)?;
    io::copy(&mut io::stdin(), &mut io::sink()).map_err(Failure::Input)?;
    server.stop();
    Ok(())
}
