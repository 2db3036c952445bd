//! The supervisor of the closing service. It starts lanes, adds a second thread to one whose first does
//! not suffice, and ends lanes that nobody needs. It is the only thread that waits for a time.

use super::{schedule::Look, service::Service};
use crate::sync::Arc;

/// Runs until there is no lease.
pub(super) fn supervise(service: &Arc<Service>) {
    while let Some(Look { start, retired, lanes, again }) = service.look() {
        retired.iter().for_each(|lane| lane.end());
        (0..start).for_each(|_| service.start_lane());
        let limits = lanes.iter().map(|lane| lane.look_at(service)).chain([again]);
        service.wait_for_attention(limits.flatten().min());
    }
}
