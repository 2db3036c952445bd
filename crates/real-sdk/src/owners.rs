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
use matrix_sdk_ui::{sync_service::SyncService, timeline::RoomExt as _};
use tokio::runtime::Builder;

use crate::{
    look,
    report::{check, record},
    setting::{LOBBY, Setting},
};

/// How long the files may take to be closed after the last owner has gone. They take milliseconds.
const GRACE: Duration = Duration::from_millis(1500);

/// Drops all that the application has, at this moment. What `keeps` something is the application's own.
pub fn at(moment: &str) -> Result<()> {
    let setting = Setting::new()?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let kept = runtime.block_on(drop_all(&setting, moment))?;
    let before = look::files(setting.stores())?;
    let began = Instant::now();
    let open = ended(&setting)?;
    record("closed_after", began.elapsed());
    record("files_open", open);
    check("nothing holds the client or a store", open == 0);
    if open > 0 && before > open {
        record("files_closed", before - open);
    }
    let context = runtime.enter();
    drop(kept);
    drop(context);
    drop(runtime);
    record("files_open_without_runtime", ended(&setting)?);
    Ok(())
}

/// Waits until no file is open, for as long as that may take. Returns how many are.
fn ended(setting: &Setting) -> Result<usize> {
    let began = Instant::now();
    loop {
        let open = look::files(setting.stores())?;
        if open == 0 || began.elapsed() > GRACE {
            return Ok(open);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn lobby(client: &Client) -> Result<Room> {
    client.get_room(&RoomId::parse(LOBBY)?).context("the room is unknown")
}

/// Returns what the application keeps.
async fn drop_all(setting: &Setting, moment: &str) -> Result<Option<Room>> {
    if moment == "initializing" {
        setting.server.fail_always(Endpoint::AccountData, Fault::never());
        drop(setting.log_in("store").await?);
        setting.server.until(|server| server.count(Endpoint::AccountData) > 0).await;
        return Ok(None);
    }
    let client = setting.log_in_and_settle("store").await?;
    match moment {
        "idle" => {}
        "room-kept" => return Ok(Some(lobby(&client)?)),
        "send-queue-idle" => {
            say(&client).await?;
            setting.server.until(|server| server.messages(LOBBY).len() == 2).await;
        }
        "send-queue-sending" => {
            setting.server.fail_always(Endpoint::Send, Fault::never());
            say(&client).await?;
            setting.server.until(|server| server.count(Endpoint::Send) > 0).await;
        }
        "send-queue-refused" => {
            setting.server.fail_always(Endpoint::Send, Fault::status(502));
            say(&client).await?;
            setting.server.until(|server| server.count(Endpoint::Send) > 0).await;
        }
        "sync-loop" => {
            let syncing = client.clone();
            drop(tokio::spawn(async move { syncing.sync(SyncSettings::default()).await.is_ok() }));
            let before = setting.syncs();
            setting.server.until(|_| setting.syncs() > before).await;
        }
        "service-running" | "service-stopped" => {
            let before = setting.syncs();
            let service = SyncService::builder(client.clone()).build().await?;
            service.start().await;
            setting.server.until(|_| setting.syncs() >= before + 4).await;
            if moment == "service-stopped" {
                service.stop().await;
            }
        }
        "event-cache" => client.event_cache().subscribe()?,
        "event-handler" => {
            let held = client.clone();
            client.add_event_handler(move |_: OriginalSyncRoomMessageEvent| {
                let client = held.clone();
                async move { drop(client) }
            });
        }
        "timeline" => {
            client.event_cache().subscribe()?;
            drop(lobby(&client)?.timeline().await?);
        }
        _ => bail!("there is no moment `{moment}`"),
    }
    Ok(None)
}

async fn say(client: &Client) -> Result<()> {
    let message = RoomMessageEventContent::text_plain("hello");
    lobby(client)?.send_queue().send(message.into()).await?;
    Ok(())
}
