//! When nothing of what destructors started is left.
//!
//! Tokio tells how many tasks are alive. It does not tell (without `tokio_unstable`) whether a
//! blocking closure is queued or running, and closures start closures, so that a fence behind those
//! that are known proves little. What is exact is this:
//!
//! 1. A fence is posted: a closure that does nothing. It runs behind everything that was queued.
//! 2. From before that until the end, nobody polls a task: the driver does not drive.
//! 3. The closing thread that ran the fence has *retired*, which it does only when nothing is
//!    queued. So all that was queued before the fence has run, and all that this posted, and so on.
//! 4. No task is alive. Had there been one before the fence, or had a closure spawned one, it would
//!    be alive still: nobody has polled it.
//!
//! Then nothing is left that could start anything. Where a task is alive, the driver has to drive
//! until none is, and a new fence is posted.
//!
//! Counting the starts of threads would not do instead of a fence: a thread that was started a
//! moment ago has not counted itself yet.

/// What is known of the closing thread, of the fences, and of the driver.
#[derive(Default)]
pub(super) struct Quiet {
    /// A value has been handed over since nothing was left.
    disturbed: bool,
    /// Whether tasks may be being polled.
    driving: bool,
    /// How many closing threads have started and how many have retired, by their own count. There is
    /// one at a time.
    started: u64,
    retired: u64,
    /// How many fences have been posted, and how many have been passed.
    posted: u64,
    passed: u64,
    /// Which thread passed the last fence.
    passed_on: u64,
    /// Nobody has polled a task since before the last fence was posted.
    undriven: bool,
}

impl Quiet {
    /// A value is handed over.
    pub(super) const fn disturb(&mut self) {
        self.disturbed = true;
    }

    /// A closing thread has started.
    pub(super) const fn started(&mut self) {
        self.started += 1;
    }

    /// A closing thread has found nothing more to do.
    pub(super) const fn retired(&mut self) {
        self.retired += 1;
    }

    /// The driver begins to drive, or has stopped.
    pub(super) const fn drive(&mut self, driving: bool) {
        self.driving = driving;
        self.undriven = false;
    }

    /// A fence is about to be posted; `false` if it had better not be, as the driver is driving.
    pub(super) const fn fence(&mut self) -> bool {
        if self.driving {
            return false;
        }
        self.posted += 1;
        self.undriven = true;
        true
    }

    /// A fence is passed, on the only closing thread there is.
    pub(super) const fn pass(&mut self) {
        self.passed += 1;
        self.passed_on = self.started;
    }

    /// Whether all that was posted has run, by what is known: nothing is known of what was posted
    /// behind the last fence by somebody other than those before it.
    pub(super) const fn is_behind_the_fence(&self) -> bool {
        self.passed == self.posted && self.retired >= self.passed_on
    }

    /// Whether nothing is left, if no value is being dropped: see the head of this file.
    pub(super) const fn nothing_left(&self, tasks: usize) -> bool {
        !self.driving && self.undriven && self.is_behind_the_fence() && tasks == 0
    }

    /// Nothing is left.
    pub(super) const fn settle(&mut self) {
        self.disturbed = false;
    }

    /// Whether nothing is left, and nothing has been handed over since.
    pub(super) const fn is_settled(&self) -> bool {
        !self.disturbed
    }

    /// Whether there is a closing thread at work, or a fence that waits for one.
    pub(super) const fn is_closing(&self) -> bool {
        self.started > self.retired || self.posted > self.passed
    }
}
