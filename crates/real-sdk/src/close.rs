//! Closes a session while the SDK works: what it answers, and what can be seen from outside then.

use std::{
    mem, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use matrix_sdk::{
    Client, config::SyncSettings, ruma::events::room::message::OriginalSyncRoomMessageEvent,
};
use sundown::{
    RuntimeOwner, evidence,
    session::{CloseError, CloseErrorKind, CloseReport, Confirmation, Guarded, Session},
    shutdown::{CutOff, NotCovered},
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::Mutex,
};

use crate::{
    look,
    report::{check, record},
    setting::Setting,
    work::{Running, Work},
};

/// The limit of a close, as an application has one.
const LIMIT: Duration = Duration::from_secs(5);

/// The limit where it is expected to pass.
const SHORTER: Duration = Duration::from_secs(3);

/// What has been confirmed must still hold after this time.
const A_LITTLE: Duration = Duration::from_millis(30);

/// How long what is left may take to go by itself, where nobody waits for it.
const A_MOMENT: Duration = Duration::from_secs(2);

/// The runtime that the SDK works on.
enum On {
    /// Made for the session, which takes it down.
    Owned(RuntimeOwner),
    /// The application's only runtime, which is never dropped.
    Global(&'static Runtime),
}

/// `one-worker`, `two-workers`, `current-thread`, `global`.
fn tokio_runtime(named: &str) -> Result<Runtime> {
    let mut builder = match named {
        "one-worker" => Builder::new_multi_thread(),
        "two-workers" | "global" => Builder::new_multi_thread(),
        "current-thread" => Builder::new_current_thread(),
        _ => bail!("there is no runtime `{named}`"),
    };
    let workers = if named == "one-worker" { 1 } else { 2 };
    Ok(builder.worker_threads(workers).thread_name("app").enable_all().build()?)
}

impl On {
    fn named(name: &str) -> Result<Self> {
        let owned = RuntimeOwner::builder("app").watch_panics();
        Ok(Self::Owned(match name {
            "one-worker" => owned.workers(1).start()?,
            "two-workers" => owned.workers(2).start()?,
            "current-thread" => owned.current_thread().start()?,
            _ => return Ok(Self::Global(Box::leak(Box::new(tokio_runtime(name)?)))),
        }))
    }

    fn handle(&self) -> Result<Handle> {
        Ok(match self {
            Self::Owned(owner) => owner.handle()?,
            Self::Global(runtime) => runtime.handle().clone(),
        })
    }
}

/// Without the kit: the application drops what it has, in context, and then the runtime. A global one
/// goes on.
pub fn plain(work: &str, on: &str) -> Result<()> {
    let setting = Setting::new()?;
    let work = Work::named(work)?;
    let runtime = tokio_runtime(on)?;
    let (client, running) = runtime.block_on(async {
        let client = setting.log_in("store").await?;
        let running = work.start(&setting, &client).await?;
        anyhow::Ok((client, running))
    })?;
    let began = Instant::now();
    let context = runtime.enter();
    drop((client, running));
    drop(context);
    let mut open = look::files(setting.stores())?;
    if on == "global" {
        // Nobody says when it has ended.
        while open > 0 && began.elapsed() < A_MOMENT {
            thread::sleep(Duration::from_millis(1));
            open = look::files(setting.stores())?;
        }
        mem::forget(runtime);
    } else {
        drop(runtime);
        open = look::files(setting.stores())?;
    }
    record("took", began.elapsed());
    record("files_open", open);
    check("a file of the store is open", open == 0);
    Ok(())
}

/// Closes the stores of a client that is still there, where the SDK can do that.
#[cfg(feature = "pause")]
pub fn paused() -> Result<()> {
    let setting = Setting::new()?;
    let runtime = tokio_runtime("two-workers")?;
    let client = runtime.block_on(setting.log_in_and_settle("store"))?;
    check("a file is open before", look::files(setting.stores())? > 0);
    runtime.block_on(client.pause())?;
    let paused = Instant::now();
    // A connection that was being opened meanwhile is closed a moment later.
    let mut open = look::files(setting.stores())?;
    record("files_open_at_once", open);
    while open > 0 && paused.elapsed() < A_MOMENT {
        thread::sleep(Duration::from_millis(1));
        open = look::files(setting.stores())?;
    }
    record("files_open", open);
    record("closed_after", paused.elapsed());
    check("no file is open", open == 0);
    // This thread has no context, and there is no connection left that would need one.
    drop(client);
    Ok(())
}

/// With the kit. The options are `hook`, `evidence`, and what the answer has to be: `ok` or `unconfirmed`.
pub fn with_the_kit(work: &str, on: &str, options: &[&str]) -> Result<()> {
    let has = |option| options.contains(&option);
    if has("ok") == has("unconfirmed") {
        bail!("what has to be the answer?");
    }
    let setting = Setting::new()?;
    let on = On::named(on)?;
    let mut builder = Session::builder("matrix");
    if has("evidence") {
        builder = builder.evidence(evidence::no_open_files(setting.stores()));
    }
    let handle = on.handle()?;
    let owns = matches!(on, On::Owned(_));
    let session = match on {
        On::Owned(owner) => builder.runtime(owner),
        On::Global(_) => builder.runtime(&handle),
    }
    .start()?;
    let client = session.guard(handle.block_on(setting.log_in("store"))?)?;
    let running = handle.block_on(async {
        if work == "weak-handler" {
            handle_weakly(&client).await?;
            anyhow::Ok(Running::Nothing)
        } else {
            Work::named(work)?.start(&setting, &client).await
        }
    })?;
    // What runs may hold a client.
    let running = session.guard(Mutex::new(running))?;
    if has("hook") {
        session.before_close_with(&running, async |running: Guarded<Mutex<Running>>| {
            let stopped = running.lock().await.stop().await;
            check("the work has been stopped", stopped.is_ok());
        })?;
        session.before_close_with(&client, async |client: Guarded<Client>| pause(&client).await)?;
    }
    session.look();
    // Evidence has a thread of the kit, and a runtime of its own has several: a look that finds none after
    // the close would have found them.
    let before = the_kits_threads(owns)?.len();
    let expected = usize::from(has("evidence")) + usize::from(owns);
    check("the look finds the kit's threads while the session is open", before >= expected);
    drop((client, running));
    let began = Instant::now();
    let limit = if has("ok") { LIMIT } else { SHORTER };
    let answer = session.close_blocking(limit);
    // At once: the answer says that they have ended.
    let after = the_kits_threads(owns)?;
    record("took", began.elapsed());
    check("the answer is the expected one", is_expected(&answer, has("ok")));
    if answer.is_ok() {
        record("threads", after.len());
        if !check("no thread of the kit or of the session's runtime is left", after.is_empty()) {
            record("left", &*after.join(", "));
        }
    }
    judge(&setting, &answer)
}

/// The names of the kit's threads that can run, those of the session's own runtime included.
fn the_kits_threads(owns: bool) -> Result<Vec<String>> {
    let mut names = look::names_of_threads("sundown")?;
    if owns {
        names.extend(look::names_of_threads("app")?);
    }
    Ok(names)
}

/// An answer that cannot be confirmed is an honest one where something is left.
fn is_expected(answer: &Result<CloseReport, CloseError>, ok: bool) -> bool {
    match answer {
        Ok(_) => ok,
        Err(error) => !ok && matches!(error.kind, CloseErrorKind::Unconfirmed(_)),
    }
}

/// The last step of the SDK's own shutdown, where it has one.
async fn pause(client: &Client) {
    #[cfg(feature = "pause")]
    check("the client has been paused", client.pause().await.is_ok());
    let _ = client;
}

async fn handle_weakly(client: &Guarded<Client>) -> Result<()> {
    let weak = client.downgrade();
    client.add_event_handler(move |_: OriginalSyncRoomMessageEvent| {
        let client = weak.upgrade();
        async move { drop(client) }
    });
    client.sync_once(SyncSettings::default()).await?;
    Ok(())
}

/// Compares the answer with what can be seen.
fn judge(setting: &Setting, answer: &Result<CloseReport, CloseError>) -> Result<()> {
    let open = look::files(setting.stores())?;
    thread::sleep(A_LITTLE);
    let later = look::files(setting.stores())?;
    record("answer", answer_in_words(answer));
    record("files_open", open.max(later));
    match answer {
        Ok(report) => {
            record("foreign", report.foreign);
            record("cut_off", cut_off_in_words(report.cut_off));
            let speaks_of_files = report.confirmation == Confirmation::Evidence;
            let names_clones = report.not_covered.contains(&NotCovered::Clones);
            check("no file is open, or the report does not speak of files", {
                (open == 0 && later == 0) || (!speaks_of_files && names_clones)
            });
            check("what was cut off was at rest", report.cut_off != CutOff::InMotion);
        }
        Err(error) => {
            eprintln!("{error}");
            record("foreign", error.seen.foreign);
            record("cut_off", cut_off_in_words(error.seen.cut_off));
            check("what was cut off was at rest", error.seen.cut_off != CutOff::InMotion);
            let against = matches!(error.kind, CloseErrorKind::Unconfirmed(_));
            check("what is said to be open is open", !against || open > 0);
        }
    }
    Ok(())
}

fn answer_in_words(answer: &Result<CloseReport, CloseError>) -> &'static str {
    match answer {
        Ok(report) => match report.confirmation {
            Confirmation::HandlesOnly => "Ok, HandlesOnly",
            Confirmation::OwnRuntime => "Ok, OwnRuntime",
            Confirmation::Evidence => "Ok, Evidence",
        },
        Err(error) => match error.kind {
            CloseErrorKind::StillHeld => "Err, StillHeld",
            CloseErrorKind::StillRunning => "Err, StillRunning",
            CloseErrorKind::Runtime(_) => "Err, Runtime",
            CloseErrorKind::Unconfirmed(_) => "Err, Unconfirmed",
            CloseErrorKind::Hook => "Err, Hook",
            _ => "Err, other",
        },
    }
}

fn cut_off_in_words(cut_off: CutOff) -> &'static str {
    match cut_off {
        CutOff::Nothing => "nothing",
        CutOff::AtRest => "at rest",
        _ => "in motion",
    }
}
