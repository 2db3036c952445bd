//! Where an idle lane waits for its next batch.

use crate::sync::{Condvar, Mutex, MutexGuard, lock};

/// What an idle lane is to do. It is given one batch, or told to end, never both.
pub struct Slot<B> {
    told: Mutex<Told<B>>,
    changed: Condvar,
}

enum Told<B> {
    Nothing,
    Serve(B),
    End,
}

impl<B> Slot<B> {
    /// Nothing to do yet.
    #[must_use]
    pub fn new() -> Self {
        Self { told: Mutex::new(Told::Nothing), changed: Condvar::new() }
    }

    /// Gives the lane a batch.
    pub fn serve(&self, batch: B) {
        self.tell(Told::Serve(batch));
    }

    /// Tells the lane to end.
    pub fn end(&self) {
        self.tell(Told::End);
    }

    fn tell(&self, told: Told<B>) {
        *self.lock() = told;
        self.changed.notify_one();
    }

    /// Waits for a batch. Returns `None` if the lane has to end.
    pub fn wait(&self) -> Option<B> {
        let mut told = self.lock();
        loop {
            match std::mem::replace(&mut *told, Told::Nothing) {
                Told::Serve(batch) => return Some(batch),
                Told::End => return None,
                Told::Nothing => {}
            }
            told = self.changed.wait(told).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told<B>> {
        lock(&self.told)
    }
}
