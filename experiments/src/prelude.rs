//! What nearly every experiment uses: each begins with `use experiments::prelude::*;`.

pub use std::{error::Error, process::ExitCode, sync::Arc, thread, time::Duration};

pub use futures::executor::block_on;
pub use lab::{
    Experiment,
    Outcome::{Aborted, Clean, Failed, Hung, Panicked},
    Trial, TrialResult, Variant, every, seen,
};
pub use mock_sdk::store::{Generation, Store};
pub use tokio::runtime::Runtime;

pub use crate::{
    CONNECTIONS, PLENTY, control, cure, hang, hazard, runtime,
    scene::{Protected, ROWS, Scene, guarded, with_teardown},
};
