//! What keeps a client alive when the application has dropped its own handles, moment by moment: in
//! matrix-sdk 0.13, by its source and by experiment 72, and in the mock, by a test.
//!
//! An application cannot see most of these owners, and they decide on which thread the last one goes.
//!
//! The mock leaves out one owner of matrix-sdk 0.13 that holds a store without the client: a client whose
//! event cache has been subscribed to (a sync service does that) has a task,
//! `EventCache::auto_shrink_linked_chunk_task`, that waits on a channel whose sender it holds itself. It
//! keeps the connections of the event cache open until its runtime goes.

/// A moment in the life of a client that has logged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// It has logged in, and the server has not answered what it asks by itself after that.
    Initializing,
    /// It has initialized, and its send queue is there and has nothing to send.
    Idle,
    /// It sends a message, which the server has not answered yet.
    Sending,
    /// There is a sync service, which has not been started.
    SyncServiceHeld,
    /// A sync service runs.
    Syncing,
    /// A sync service was dropped while it ran.
    SyncServiceDropped,
    /// A sync service was stopped and dropped.
    SyncServiceStopped,
    /// There is a handle of a room.
    RoomHeld,
    /// There is a timeline.
    TimelineHeld,
    /// A timeline was dropped a moment ago.
    TimelineDropped,
}

/// What keeps the client alive at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The moment.
    pub moment: Moment,
    /// Whether the client is alive at that moment, although the application has dropped all its handles
    /// but the one that the moment names.
    pub keeps_client: bool,
    /// Who holds the client, or why nobody does.
    pub who: &'static str,
}

/// All moments, in the order of [`Moment`].
pub const OWNERS: [Owner; 10] = [
    owner(Moment::Initializing, true, "the task that initializes (`ClientTasks::setup_e2ee`)"),
    owner(Moment::Idle, false, "the send queue and the listeners for backups hold weak handles"),
    owner(Moment::Sending, true, "the send queue, until the server has answered"),
    owner(Moment::SyncServiceHeld, true, "the service"),
    owner(Moment::Syncing, true, "the service and its tasks"),
    owner(Moment::SyncServiceDropped, true, "the tasks, which nobody has told to stop"),
    owner(Moment::SyncServiceStopped, false, "the tasks have ended"),
    owner(Moment::RoomHeld, true, "the room"),
    owner(Moment::TimelineHeld, true, "the timeline and its tasks"),
    owner(Moment::TimelineDropped, false, "its tasks were told to end, and ended on their runtime"),
];

const fn owner(moment: Moment, keeps_client: bool, who: &'static str) -> Owner {
    Owner { moment, keeps_client, who }
}
