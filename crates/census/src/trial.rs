//! The trials: one for each question, the same for every subject.

use std::{
    future::Future,
    io,
    os::unix::process::CommandExt as _,
    panic::{self, AssertUnwindSafe},
    pin::pin,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use fork::{Fork, WEXITSTATUS, WIFSIGNALED};
use futures_util::{
    future::{Either, select},
    poll,
};
use lab::{Trial, TrialResult, Variant};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};

use crate::{
    look::{self, Alive},
    question::Question,
    subject::Subject,
};

/// How long a call or a close may take before it counts as one that hangs. A machine under load answers within it.
const LIMIT: Duration = Duration::from_secs(10);

/// The deadline of a trial: long enough for every limit in it, on a machine under load.
const DEADLINE: Duration = Duration::from_secs(120);

/// How long to wait for what comes late.
const LATE: Duration = Duration::from_secs(2);

/// How many items a flush is asked with.
pub const ITEMS: usize = 100;

/// The answers of a forked child, by its exit code.
const FORKED: [&str; 3] = ["works", "error", "hangs"];

/// The panics of this process.
static PANICS: AtomicU32 = AtomicU32::new(0);

/// The variant that asks a subject one question.
///
/// Every variant is declared as a control: the census predicts nothing, and tells what it counts.
pub fn variant<S: Subject>(question: Question) -> Variant {
    let ask = move |trial: &Trial<'_>| {
        let said = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            said(info);
        }));
        if let Some(missing) = S::SERVER.and_then(|server| server.missing()) {
            trial.record("missing", missing);
            answer(trial, "skipped");
            return Ok(());
        }
        let word = match question {
            Question::Control => dropped::<S>(Place::Context),
            Question::DropOffContext => dropped::<S>(Place::OffContext),
            Question::DropInAsync => dropped::<S>(Place::InAsync),
            Question::DropRuntimeGone => dropped::<S>(Place::RuntimeGone),
            Question::CloseWaits => close_waits::<S>(trial),
            Question::Flush => flush::<S>(trial, &AT_ONCE),
            Question::FlushAlive => flush::<S>(trial, &ALIVE),
            Question::FlushControl => flush::<S>(trial, &IN_PEACE),
            Question::UseRuntimeGone => use_runtime_gone::<S>(trial),
            Question::UseDeadHandle => use_dead_handle::<S>(trial),
            Question::Fork => {
                // A child that panicked has no word: its panic is the answer.
                let word = forked::<S>(trial)?;
                word.into_iter().for_each(|word| answer(trial, word));
                return Ok(());
            }
            Question::CloseTwice => close_twice::<S>(trial),
            Question::CloseHalfway => close_halfway::<S>(trial),
        }?;
        answer(trial, word);
        Ok(())
    };
    lab::control(format!("{}/{}", S::CODE, question.code()), ask)
        .about(question.about())
        .deadline(DEADLINE)
}

