//! The runtime of a session, which the session owns or only uses.

use std::{fmt, future::Future, sync::Arc, thread};

use tokio::runtime::{Handle, RuntimeFlavor, worker_index};

use super::probe::Probe;
use crate::{
    panics,
    runtime::{CutOffWatch, Enlisted, RuntimeError, RuntimeHandle, RuntimeOwner, State},
    shutdown::NotCovered,
};

/// How often to look how many tasks are alive.
const LOOKS: usize = 4;

/// A runtime for [`Builder::runtime`](super::Builder::runtime). Made from
///
/// - a [`RuntimeOwner`]: the session owns the current generation, and its close takes it down;
/// - a [`RuntimeHandle`] or a Tokio [`Handle`]: somebody else owns the runtime. The session runs its hooks
///   there, and never takes it down.
#[derive(Clone, Debug)]
pub struct SessionRuntime(Which);

#[derive(Clone, Debug)]
enum Which {
    Owned(RuntimeOwner),
    Kit(RuntimeHandle),
    Tokio(Handle),
}

impl From<RuntimeOwner> for SessionRuntime {
    fn from(owner: RuntimeOwner) -> Self {
        Self(Which::Owned(owner))
    }
}

impl From<RuntimeHandle> for SessionRuntime {
    fn from(handle: RuntimeHandle) -> Self {
        Self(Which::Kit(handle))
    }
}

impl From<Handle> for SessionRuntime {
    fn from(handle: Handle) -> Self {
        Self(Which::Tokio(handle))
    }
}

impl From<&Handle> for SessionRuntime {
    fn from(handle: &Handle) -> Self {
        handle.clone().into()
    }
}

impl SessionRuntime {
    /// Takes the session's share of the runtime.
    pub(super) fn start(self) -> Result<Runtime, RuntimeError> {
        Ok(match self.0 {
            Which::Owned(owner) => {
                let handle = owner.current()?;
                Runtime::Owned { share: handle.enlist()?, handle, _owner: owner }
            }
            Which::Kit(handle) => {
                handle.handle()?;
                Runtime::Kit(handle)
            }
            Which::Tokio(handle) => Runtime::Tokio(Arc::new(Probe::of(handle))),
        })
    }
}

/// The runtime of a session that has started.
pub(super) enum Runtime {
    /// One generation, which the session owns, with other sessions on it perhaps.
    Owned {
        share: Enlisted,
        handle: RuntimeHandle,
        /// The runtime goes down when its last owner is dropped.
        _owner: RuntimeOwner,
    },
    /// Somebody else's.
    Kit(RuntimeHandle),
    /// Somebody else's.
    Tokio(Arc<Probe>),
}

/// Whether a thread may block in a wait for a task of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MayBlock {
    Yes,
    /// After another thread has taken over what this one polls.
    InPlace,
    /// Only this thread polls the runtime.
    No,
}

impl Runtime {
    /// The share of the runtime, if the session owns it.
    pub(super) const fn share(&self) -> Option<&Enlisted> {
        match self {
            Self::Owned { share, .. } => Some(share),
            Self::Kit(_) | Self::Tokio(_) => None,
        }
    }

    /// Has `tell` called when the runtime is about to be cut off. The kit cannot see that of a runtime that
    /// is not the kit's: [`probe`](Self::probe).
    pub(super) fn before_cut_off(
        &self,
        tell: impl Fn() + Send + Sync + 'static,
    ) -> Option<CutOffWatch> {
        match self {
            Self::Owned { handle, .. } | Self::Kit(handle) => Some(handle.before_cut_off(tell)),
            Self::Tokio(_) => None,
        }
    }

    /// What asks the runtime whether it has been shut down, if it is not the kit's.
    pub(super) fn probe(&self) -> Option<impl Fn() -> bool + Send + Sync + use<>> {
        let Self::Tokio(probe) = self else { return None };
        let probe = Arc::clone(probe);
        Some(move || probe.is_down())
    }

