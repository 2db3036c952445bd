//! Who holds a client: at one moment the application drops all that it has of it, in context. If files of
//! the store stay open, something of the SDK's own holds it, or the store.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use homeserver::{Endpoint, Fault};
use matrix_sdk::{
    Client, Room,
    config::SyncSettings,
    ruma::{
        RoomId,
        events::room::message::{OriginalSyncRoomMessageEvent, RoomMessageEventContent},
    },
};
use matrix_sdk_ui::{
    sync_service::SyncService,
    timeline::{RoomExt as _, Timeline},
};
use sundown::evidence::open_files;
use tokio::runtime::{Builder, Runtime};

use crate::{
    look,
    report::{check, record},
    setting::{LOBBY, Setting},
};

/// How long the files may take to be closed after the last owner has gone. They take milliseconds.
const GRACE: Duration = Duration::from_secs(1);

/// When the server answers what it is slow with: long after that.
const SLOW: Duration = Duration::from_millis(2500);

/// In which a task that was spawned is polled for the first time, on a machine that is not much too busy.
const FIRST_POLL: Duration = Duration::from_millis(200);

/// Part of the name of the files that are open as long as the client's machine for encryption is there, and
/// so as long as a client is.
const CLIENT: &str = "crypto";

/// What the application keeps of what it has.
enum Kept {
    Nothing,
    Room(#[expect(dead_code, reason = "it is kept, and not used")] Room),
    Service(#[expect(dead_code, reason = "it is kept, and not used")] SyncService),
    Timeline(#[expect(dead_code, reason = "it is kept, and not used")] Timeline),
}

/// Drops all that the application has at this moment, except for what the moment is named after. Records
/// what is held then, and until when.
pub fn at(moment: &str) -> Result<()> {
    let setting = Setting::new()?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let kept = runtime.block_on(drop_all(&setting, moment))?;
    closed_within(GRACE, &setting)?;
    let holds = what_is_held(&setting)?;
    record("holds", holds);
    check("nothing holds the client", holds != "the client");
    record("held_until", until(&setting, runtime, kept)?);
    Ok(())
}

/// Ends what might hold it, one after another, until no file is open.
fn until(setting: &Setting, runtime: Runtime, kept: Kept) -> Result<&'static str> {
    if closed_within(Duration::ZERO, setting)? {
        return Ok("it is dropped");
    }
    if closed_within(2 * SLOW, setting)? {
        return Ok("the server answers");
    }
    if !matches!(kept, Kept::Nothing) {
        let context = runtime.enter();
        drop(kept);
        drop(context);
        if closed_within(GRACE, setting)? {
            return Ok("the application drops it");
        }
    }
    drop(runtime);
    if closed_within(GRACE, setting)? {
        return Ok("the runtime ends");
    }
    Ok("the process ends")
}

/// Waits until no file is open. Returns whether that is so in time.
fn closed_within(limit: Duration, setting: &Setting) -> Result<bool> {
    let began = Instant::now();
    loop {
        if look::files(setting.stores())? == 0 {
            return Ok(true);
        }
        if began.elapsed() >= limit {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn what_is_held(setting: &Setting) -> Result<&'static str> {
    let open = open_files(setting.stores())?;
    let names: Vec<_> = open.iter().map(|file| file.to_string_lossy()).collect();
    Ok(match &names[..] {
        [] => "nothing",
        names if names.iter().any(|name| name.contains(CLIENT)) => "the client",
        _ => "a store",
    })
}

fn lobby(client: &Client) -> Result<Room> {
    client.get_room(&RoomId::parse(LOBBY)?).context("the room is unknown")
}

async fn drop_all(setting: &Setting, moment: &str) -> Result<Kept> {
    let server = &setting.server;
    if moment == "initializing" {
        server.fail_always(Endpoint::AccountData, Fault::delay(SLOW));
        drop(setting.log_in("store").await?);
        server.until(|server| server.count(Endpoint::AccountData) > 0).await;
        return Ok(Kept::Nothing);
    }
    let client = setting.log_in_and_settle("store").await?;
    let service = || SyncService::builder(client.clone()).build();
    match moment {
        "idle" => {
            say(&client).await?;
            server.until(|server| server.messages(LOBBY).len() == 2).await;
        }
        "sending" => {
            server.fail_always(Endpoint::Send, Fault::delay(SLOW));
            say(&client).await?;
            server.until(|server| server.count(Endpoint::Send) > 0).await;
        }
        "sync-service-held" => return Ok(Kept::Service(service().await?)),
        "syncing" | "sync-service-dropped" | "sync-service-stopped" => {
            let service = service().await?;
            let before = setting.syncs();
            service.start().await;
            server.until(|_| setting.syncs() >= before + 4).await;
            match moment {
                "syncing" => return Ok(Kept::Service(service)),
                "sync-service-stopped" => service.stop().await,
                _ => {}
            }
        }
        "room-held" => return Ok(Kept::Room(lobby(&client)?)),
        "sync-loop" => {
            let (syncing, before) = (client.clone(), setting.syncs());
            drop(tokio::spawn(async move { syncing.sync(SyncSettings::default()).await.is_ok() }));
            server.until(|_| setting.syncs() > before).await;
        }
        "event-cache" => {
            client.event_cache().subscribe()?;
            // At its first poll the task of the cache looks for the client. If the client is gone, the task ends.
            tokio::time::sleep(FIRST_POLL).await;
        }
        "event-handler" => {
            let held = client.clone();
            client.add_event_handler(move |_: OriginalSyncRoomMessageEvent| {
                let client = held.clone();
                async move { drop(client) }
            });
        }
        "timeline-held" | "timeline-dropped" => {
            let timeline = timeline(&client).await?;
            match moment {
                "timeline-held" => return Ok(Kept::Timeline(timeline)),
                _ => drop(timeline),
            }
        }
        _ => bail!("there is no moment `{moment}`"),
    }
    Ok(Kept::Nothing)
}

/// A timeline, whose tasks run.
async fn timeline(client: &Client) -> Result<Timeline> {
    let timeline = lobby(client)?.timeline().await?;
    tokio::time::sleep(FIRST_POLL).await;
    Ok(timeline)
}

/// Drops the client on a thread without a context: at once after its timeline, or later.
pub fn after_a_timeline(when: &str) -> Result<()> {
    let setting = Setting::new()?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (client, timeline) = runtime.block_on(async {
        let client = setting.log_in_and_settle("store").await?;
        let timeline = timeline(&client).await?;
        anyhow::Ok((client, timeline))
    })?;
    drop(timeline);
    match when {
        "at-once" => {}
        "later" => thread::sleep(GRACE),
        _ => bail!("there is no `{when}`"),
    }
    drop(client);
    // The runtime has to be there to close its files, and must not end while a task waits for a store, either:
    // deadpool panics then, which is not what is asked here. A store may be held for longer than that.
    closed_within(GRACE, &setting)?;
    check("nothing holds the client", what_is_held(&setting)? != "the client");
    Ok(())
}

async fn say(client: &Client) -> Result<()> {
    let message = RoomMessageEventContent::text_plain("hello");
    lobby(client)?.send_queue().send(message.into()).await?;
    Ok(())
}
