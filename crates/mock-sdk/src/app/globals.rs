//! What the application keeps where everything can reach it. In the application of the write-up these
//! are statics; here they are fields, and an experiment about statics puts the app into one.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;

use super::{global::Global, held::Held, requests::Request};
use crate::{
    client::{Client, Timeline},
    sync::SyncService,
};

/// All global variables.
#[derive(Debug, Default)]
pub struct Globals {
    /// The client, while somebody is logged in.
    pub client: Global<Option<Held<Client>>>,
    /// Its sync service.
    pub sync_service: Global<Option<Held<SyncService>>>,
    /// The sender of requests to the worker. Taking it closes the channel, and the worker ends.
    pub request_sender: Global<Option<mpsc::UnboundedSender<Request>>>,
    /// Rooms that were replaced by others.
    pub tombstoned_rooms: Global<BTreeSet<String>>,
    /// Users whose messages are not shown.
    pub ignored_users: Global<BTreeSet<String>>,
    /// The timelines of all rooms that were opened, by room id: each holds the client.
    pub all_joined_rooms: Global<BTreeMap<String, Held<Timeline>>>,
}
