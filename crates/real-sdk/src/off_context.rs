//! Drops the last owner of a client, on the main thread.

use std::time::Duration;

use anyhow::{Result, bail};
use matrix_sdk::ruma::RoomId;
use sundown::session::Session;
use tokio::runtime::{Builder, Runtime};

use crate::{
    look,
    report::{check, record},
    setting::{LOBBY, Setting},
};

const LIMIT: Duration = Duration::from_secs(5);

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Without the kit. `alive` or `down`: the runtime. `outside` or `inside`: whether the thread has a context.
pub fn plain(what: &str, place: &str, state: &str) -> Result<()> {
    let setting = Setting::new()?;
    let runtime = runtime()?;
    let client = runtime.block_on(setting.log_in_and_settle("store"))?;
    let room = client.get_room(&RoomId::parse(LOBBY)?);
    let open = look::files(setting.stores())?;
    record("files_open", open);
    check("the look sees the open files", open > 0);
    let handle = runtime.handle().clone();
    let still_there = after(runtime, state)?;
    let context = (place == "inside").then(|| handle.enter());
    match what {
        "client" => {
            drop(room);
            drop(client);
        }
        // The room is the last owner.
        "room" => {
            let inner = handle.enter();
            drop(client);
            drop(inner);
            drop(room);
        }
        _ => bail!("there is no owner `{what}`"),
    }
    drop(context);
    drop(still_there);
    check("no file of the store is open", look::files(setting.stores())? == 0);
    Ok(())
}

/// With the kit: the same drop, of a handle.
pub fn with_the_kit(what: &str, state: &str) -> Result<()> {
    let setting = Setting::new()?;
    let runtime = runtime()?;
    let session = Session::new("matrix")?;
    let client = session.guard(runtime.block_on(setting.log_in_and_settle("store"))?)?;
    let id = RoomId::parse(LOBBY)?;
    let room = client.map(|client| client.get_room(&id));
    let open = look::files(setting.stores())?;
    record("files_open", open);
    check("the look sees the open files", open > 0);
    let still_there = after(runtime, state)?;
    match what {
        "client" => {
            drop(room);
            drop(client);
        }
        "room" => {
            drop(client);
            drop(room);
        }
        _ => bail!("there is no owner `{what}`"),
    }
    let report = session.close_blocking(LIMIT)?;
    record("took", report.elapsed);
    check("no file of the store is open", look::files(setting.stores())? == 0);
    check("no thread of the kit is left", look::threads("sundown")? == 0);
    drop(still_there);
    Ok(())
}

/// Keeps the runtime, or shuts it down as the report's application does.
fn after(runtime: Runtime, state: &str) -> Result<Option<Runtime>> {
    match state {
        "alive" => Ok(Some(runtime)),
        "down" => {
            runtime.shutdown_background();
            Ok(None)
        }
        _ => bail!("there is no state `{state}` of a runtime"),
    }
}
