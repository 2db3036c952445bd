//! Types that the check was judged with, and not corrected.
//!
//! Many were chosen because a destructor in their crate spawns, blocks, or owns a runtime. None was chosen, dropped or
//! changed because of what the check says.

#![expect(clippy::async_yields_async, reason = "some of the values are futures, to be dropped")]

use std::{env, fs, net::TcpListener, path::PathBuf, process::ExitCode, sync::Mutex};

mod network;
mod processes;
mod servers;
mod stores;
mod tasks;
mod web;

type Row = Vec<u8>;

/// Where Docker's server is to listen.
static DOCKER: Mutex<Option<TcpListener>> = Mutex::new(None);

/// A new folder beside the program. It is not removed, because the value may use it.
fn folder() -> PathBuf {
    let folders = env::current_exe().expect("a program").with_extension("files");
    fs::create_dir_all(&folders).expect("a folder");
    tempfile::tempdir_in(folders).expect("a folder").keep()
}

fn main() -> ExitCode {
    let docker = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = docker.local_addr().expect("an address");
    // SAFETY: no other thread runs yet.
    unsafe { env::set_var("DOCKER_HOST", format!("tcp://{address}")) };
    *DOCKER.lock().expect("no panic") = Some(docker);
    let cases: Vec<_> =
        [tasks::cases(), stores::cases(), network::cases(), web::cases(), processes::cases()]
            .into_iter()
            .flatten()
            .collect();
    trials::run(&cases)
}
