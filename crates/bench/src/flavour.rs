//! The two flavours of a Tokio runtime.

use std::{fmt, io, thread};

use clap::ValueEnum;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
};

/// A flavour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flavour {
    /// Everything runs on the thread that drives it.
    CurrentThread,
    /// With several workers.
    MultiThread,
}

impl Flavour {
    /// Both flavours.
    pub const ALL: [Self; 2] = [Self::CurrentThread, Self::MultiThread];

    /// A runtime of this flavour, with this many workers if it is multi-threaded.
    pub fn runtime(self, workers: usize) -> io::Result<Runtime> {
        self.builder(workers).enable_time().build()
    }

    fn builder(self, workers: usize) -> Builder {
        let mut builder = match self {
            Self::CurrentThread => Builder::new_current_thread(),
            Self::MultiThread => Builder::new_multi_thread(),
        };
        if self == Self::MultiThread {
            builder.worker_threads(workers);
        }
        builder
    }
}

impl fmt::Display for Flavour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::CurrentThread => "current-thread",
            Self::MultiThread => "multi-thread",
        })
    }
}

/// The number of processors.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// Lets a number of tasks run at the same time: one runtime with a worker for each, or a
/// single-threaded runtime for each, on a thread of its own. Without timers, because a runtime that
/// has them looks at the clock in every turn.
pub struct Places {
    handles: Vec<Handle>,
    /// The runtimes are driven until this is dropped.
    _driven: Vec<oneshot::Sender<()>>,
    _runtime: Option<Runtime>,
}

impl Places {
    /// Places for this many tasks.
    pub fn new(flavour: Flavour, tasks: usize) -> io::Result<Self> {
        if flavour == Flavour::MultiThread {
            let runtime = flavour.builder(tasks).build()?;
            let handles = vec![runtime.handle().clone()];
            return Ok(Self { handles, _driven: Vec::new(), _runtime: Some(runtime) });
        }
        let (mut handles, mut driven) = (Vec::new(), Vec::new());
        for _ in 0..tasks {
            let runtime = flavour.builder(1).build()?;
            let (until, dropped) = oneshot::channel::<()>();
            handles.push(runtime.handle().clone());
            driven.push(until);
            thread::spawn(move || drop(runtime.block_on(dropped)));
        }
        Ok(Self { handles, _driven: driven, _runtime: None })
    }

    /// The place of a task.
    pub fn place(&self, task: usize) -> &Handle {
        &self.handles[task % self.handles.len()]
    }
}
