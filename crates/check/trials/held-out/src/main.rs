//! Types that nobody looked at while the check was written or corrected.
//!
//! About three in four were chosen before anybody knew what their destructors do, because programs on Tokio hold them.
//! The others were chosen because their documentation, a report or their source says that a destructor spawns, blocks
//! or drops a runtime; in five, a strategy or an action of this program does. None was chosen, dropped or changed
//! because of what the check says.

#![expect(clippy::async_yields_async, reason = "some of the values are futures, to be dropped")]

use std::{env, fs, path::PathBuf, process::ExitCode, thread};

use tokio::sync::oneshot;

mod clients;
mod datagrams;
mod destructors;
mod files;
mod packets;
mod services;
mod sockets;
mod streams;
mod tasks;
mod web;

type Row = Vec<u8>;

/// A new folder beside the program. It is not removed, because the value may use it.
fn folder() -> PathBuf {
    let folders = env::current_exe().expect("a program").with_extension("files");
    fs::create_dir_all(&folders).expect("a folder");
    tempfile::tempdir_in(folders).expect("a folder").keep()
}

/// What `make` makes on a thread without a context.
async fn thread<T: Send + 'static>(make: impl FnOnce() -> T + Send + 'static) -> T {
    let (made, makes) = oneshot::channel();
    thread::spawn(move || made.send(make()));
    makes.await.expect("made")
}

fn main() -> ExitCode {
    let cases: Vec<_> = [
        tasks::cases(),
        destructors::cases(),
        files::cases(),
        streams::cases(),
        datagrams::cases(),
        clients::cases(),
        packets::cases(),
        web::cases(),
        sockets::cases(),
        services::cases(),
    ]
    .into_iter()
    .flatten()
    .collect();
    trials::run(&cases)
}
