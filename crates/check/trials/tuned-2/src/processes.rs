//! Processes, containers, and what watches and reads files.

use std::{fs, mem, process::Stdio, sync::Arc, time::Duration};

use command_group::AsyncCommandGroup as _;
use process_wrap::tokio::{CommandWrap, KillOnDrop, ProcessGroup};
use stream_download::{
    Settings, StreamDownload, async_read::AsyncReadStream, storage::memory::MemoryStorageProvider,
};
use testcontainers::{
    GenericImage,
    runners::{AsyncRunner, SyncRunner},
};
use tokio::{process::Command, task::spawn_blocking};
use trials::Case;
use watchexec_supervisor::{
    command::{Command as Watched, Program},
    job::{Job, start_job},
};

use crate::{folder, servers};

pub fn cases() -> Vec<Case> {
    [groups(), supervised(), containers(), watchers(), downloads()].into_iter().flatten().collect()
}

/// A process that outlives the trial must not have its output: somebody waits for the end of that.
fn silent(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdout(Stdio::null());
    command
}

fn groups() -> Vec<Case> {
    vec![
        Case::of("command-group", || async {
            silent("sleep").arg("1").group_spawn().expect("a group")
        }),
        Case::of("command-group", || async {
            let mut sleep = silent("sleep");
            sleep.arg("9").group().kill_on_drop(true).spawn().expect("a group")
        })
        .when("killed on drop"),
        Case::of("command-group", || async {
            let mut group = silent("true").group_spawn().expect("a group");
            group.wait().await.expect("an end");
            group
        })
        .when("ended"),
        Case::of("process-wrap", || async {
            let mut sleep = CommandWrap::with_new("sleep", |sleep| {
                sleep.arg("1").stdout(Stdio::null());
            });
            sleep.wrap(ProcessGroup::leader()).spawn().expect("a child")
        })
        .when("leads a group"),
        Case::of("process-wrap", || async {
            let mut sleep = CommandWrap::with_new("sleep", |sleep| {
                sleep.arg("9").stdout(Stdio::null());
            });
            sleep.wrap(KillOnDrop).spawn().expect("a child")
        })
        .when("killed on drop"),
    ]
}

fn supervised() -> Vec<Case> {
    let job = || -> Job {
        let program = Program::Exec { prog: "sleep".into(), args: vec!["1".to_owned()] };
        start_job(Arc::new(Watched { program, options: Default::default() })).0
    };
    vec![
        Case::of("watchexec-supervisor", move || async move { job() }).when("unused"),
        Case::of("watchexec-supervisor", move || async move {
            let job = job();
            job.start().await;
            job
        })
        .when("running"),
        Case::of("watchexec-supervisor", move || async move {
            let job = job();
            job.start().await;
            job.stop().await;
            job
        })
        .when("stopped"),
        Case::of("watchexec-supervisor", move || async move {
            let job = job();
            job.start().await;
            job.delete_now().await;
            job
        })
        .when("deleted"),
    ]
}

fn containers() -> Vec<Case> {
    let image = || GenericImage::new("a", "a");
    vec![
        Case::of("testcontainers", move || async move {
            servers::docker_listens().await;
            AsyncRunner::start(image()).await.expect("a container")
        })
        .when("running"),
        Case::of("testcontainers", move || async move {
            servers::docker_listens().await;
            let container = AsyncRunner::start(image()).await;
            let container = container.expect("a container");
            container.stop().await.expect("stopped");
            container
        })
        .when("stopped"),
        Case::of("testcontainers", move || async move {
            servers::docker_listens().await;
            let container = spawn_blocking(move || SyncRunner::start(image()));
            container.await.expect("a thread").expect("a container")
        })
        .when("running"),
        Case::of("testcontainers", move || async move {
            servers::docker_listens().await;
            let container = spawn_blocking(move || {
                let container = SyncRunner::start(image());
                let container = container.expect("a container");
                container.stop().expect("stopped");
                container
            });
            container.await.expect("a thread")
        })
        .when("stopped"),
    ]
}

fn watchers() -> Vec<Case> {
    use async_watcher::{AsyncDebouncer, notify::RecursiveMode};
    let with_file = || {
        let folder = folder();
        fs::write(folder.join("a"), "a row\n").expect("written");
        folder
    };
    let debouncer = || async {
        let (debouncer, events) = AsyncDebouncer::new_with_channel(Duration::from_millis(9), None)
            .await
            .expect("a watcher");
        mem::forget(events);
        debouncer
    };
    vec![
        Case::of("async-watcher", debouncer).when("unused"),
        Case::of("async-watcher", move || async move {
            let folder = with_file();
            let mut debouncer = debouncer().await;
            let watched = debouncer.watcher().watch(&folder, RecursiveMode::Recursive);
            watched.expect("a folder");
            debouncer
        })
        .when("with a folder"),
        Case::of("linemux", || async { linemux::MuxedLines::new().expect("lines") }).when("unused"),
        Case::of("linemux", move || async move {
            let folder = with_file();
            let mut lines = linemux::MuxedLines::new().expect("lines");
            lines.add_file(folder.join("a")).await.expect("a file");
            lines
        })
        .when("with a file"),
        Case::of("inotify", move || async move {
            let folder = with_file();
            let inotify = inotify::Inotify::init().expect("a watcher");
            inotify.watches().add(&folder, inotify::WatchMask::CREATE).expect("a folder");
            inotify.into_event_stream([0_u8; 1024]).expect("events")
        }),
    ]
}

fn downloads() -> Vec<Case> {
    vec![
        Case::of("stream-download", || async {
            let endless = AsyncReadStream::new(tokio::io::repeat(1), None);
            StreamDownload::from_stream(endless, MemoryStorageProvider, Settings::default())
                .await
                .unwrap_or_else(|_| panic!("no download"))
        })
        .when("downloading"),
        Case::of("stream-download", || async {
            let row = AsyncReadStream::new(&b"a row"[..], Some(5));
            let mut download =
                StreamDownload::from_stream(row, MemoryStorageProvider, Settings::default())
                    .await
                    .unwrap_or_else(|_| panic!("no download"));
            let read = spawn_blocking(move || {
                std::io::copy(&mut download, &mut std::io::sink()).expect("a row");
                download
            });
            read.await.expect("a thread")
        })
        .when("downloaded"),
    ]
}
