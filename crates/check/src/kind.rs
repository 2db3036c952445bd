//! What a destructor can do wrong, with the code of `sundown explain` and what to do instead.

use clap::ValueEnum;
use serde::Serialize;
use sundown_core::explain::Cause;

/// What a destructor can do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// It needs a runtime context.
    Context,
    /// It drops a runtime, which waits.
    Runtime,
    /// It blocks the thread until a future is done.
    Block,
    /// It calls `block_in_place`.
    InPlace,
    /// It spawns a task that stays on its thread.
    Local,
}

impl Kind {
    pub const ALL: [Self; 5] =
        [Self::Context, Self::Runtime, Self::Block, Self::InPlace, Self::Local];

    /// The code of the panic.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Context => Cause::NoContext,
            Self::Runtime => Cause::RuntimeDropped,
            Self::Block => Cause::BlockedInAsync,
            Self::InPlace => Cause::BlockInPlace,
            Self::Local => Cause::NotLocal,
        }
        .code()
    }

    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code().eq_ignore_ascii_case(code))
    }

    /// Where it goes wrong, for a title.
    pub const fn place(self) -> &'static str {
        match self {
            Self::Context => "dropped where there is no runtime context",
            Self::Runtime | Self::Block => "dropped in async code",
            Self::InPlace => "dropped on a runtime with one thread, or in a `LocalSet`",
            Self::Local => "dropped outside a `LocalSet`",
        }
    }

    /// What the destructor does.
    pub const fn does(self) -> &'static str {
        match self {
            Self::Context => "it uses the runtime of the thread that drops it",
            Self::Runtime => "it drops a `Runtime`, which waits for its blocking threads",
            Self::Block => "it blocks the thread until a future is done",
            Self::InPlace => "it calls `block_in_place`",
            Self::Local => "it spawns a task that stays on one thread",
        }
    }

    /// What to do instead.
    pub const fn instead(self) -> &'static str {
        match self {
            Self::Context => {
                "keep it in a `sundown::Session` (`session.guard(value)`), or hand it to \
                 `sundown::teardown::teardown_blocking(value, limit)`; if it is not `Send`, drop it below \
                 `let _context = handle.enter();`; if the type is yours, have its destructor ask \
                 `Handle::try_current`, or give it an `async fn close(self)`"
            }
            Self::Runtime => {
                "let a `sundown::runtime::RuntimeOwner` own the runtime (its `spawn` takes a name, and a \
                 closure that gets the stop signal), and await its `shutdown(limit)`; or drop the value in `spawn_blocking`"
            }
            Self::Block | Self::InPlace => {
                "run the destructor where it may wait: `sundown::teardown::teardown(value, limit).await`; \
                 if the type is yours, give it an `async fn close(self)`"
            }
            Self::Local => "drop it inside `local.run_until(async { drop(value) }).await`",
        }
    }
}

/// Where a value is dropped in a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// On a thread without a runtime context
    OffContext,
    /// In async code, on a runtime with one thread
    InAsync,
}

impl Place {
    pub const ALL: [Self; 2] = [Self::OffContext, Self::InAsync];

    /// As the program of trials has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::OffContext => "off-context",
            Self::InAsync => "in-async",
        }
    }

    pub const fn words(self) -> &'static str {
        match self {
            Self::OffContext => "off context",
            Self::InAsync => "in async code",
        }
    }
}

/// How sure a finding is. The larger is the surer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// Through a virtual call or an address that was taken, or past a check that may prevent it
    May,
    /// By direct calls, and nothing on the way prevents it
    Will,
}

impl Certainty {
    pub const fn word(self) -> &'static str {
        match self {
            Self::May => "may",
            Self::Will => "will",
        }
    }
}
