//! The rule by which the closing service decides that everything that destructors started has ended.
//!
//! Tokio reports how many tasks are alive. It does not report (without `tokio_unstable`) whether a
//! blocking closure is queued or running. Closures may queue more closures, so waiting for the known
//! ones is not enough. These steps are exact, for a runtime with at most one blocking thread:
//!
//! 1. A destructor that runs and a driver that polls tasks are *activities*. Only these, and closures,
//!    can start anything. Each end of an activity begins a new *epoch*, in the same critical section that
//!    says that the activity has ended.
//! 2. While no activity goes on, post a *fence*: a closure that does nothing. It carries the epoch in
//!    which it was posted, and vouches for that epoch only.
//! 3. The blocking thread that ran the fence has exited, and its thread-locals are gone. A blocking thread
//!    exits only with an empty queue, so everything that was queued before the fence has run, and everything that this queued,
//!    and so on.
//! 4. The epoch is still the fence's and no activity goes on, so none has since the fence was posted.
//! 5. No task is alive. A task that was alive before the fence, or that a closure spawned, would still be
//!    alive, because no task has been polled.
//!
//! Then nothing is left that could start anything. If a task is alive, a driver polls until none is, and
//! a new fence is posted.
//!
//! Without the epoch, the fence of one destructor vouches for the next one if the thread that ran it is
//! preempted on its way out. Counting the starts of threads would not replace the fence: a thread that
//! has just been started has not counted itself yet.
//!
//! This knows nothing of Tokio, so that the models check it as it is.

/// Counts activities and knows the last fence. Its owner guards it with a lock.
#[derive(Debug, Default)]
pub struct Quiet {
    /// How many activities go on.
    active: usize,
    /// How many activities have ended.
    epoch: u64,
    fence: Option<Fence>,
}

/// The last fence.
#[derive(Clone, Copy, Debug)]
struct Fence {
    /// The epoch in which it was posted.
    epoch: u64,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Posted,
    /// It has run on the thread with this number.
    Ran(usize),
    /// The thread that ran it has exited.
    Passed,
}

impl Quiet {
    /// Records that an activity begins: a destructor is about to run, or a driver to poll tasks.
    pub fn begin(&mut self) {
        self.active += 1;
    }

    /// Records that an activity has ended. Every earlier fence is void.
    pub fn end(&mut self) {
        self.active -= 1;
        self.epoch += 1;
        self.fence = None;
    }

    /// Whether a fence should be posted: no activity goes on, and there is no fence for this epoch.
    #[must_use]
    pub fn needs_fence(&self) -> bool {
        self.active == 0 && self.fence.is_none()
    }

    /// Records a fence that the caller is about to post, and returns its epoch. Returns `None` if none
    /// is needed.
    pub fn post(&mut self) -> Option<u64> {
        self.needs_fence().then(|| {
            self.fence = Some(Fence { epoch: self.epoch, progress: Progress::Posted });
            self.epoch
        })
    }

    /// Records that a fence could not be posted, because no thread could be started. Its closure is queued
    /// all the same, and may still run. Returns whether it was the last fence, and has not run.
    pub fn refused(&mut self, epoch: u64) -> bool {
        let was_posted =
            self.fence_of(epoch).is_some_and(|fence| fence.progress == Progress::Posted);
        if was_posted {
            self.fence = None;
        }
        was_posted
    }

    /// Records that the fence of this epoch runs on this thread.
    pub fn on_fence(&mut self, epoch: u64, thread: usize) {
        if let Some(fence) = self.fence_of(epoch) {
            fence.progress = Progress::Ran(thread);
        }
    }

    /// Records that a blocking thread exits, because its queue is empty.
    pub fn on_thread_exit(&mut self, thread: usize) {
        if let Some(fence) = &mut self.fence {
            if fence.progress == Progress::Ran(thread) {
                fence.progress = Progress::Passed;
            }
        }
    }

    /// Whether a fence is under way.
    #[must_use]
    pub fn is_fence_pending(&self) -> bool {
        self.fence.is_some_and(|fence| fence.progress != Progress::Passed)
    }