    /// Whether a close from this thread would wait for the thread.
    pub(super) fn waits_for_this_thread(&self) -> bool {
        // If other sessions use the runtime, this one leaves it running.
        self.share().is_some_and(|share| share.others() == 0 && share.includes_this_thread())
    }

    /// Whether this thread may block in a wait for a task of the runtime. It may not if it is the one that
    /// polls it. A thread for blocking work, and one that has only entered the context, polls nothing. (On a
    /// worker of another runtime that has entered this one's context, it is taken for a worker of this one.)
    pub(super) fn may_block_here(&self) -> MayBlock {
        let (handle, polls_here) = match self {
            Self::Owned { handle, .. } | Self::Kit(handle) => {
                (handle.tokio(), handle.polls_on_this_thread())
            }
            Self::Tokio(probe) => {
                let handle = probe.runtime();
                let is_current = Handle::try_current().is_ok_and(|here| here.id() == handle.id());
                (Some(handle.clone()), is_current && worker_index().is_some())
            }
        };
        match handle.filter(|_| polls_here).map(|handle| handle.runtime_flavor()) {
            None => MayBlock::Yes,
            Some(RuntimeFlavor::CurrentThread) => MayBlock::No,
            Some(_) => MayBlock::InPlace,
        }
    }

    /// Spawns the hooks. If the runtime is down, they are dropped.
    pub(super) fn spawn(&self, hooks: impl Future<Output = ()> + Send + 'static) {
        match self {
            // By name, so that an error of the runtime's own shutdown can say what runs. It is an error
            // that the hooks note themselves when they are dropped.
            Self::Owned { handle, .. } | Self::Kit(handle) => {
                drop(handle.spawn("before_close", |_stop| hooks));
            }
            // Tokio panics if this thread's locals are being destroyed.
            Self::Tokio(probe) => {
                let _ = panics::catch(|| drop(probe.runtime().spawn(hooks)));
            }
        }
    }

    /// What a report does not speak of, because of this runtime.
    pub(super) fn not_covered(&self) -> Vec<NotCovered> {
        let foreign = |runtime: &Handle, alive_tasks: &dyn Fn() -> usize| {
            // The caller is not meant, if it is a task of this runtime.
            let is_task = tokio::task::try_id().is_some()
                && Handle::try_current().is_ok_and(|here| here.id() == runtime.id());
            // Tokio may count a task, such as that of the hooks, for a moment after it has ended. The thread
            // that it ended on may need this processor.
            let look = |_| {
                thread::yield_now();
                alive_tasks()
            };
            let alive = match alive_tasks() {
                0 => 0,
                alive => (0..LOOKS).map(look).min().unwrap_or(alive),
            };
            match alive.saturating_sub(usize::from(is_task)) {
                0 => vec![NotCovered::BlockingWork],
                alive => vec![NotCovered::ForeignTasks { alive }, NotCovered::BlockingWork],
            }
        };
        // Nothing is left on a runtime that has ended.
        let of_kit = |handle: &RuntimeHandle| match handle.tokio() {
            Some(runtime) => foreign(&runtime, &|| handle.alive_tasks()),
            None => Vec::new(),
        };
        match self {
            Self::Owned { share, .. } if share.stats().state == State::Ended => Vec::new(),
            Self::Owned { share, handle, .. } => match share.others() {
                0 => of_kit(handle),
                sessions => vec![NotCovered::SharedRuntime { sessions }],
            },
            Self::Kit(handle) => of_kit(handle),
            Self::Tokio(probe) => {
                let (runtime, probe) = (probe.runtime(), || probe.tasks());
                foreign(runtime, &|| runtime.metrics().num_alive_tasks().saturating_sub(probe()))
            }
        }
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owned { share, .. } => share.fmt(f),
            Self::Kit(handle) => handle.fmt(f),
            Self::Tokio(probe) => probe.runtime().fmt(f),
        }
    }
}
