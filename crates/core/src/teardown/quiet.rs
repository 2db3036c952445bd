//! When nothing is left of what destructors started.
//!
//! Tokio reports how many tasks are alive. It does not report (without `tokio_unstable`) whether a
//! blocking closure is queued or running. And closures start closures, so a fence behind those that
//! are known proves little. What is exact is this:
//!
//! 1. A fence is posted: a closure that does nothing. It runs after everything that was queued.
//! 2. From before that until the end nobody polls a task: the driver does not drive.
//! 3. The closing thread that ran the fence has *retired*, which it does only when nothing is queued.
//!    So everything that was queued before the fence has run, and everything that this posted, and so
//!    on.
//! 4. No task is alive. If one had been alive before the fence, or if a closure had spawned one, it
//!    would still be alive, because nobody has polled it.
//!
//! Then nothing is left that could start anything. If a task is alive, the driver drives until none is,
//! and posts a new fence.
//!
//! Counting the starts of threads would not do instead of a fence: a thread that has just been started
//! has not counted itself yet.

/// What is known of the closing thread, of the fences, and of the driver.
#[derive(Default)]
pub(super) struct Quiet {
    /// A value has been handed over since nothing was left.
    disturbed: bool,
    /// Tasks may be polled now.
    driving: bool,
    /// How many closing threads have started and how many have retired, by their own count. There is
    /// one at a time.
    started: u64,
    retired: u64,
    /// How many fences have been posted, and how many have been passed.
    posted: u64,
    passed: u64,
    /// Which closing thread passed the last fence.
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

    /// A fence is about to be posted. Returns `false` while the driver is driving: then a fence would
    /// prove nothing, and the driver will post one itself.
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

    /// Whether everything that was posted before the last fence has run, with all that it posted. What
    /// others have posted after the fence is not known.
    pub(super) const fn is_behind_the_fence(&self) -> bool {
        self.passed == self.posted && self.retired >= self.passed_on
    }

    /// Whether nothing is left, if no value is being dropped: see the head of this file.
    pub(super) const fn nothing_left(&self, tasks: usize) -> bool {
        !self.driving && self.undriven && self.is_behind_the_fence() && tasks == 0
    }

    /// Records that nothing is left.
    pub(super) const fn settle(&mut self) {
        self.disturbed = false;
    }

    /// Whether nothing is left, and nothing has been handed over since.
    pub(super) const fn is_settled(&self) -> bool {
        !self.disturbed
    }

    /// Whether a closing thread is at work, or a fence waits for one.
    pub(super) const fn is_closing(&self) -> bool {
        self.started > self.retired || self.posted > self.passed
    }
}
