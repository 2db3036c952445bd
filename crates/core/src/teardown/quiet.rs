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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A value was handed over and dropped, and what a closing thread did since then.
    fn after(events: impl FnOnce(&mut Quiet)) -> Quiet {
        let mut quiet = Quiet::default();
        quiet.disturb();
        events(&mut quiet);
        quiet
    }

    #[test]
    fn nothing_is_left_once_the_thread_that_passed_the_fence_has_retired() {
        let mut quiet = Quiet::default();
        assert!(quiet.is_settled() && !quiet.is_closing());
        quiet.disturb();
        assert!(!quiet.is_settled() && !quiet.nothing_left(0), "there is no fence");
        assert!(quiet.fence());
        assert!(quiet.is_closing() && !quiet.nothing_left(0), "the fence waits");
        quiet.started();
        quiet.pass();
        assert!(quiet.is_closing() && !quiet.nothing_left(0), "closures may be queued behind it");
        quiet.retired();
        assert!(quiet.nothing_left(0) && !quiet.is_closing());
        assert!(!quiet.nothing_left(1), "a task can start anything");
        assert!(!quiet.is_settled());
        quiet.settle();
        assert!(quiet.is_settled());
    }

    #[test]
    fn a_fence_proves_nothing_about_what_a_driver_polled_after_it() {
        let quiet = after(|quiet| {
            quiet.fence();
            quiet.started();
            quiet.drive(true);
            quiet.pass();
            quiet.drive(false);
            quiet.retired();
        });
        assert!(quiet.is_behind_the_fence() && !quiet.nothing_left(0));
    }

    #[test]
    fn a_driver_that_drives_refuses_a_fence_and_needs_a_new_one_after_it() {
        let mut quiet = after(|quiet| {
            assert!(quiet.fence());
            quiet.started();
            quiet.pass();
            quiet.retired();
            quiet.drive(true);
        });
        assert!(!quiet.fence() && !quiet.nothing_left(0));
        quiet.drive(false);
        assert!(!quiet.nothing_left(0));
        assert!(quiet.fence());
        quiet.started();
        quiet.pass();
        quiet.retired();
        assert!(quiet.nothing_left(0));
    }

    #[test]
    fn every_fence_must_be_passed_and_the_last_thread_retired() {
        let mut quiet = after(|quiet| {
            quiet.fence();
            quiet.fence();
            quiet.started();
            quiet.pass();
            quiet.retired();
        });
        assert!(quiet.is_closing() && !quiet.is_behind_the_fence(), "the second fence waits");
        quiet.started();
        quiet.pass();
        assert!(!quiet.is_behind_the_fence(), "only the first of two threads has retired");
        quiet.retired();
        assert!(quiet.is_behind_the_fence() && !quiet.is_closing());
    }
}
