//! Threads that keep the processors busy.

use std::{
    hint::black_box,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// Busy threads. Dropping it ends them.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub(super) fn start(threads: u32) -> io::Result<Self> {
        let mut load = Self { stop: Arc::default(), threads: Vec::new() };
        for _ in 0..threads {
            let stop = Arc::clone(&load.stop);
            let busy = move || {
                let mut number = 1_u64;
                // Relaxed: the flag publishes nothing.
                while !stop.load(Ordering::Relaxed) {
                    number = black_box(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                }
            };
            load.threads.push(thread::Builder::new().name("load".to_owned()).spawn(busy)?);
        }
        Ok(load)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
