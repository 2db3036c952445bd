//! The questions. Their codes are in the results and never change their meaning.

/// One question, which is one column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    Control,
    DropOffContext,
    DropInAsync,
    DropRuntimeGone,
    CloseWaits,
    Flush,
    FlushAlive,
    FlushControl,
    UseRuntimeGone,
    UseDeadHandle,
    Fork,
    CloseTwice,
    CloseHalfway,
}

impl Question {
    pub const ALL: [Self; 13] = [
        Self::Control,
        Self::DropOffContext,
        Self::DropInAsync,
        Self::DropRuntimeGone,
        Self::CloseWaits,
        Self::Flush,
        Self::FlushAlive,
        Self::FlushControl,
        Self::UseRuntimeGone,
        Self::UseDeadHandle,
        Self::Fork,
        Self::CloseTwice,
        Self::CloseHalfway,
    ];

    pub const fn code(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::DropOffContext => "drop-off-context",
            Self::DropInAsync => "drop-in-async",
            Self::DropRuntimeGone => "drop-runtime-gone",
            Self::CloseWaits => "close-waits",
            Self::Flush => "flush",
            Self::FlushAlive => "flush-alive",
            Self::FlushControl => "flush-control",
            Self::UseRuntimeGone => "use-runtime-gone",
            Self::UseDeadHandle => "use-dead-handle",
            Self::Fork => "fork",
            Self::CloseTwice => "close-twice",
            Self::CloseHalfway => "close-halfway",
        }
    }

    /// What a trial does.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Control => "used once and dropped on a thread with a context; its runtime runs",
            Self::DropOffContext => "dropped on a thread without a context; its runtime runs",
            Self::DropInAsync => "dropped in async code on its runtime",
            Self::DropRuntimeGone => "dropped on a thread without a context, after its runtime",
            Self::CloseWaits => "its own close is awaited: has all ended that it started?",
            Self::Flush => {
                "100 items are accepted, then its own close or a drop, then the runtime ends: did they arrive?"
            }
            Self::FlushAlive => {
                "the same as `flush`, but the runtime runs on until they have arrived"
            }
            Self::FlushControl => {
                "the same as `flush-alive`, but the close waits two seconds, or until they have arrived"
            }
            Self::UseRuntimeGone => "its runtime is dropped, and it is used on a second one",
            Self::UseDeadHandle => {
                "its runtime is dropped, and it is used by `Handle::block_on` of that runtime"
            }
            Self::Fork => "the process forks, and the child uses it on a runtime of its own",
            Self::CloseTwice => "its own close is awaited twice",
            Self::CloseHalfway => "its own close is polled once and dropped, and then awaited",
        }
    }
}
