//! Ctrl-C: ends what was started, and then this process.

use std::{
    io, process,
    sync::atomic::{AtomicI32, Ordering},
    thread,
};

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// The process group that is ended, or 0. SeqCst: nothing is gained by less, once per build.
static GROUP: AtomicI32 = AtomicI32::new(0);

/// From now on a signal ends this process with 128 and its number, and what was started with it.
pub fn handle() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            if let Some(group) = Pid::from_raw(GROUP.load(Ordering::SeqCst)) {
                // It may have ended meanwhile.
                let _ = kill_process_group(group, Signal::TERM);
            }
            process::exit(128 + signal);
        }
    })?;
    Ok(())
}

/// Ends a process group with this process.
pub fn end_with_this(leader: u32) {
    GROUP.store(i32::try_from(leader).unwrap_or_default(), Ordering::SeqCst);
}

/// The process group has ended.
pub fn has_ended() {
    GROUP.store(0, Ordering::SeqCst);
}