/// Records the answer of a trial in which nothing panicked: of another, the panic is the answer.
fn answer(trial: &Trial<'_>, word: &str) {
    if PANICS.load(Ordering::SeqCst) == 0 {
        trial.record("answer", word);
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// Makes a value and uses it once. Boxed, because some of these futures are larger than a stack.
async fn warm<S: Subject>() -> TrialResult<S::Live> {
    let mut live = Box::pin(S::live()).await?;
    Box::pin(S::call(&mut live)).await?;
    Ok(live)
}

enum Place {
    Context,
    OffContext,
    InAsync,
    RuntimeGone,
}

fn dropped<S: Subject>(place: Place) -> TrialResult<&'static str> {
    let runtime = runtime()?;
    let live = runtime.block_on(warm::<S>())?;
    match place {
        Place::Context => {
            let _context = runtime.enter();
            drop(live);
        }
        Place::OffContext => drop(live),
        Place::InAsync => runtime.block_on(async { drop(live) }),
        Place::RuntimeGone => {
            drop(runtime);
            drop(live);
            return Ok("clean");
        }
    }
    // Lets the work end that the destructor has left to others.
    runtime.shutdown_timeout(LATE);
    Ok("clean")
}

fn close_waits<S: Subject>(trial: &Trial<'_>) -> TrialResult<&'static str> {
    let runtime = runtime()?;
    let before = Alive::now(runtime.handle())?;
    let mut live = runtime.block_on(warm::<S>())?;
    let open = Alive::now(runtime.handle())?.beyond(before);
    if open.is_nothing() {
        return Ok("nothing-to-see");
    }
    trial.record("open", open.to_string());
    let closed = runtime.block_on(limited(S::close(&mut live)))?;
    // It stays: how the value ends is another question.
    std::mem::forget(live);
    match closed {
        None => return Ok("hangs"),
        Some(closed) => closed?,
    }
    let left = Alive::left(runtime.handle(), before)?;
    if left.is_nothing() {
        return Ok("over");
    }
    trial.record("left", left.to_string());
    let until = Instant::now() + LATE;
    while Instant::now() < until {
        if Alive::now(runtime.handle())?.beyond(before).is_nothing() {
            return Ok("later");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok("stays")
}

/// How much time a flush has.
struct Time {
    /// Before the close, while everything runs.
    before: Duration,
    /// After the close, while the runtime runs.
    after: Duration,
}

const AT_ONCE: Time = Time { before: Duration::ZERO, after: Duration::ZERO };
const ALIVE: Time = Time { before: Duration::ZERO, after: LIMIT };
const IN_PEACE: Time = Time { before: LATE, after: LIMIT };

fn flush<S: Subject>(trial: &Trial<'_>, time: &Time) -> TrialResult<&'static str> {
    let wait = |limit| {
        let until = Instant::now() + limit;
        while S::arrived() < ITEMS && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
    };
    let runtime = runtime()?;
    runtime.block_on(async {
        let mut live = Box::pin(S::live()).await?;
        for _ in 0..ITEMS {
            Box::pin(S::accept(&mut live)).await?;
        }
        if time.before > Duration::ZERO {
            tokio::task::block_in_place(|| wait(time.before));
        }
        if S::CLOSE.is_ok() {
            limited(S::close(&mut live)).await?.ok_or("its close hangs")??;
        }
        drop(live);
        TrialResult::Ok(())
    })?;
    wait(time.after);
    drop(runtime);
    wait(LATE);
    let arrived = S::arrived();
    trial.record("arrived", i64::try_from(arrived)?);
    Ok(match arrived {
        0 => "none",
        ITEMS => "all",
        _ => "part",
    })
}

/// The result of a call or a close; nothing if it has not ended within the limit. A thread has the clock, because the
/// timers of a runtime that is gone do not run.
async fn limited(doing: impl Future<Output = TrialResult>) -> TrialResult<Option<TrialResult>> {
    let (alarm, rang) = oneshot::channel::<()>();
    let clock = thread::Builder::new().name(look::OWN.to_owned());
    clock.spawn(move || {
        thread::sleep(LIMIT);
        drop(alarm);
    })?;
    match select(Box::pin(doing), rang).await {
        Either::Left((result, _)) => Ok(Some(result)),
        Either::Right(_) => Ok(None),
    }
}

/// The word for how a call or a close ended, with its error.
async fn ended(
    trial: &Trial<'_>,
    doing: impl Future<Output = TrialResult>,
) -> TrialResult<&'static str> {
    Ok(match limited(doing).await? {
        None => "hangs",
        Some(Ok(())) => "works",
        Some(Err(error)) => {
            trial.record("says", without_numbers(&error.to_string()));
            "error"
        }
    })
}

/// A message without what differs from trial to trial: ports, addresses and ids.
fn without_numbers(text: &str) -> String {
    let mut kept = String::new();
    for word in text.split_inclusive(|it: char| !it.is_ascii_digit()) {
        let digits = word.trim_end_matches(|it: char| !it.is_ascii_digit());
        match digits.len() {
            0..4 => kept.push_str(word),
            length => kept.extend(["…", word.get(length..).unwrap_or_default()]),
        }
    }
    kept
}

fn use_runtime_gone<S: Subject>(trial: &Trial<'_>) -> TrialResult<&'static str> {
    let first = runtime()?;
    let mut live = first.block_on(warm::<S>())?;
    drop(first);
    let second = runtime()?;
    let word = second.block_on(ended(trial, S::call(&mut live)))?;
    // How the value ends is another question.
    std::mem::forget(live);
    second.shutdown_background();
    Ok(word)
}

fn use_dead_handle<S: Subject>(trial: &Trial<'_>) -> TrialResult<&'static str> {
    let runtime = runtime()?;
    let handle = runtime.handle().clone();
    let mut live = runtime.block_on(warm::<S>())?;
    drop(runtime);
    let word = handle.block_on(ended(trial, S::call(&mut live)))?;
    std::mem::forget(live);
    Ok(word)
}

fn forked<S: Subject>(trial: &Trial<'_>) -> TrialResult<Option<&'static str>> {
    let runtime = runtime()?;
    let mut live = runtime.block_on(warm::<S>())?;
    match fork::fork()? {
        Fork::Child => {
            let used = panic::catch_unwind(AssertUnwindSafe(|| {
                let own = Builder::new_current_thread().enable_all().build()?;
                let word = own.block_on(ended(trial, S::call(&mut live)))?;
                std::mem::forget(own);
                TrialResult::Ok(word)
            }));
            let mut code = FORKED.len();
            match used {
                // A panic that Tokio has caught is one, too.
                Ok(Ok(word)) if PANICS.load(Ordering::SeqCst) == 0 => {
                    code = FORKED.iter().position(|it| *it == word).unwrap_or(FORKED.len());
                }
                Ok(Err(error)) => {
                    trial.check(&format!("the child could not ask: {error}"), false);
                }
                Ok(Ok(_)) | Err(_) => {}
            }
            // Ends this process without a destructor.
            let error = Command::new("sh").args(["-c", &format!("exit {code}")]).exec();
            trial.check(&format!("the child cannot end: {error}"), false);
            std::process::exit(1)
        }
        Fork::Parent(child) => {
            let status = fork::waitpid(child)?;
            let parent = runtime.block_on(ended(trial, S::call(&mut live)))?;
            trial.record("parent", parent);
            std::mem::forget(live);
            runtime.shutdown_background();
            if WIFSIGNALED(status) {
                return Ok(Some("killed"));
            }
            // Told now, and not by the child: if this trial hangs after that, it has one answer and not two.
            Ok(usize::try_from(WEXITSTATUS(status)).ok().and_then(|code| FORKED.get(code).copied()))
        }
    }
}

fn close_twice<S: Subject>(trial: &Trial<'_>) -> TrialResult<&'static str> {
    let runtime = runtime()?;
    let mut live = runtime.block_on(warm::<S>())?;
    runtime.block_on(limited(S::close(&mut live)))?.ok_or("its first close hangs")??;
    let word = runtime.block_on(ended(trial, S::close(&mut live)))?;
    std::mem::forget(live);
    runtime.shutdown_background();
    Ok(word)
}

fn close_halfway<S: Subject>(trial: &Trial<'_>) -> TrialResult<&'static str> {
    let runtime = runtime()?;
    let before = Alive::now(runtime.handle())?;
    let mut live = runtime.block_on(warm::<S>())?;
    let at_once = runtime.block_on(async {
        let mut close = pin!(S::close(&mut live));
        poll!(close.as_mut()).is_ready()
    });
    if at_once {
        std::mem::forget(live);
        runtime.shutdown_background();
        return Ok("at-once");
    }
    let word = runtime.block_on(ended(trial, S::close(&mut live)))?;
    let until = Instant::now() + LATE;
    let mut left = Alive::now(runtime.handle())?.beyond(before);
    while !left.is_nothing() && Instant::now() < until {
        thread::sleep(Duration::from_millis(10));
        left = Alive::now(runtime.handle())?.beyond(before);
    }
    std::mem::forget(live);
    runtime.shutdown_background();
    if word == "works" && !left.is_nothing() {
        trial.record("left", left.to_string());
        return Ok("stays");
    }
    Ok(word)
}
