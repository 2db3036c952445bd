//! Detects quiescence: all work that destructors started has ended.
//!
//! Tokio reports how many tasks are alive. It does not report (without `tokio_unstable`) whether a
//! blocking closure is queued or running. Closures may queue more closures, so waiting for the known
//! ones is not enough. These steps are exact:
//!
//! 1. Post a marker: a closure that does nothing. It runs after everything that was queued before it.
//! 2. The driver polls no task from before step 1 until the check in step 4.
//! 3. The blocking thread that ran the marker has exited; it exits only with an empty queue. So
//!    everything that was queued before the marker has run, and everything that this queued, and so on.
//! 4. No task is alive. A task that was alive before the marker, or that a closure spawned, would still
//!    be alive, because no task has been polled.
//!
//! Then nothing is left that could start anything. If a task is alive, the driver drives until none is,
//! and posts a new marker.
//!
//! Counting thread starts would not replace the marker: a thread that has just been started has not
//! counted itself yet.

/// The state of the blocking thread, of the markers, and of the driver.
#[derive(Default)]
pub(super) struct Quiescence {
    /// A value has been queued since quiescence was last confirmed.
    busy: bool,
    /// The driver may be polling tasks.
    driving: bool,
    /// How many blocking threads have started and how many have exited, as they report it. At most one
    /// runs at a time.
    threads_started: u64,
    threads_exited: u64,
    markers_posted: u64,
    markers_run: u64,
    /// The number of the blocking thread that ran the last marker.
    last_marker_ran_on: u64,
    /// No task has been polled since before the last marker was posted.
    no_poll_since_marker: bool,
}

impl Quiescence {
    /// Records that a value is queued.
    pub(super) const fn mark_busy(&mut self) {
        self.busy = true;
    }

    /// Records that a blocking thread has started.
    pub(super) const fn on_thread_start(&mut self) {
        self.threads_started += 1;
    }

    /// Records that a blocking thread exits, because its queue is empty.
    pub(super) const fn on_thread_exit(&mut self) {
        self.threads_exited += 1;
    }

    /// Records that the driver begins to poll tasks, or has stopped polling them.
    pub(super) const fn set_driving(&mut self, driving: bool) {
        self.driving = driving;
        self.no_poll_since_marker = false;
    }

    /// Counts a marker that the caller is about to post. Returns `false` while the driver is driving:
    /// then a marker would prove nothing, and the driver posts one when it stops.
    pub(super) const fn try_post_marker(&mut self) -> bool {
        if self.driving {
            return false;
        }
        self.markers_posted += 1;
        self.no_poll_since_marker = true;
        true
    }

    /// Records that a marker runs, on the only blocking thread that exists.
    pub(super) const fn on_marker_run(&mut self) {
        self.markers_run += 1;
        self.last_marker_ran_on = self.threads_started;
    }

    /// Whether everything that was queued before the last marker has run, with everything that it
    /// queued. Later closures may still be queued.
    pub(super) const fn queue_drained(&self) -> bool {
        self.markers_run == self.markers_posted && self.threads_exited >= self.last_marker_ran_on
    }

    /// Whether no work is left, provided that no value is being dropped. See the head of this file.
    pub(super) const fn check_quiescent(&self, tasks: usize) -> bool {
        !self.driving && self.no_poll_since_marker && self.queue_drained() && tasks == 0
    }

    /// Records that no work is left.
    pub(super) const fn mark_quiescent(&mut self) {
        self.busy = false;
    }

    /// Whether no work is left, and no value has been queued since.
    pub(super) const fn is_quiescent(&self) -> bool {
        !self.busy
    }

    /// Whether a blocking thread is running, or a marker is queued.
    pub(super) const fn has_blocking_work(&self) -> bool {
        self.threads_started > self.threads_exited || self.markers_posted > self.markers_run
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// The state after a value was queued and dropped, and these events followed.
    fn after(events: impl FnOnce(&mut Quiescence)) -> Quiescence {
        let mut quiescence = Quiescence::default();
        quiescence.mark_busy();
        events(&mut quiescence);
        quiescence
    }

    #[test]
    fn nothing_is_left_once_the_thread_that_ran_the_marker_has_exited() {
        let mut quiescence = Quiescence::default();
        assert!(quiescence.is_quiescent() && !quiescence.has_blocking_work());
        quiescence.mark_busy();
        assert!(!quiescence.is_quiescent() && !quiescence.check_quiescent(0), "there is no marker");
        assert!(quiescence.try_post_marker());
        assert!(
            quiescence.has_blocking_work() && !quiescence.check_quiescent(0),
            "the marker is queued"
        );
        quiescence.on_thread_start();
        quiescence.on_marker_run();
        assert!(
            quiescence.has_blocking_work() && !quiescence.check_quiescent(0),
            "closures may be queued after it"
        );
        quiescence.on_thread_exit();
        assert!(quiescence.check_quiescent(0) && !quiescence.has_blocking_work());
        assert!(!quiescence.check_quiescent(1), "a task can start anything");
        assert!(!quiescence.is_quiescent());
        quiescence.mark_quiescent();
        assert!(quiescence.is_quiescent());
    }

    #[test]
    fn a_marker_proves_nothing_about_tasks_that_were_polled_after_it() {
        let quiescence = after(|quiescence| {
            quiescence.try_post_marker();
            quiescence.on_thread_start();
            quiescence.set_driving(true);
            quiescence.on_marker_run();
            quiescence.set_driving(false);
            quiescence.on_thread_exit();
        });
        assert!(quiescence.queue_drained() && !quiescence.check_quiescent(0));
    }

    #[test]
    fn no_marker_is_posted_while_the_driver_drives_and_a_new_one_is_needed_after_that() {
        let mut quiescence = after(|quiescence| {
            assert!(quiescence.try_post_marker());
            quiescence.on_thread_start();
            quiescence.on_marker_run();
            quiescence.on_thread_exit();
            quiescence.set_driving(true);
        });
        assert!(!quiescence.try_post_marker() && !quiescence.check_quiescent(0));
        quiescence.set_driving(false);
        assert!(!quiescence.check_quiescent(0));
        assert!(quiescence.try_post_marker());
        quiescence.on_thread_start();
        quiescence.on_marker_run();
        quiescence.on_thread_exit();
        assert!(quiescence.check_quiescent(0));
    }

    #[test]
    fn every_marker_must_run_and_the_last_thread_must_exit() {
        let mut quiescence = after(|quiescence| {
            quiescence.try_post_marker();
            quiescence.try_post_marker();
            quiescence.on_thread_start();
            quiescence.on_marker_run();
            quiescence.on_thread_exit();
        });
        assert!(
            quiescence.has_blocking_work() && !quiescence.queue_drained(),
            "the second marker is queued"
        );
        quiescence.on_thread_start();
        quiescence.on_marker_run();
        assert!(!quiescence.queue_drained(), "only the first of two threads has exited");
        quiescence.on_thread_exit();
        assert!(quiescence.queue_drained() && !quiescence.has_blocking_work());
    }
}