    /// Whether the last fence has passed: what was queued before it has run.
    #[must_use]
    pub fn has_fence_passed(&self) -> bool {
        self.fence.is_some_and(|fence| fence.progress == Progress::Passed)
    }

    /// Whether nothing is left that could start anything, if this many tasks are alive. See the head of
    /// this file. Answers `true` once: two threads that exit at the same time may both ask.
    #[must_use]
    pub fn finish(&mut self, tasks: usize) -> bool {
        let is_quiet = self.is_quiet(tasks);
        if is_quiet {
            self.fence = None;
        }
        is_quiet
    }

    fn is_quiet(&self, tasks: usize) -> bool {
        let passed = Progress::Passed;
        let vouched =
            self.fence.is_some_and(|fence| fence.progress == passed && fence.epoch == self.epoch);
        self.active == 0 && vouched && tasks == 0
    }

    /// The last fence, if it belongs to this epoch.
    fn fence_of(&mut self, epoch: u64) -> Option<&mut Fence> {
        self.fence.as_mut().filter(|fence| fence.epoch == epoch)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The state after one destructor has returned, and these events followed.
    fn after(events: impl FnOnce(&mut Quiet)) -> Quiet {
        let mut quiet = Quiet::default();
        quiet.begin();
        quiet.end();
        events(&mut quiet);
        quiet
    }

    #[test]
    fn nothing_is_left_once_the_thread_that_ran_the_fence_has_exited() {
        let mut quiet = after(|_| ());
        assert!(!quiet.is_quiet(0) && quiet.needs_fence(), "there is no fence");
        let epoch = quiet.post().unwrap();
        assert!(!quiet.is_quiet(0) && quiet.is_fence_pending(), "it is queued");
        quiet.on_fence(epoch, 7);
        quiet.on_thread_exit(6);
        assert!(!quiet.is_quiet(0) && quiet.is_fence_pending(), "closures may be queued after it");
        quiet.on_thread_exit(7);
        assert!(quiet.is_quiet(0) && !quiet.is_fence_pending());
        assert!(!quiet.finish(1), "a task can start anything");
        assert!(quiet.finish(0) && !quiet.finish(0), "it is finished once");
    }

    #[test]
    fn a_fence_vouches_for_no_activity_that_ended_after_it() {
        let quiet = after(|quiet| {
            let epoch = quiet.post().unwrap();
            quiet.on_fence(epoch, 7);
            quiet.begin();
            quiet.end();
            quiet.on_thread_exit(7);
        });
        assert!(!quiet.is_quiet(0) && quiet.needs_fence());
    }

    #[test]
    fn a_late_fence_is_not_taken_for_the_one_of_a_later_epoch() {
        let quiet = after(|quiet| {
            let early = quiet.post().unwrap();
            quiet.begin();
            quiet.end();
            let late = quiet.post().unwrap();
            quiet.on_fence(early, 7);
            quiet.on_thread_exit(7);
            assert!(!quiet.is_quiet(0) && early != late);
            quiet.on_fence(late, 8);
            quiet.on_thread_exit(8);
        });
        assert!(quiet.is_quiet(0));
    }

    #[test]
    fn no_fence_is_posted_and_nothing_is_quiet_while_an_activity_goes_on() {
        let mut quiet = after(|quiet| {
            let epoch = quiet.post().unwrap();
            quiet.on_fence(epoch, 7);
            quiet.begin();
            quiet.on_thread_exit(7);
        });
        assert!(!quiet.is_quiet(0) && !quiet.needs_fence() && quiet.post().is_none());
        quiet.begin();
        quiet.end();
        assert!(!quiet.needs_fence(), "the other activity goes on");
        quiet.end();
        assert!(quiet.needs_fence());
    }

    #[test]
    fn a_fence_that_was_refused_is_posted_again_and_may_run_twice() {
        let quiet = after(|quiet| {
            let epoch = quiet.post().unwrap();
            assert!(quiet.refused(epoch));
            assert_eq!(quiet.post(), Some(epoch));
            quiet.on_fence(epoch, 7);
            quiet.on_fence(epoch, 7);
            assert!(!quiet.refused(epoch), "it has run");
            quiet.on_thread_exit(7);
        });
        assert!(quiet.is_quiet(0));
    }
}
