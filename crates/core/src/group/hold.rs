//! Membership of a group without a task.

use std::{borrow::Cow, fmt};

use crate::{
    group::TaskGroup,
    spawn::SpawnError,
    task_set::{Label, Place, SpawnedBy, Stop},
};

/// A member of a group that is not a task of it: a request that another library's task handles, a response
/// that is still being sent, or a local task, which is not `Send`. The group waits until this is dropped, and
/// names it if it is not.
///
/// The group cannot abort it. Whoever holds it should also listen to the group's
/// [stop signal](TaskGroup::stop_signal). If it is dropped only after the group was aborted, for example with the
/// runtime of the task that holds it, it counts as aborted, and is named.
///
/// ```
/// use std::time::Duration;
/// use sundown::group::TaskGroup;
///
/// # fn main() -> Result<(), sundown::SpawnError> {
/// let requests = TaskGroup::new("requests");
/// let request = requests.hold("GET /events")?;
/// let report = requests.drain_blocking(Duration::ZERO);
/// assert_eq!(report.still_running[0].name, "GET /events");
/// drop(request);
/// assert_eq!(requests.drain_blocking(Duration::ZERO).aborted, 1);
/// # Ok(()) }
/// ```
#[must_use = "the group waits for it until it is dropped"]
pub struct Held(Option<Place>);

impl TaskGroup {
    /// Adds a member that is not a task; see [`Held`].
    ///
    /// # Errors
    ///
    /// [`SpawnError::Stopped`], if the group is stopping.
    #[track_caller]
    pub fn hold(&self, name: impl Into<Cow<'static, str>>) -> Result<Held, SpawnError> {
        let place = Place::new(&self.tasks, Label::new(name), SpawnedBy::Outsider);
        place.map(|place| Held(Some(place))).map_err(|_| SpawnError::Stopped)
    }
}

impl Stop {
    /// Adds a member to the group, even while the group is draining; see [`Held`].
    ///
    /// # Errors
    ///
    /// [`SpawnError::Stopped`], if the group has ended.
    #[track_caller]
    pub fn hold(&self, name: impl Into<Cow<'static, str>>) -> Result<Held, SpawnError> {
        let place = Place::new(self.tasks(), Label::new(name), SpawnedBy::Member);
        place.map(|place| Held(Some(place))).map_err(|_| SpawnError::Stopped)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(place) = self.0.take() {
            place.let_go();
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}
