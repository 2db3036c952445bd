//! The supervisor of the closing service. It starts lanes, adds a second thread to one whose first does
//! not suffice, and ends lanes that nobody needs. It is the only thread that waits for a time.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::{
    batch::RETRY,
    lane::Lane,
    service::{Phase, Service, State},
};
use crate::{joinable::Joinable, sync::Arc};

/// How often to look at the lanes while a destructor runs or a batch waits.
pub(super) const TICK: Duration = Duration::from_millis(2);

/// How long one thread of a lane is given before it gets a second: a destructor may be waiting for a task
/// that it has started, and a task may block the thread that drives it.
const SECOND_AFTER: Duration = Duration::from_millis(2);

/// How many lanes are started at once when they are needed. For more, a batch must have waited.
const AT_ONCE: usize = 2;

/// How long batches wait for lanes that take none before there are more lanes.
const MORE_AFTER: Duration = Duration::from_millis(3);

/// How long a lane is kept that has nothing to do. The last one is kept as long as there is a lease.
const IDLE: Duration = Duration::from_millis(100);

/// Runs until there is no lease, and then until every lane has ended.
pub(super) fn supervise(service: &Arc<Service>) {
    let mut threads = Vec::new();
    loop {
        let mut state = service.lock();
        state.attention = false;
        if matches!(state.phase, Phase::Ending | Phase::Refused(..)) {
            break;
        }
        let lanes_to_start = lanes_to_start(&mut state);
        state.starting += lanes_to_start;
        let lanes = state.lanes.clone();
        let retired = retire(&mut state);
        let mut limits = vec![next_look(&state)];
        drop(state);
        retired.iter().for_each(|lane| lane.end());
        threads.extend((0..lanes_to_start).filter_map(|_| start(service)));
        limits.extend(lanes.iter().map(look_at));
        // Only those that are gone: what a destructor has left in a thread-local may block.
        Joinable::join_those_gone(&mut threads);
        service.wait_for_attention(limits.into_iter().flatten().min());
    }
    service.lock().end_idle_lanes();
    // Nobody needs this service any more, and whoever waits for its end has a limit.
    threads.into_iter().for_each(Joinable::join);
}

/// How many lanes are needed now.
fn lanes_to_start(state: &mut State) -> usize {
    let now = Instant::now();
    if state.retry_at.is_some_and(|at| now < at) {
        return 0;
    }
    let lanes = state.lanes.len() + state.starting;
    let needed = state.waiting.len().saturating_sub(state.starting);
    let Some(&(_, oldest)) = state.waiting.front() else {
        state.urgent = false;
        return usize::from(lanes == 0);
    };
    if lanes < AT_ONCE {
        return needed.min(AT_ONCE - lanes);
    }
    let urgent = usize::from(mem::take(&mut state.urgent));
    let waits_since = state.last_taken.map_or(oldest, |taken| taken.max(oldest));
    if now.duration_since(waits_since) < MORE_AFTER {
        return needed.min(urgent);
    }
    state.last_taken = Some(now);
    // Half as many again: a thousand that are stuck soon have lanes of their own.
    needed.min(lanes / 2)
}

/// Takes the lanes out that have been idle for long.
fn retire(state: &mut State) -> Vec<Arc<Lane>> {
    let spare = state.idle.len().saturating_sub(1);
    let is_over = |(_, since): &&(Arc<Lane>, Instant)| since.elapsed() >= IDLE;
    let count = state.idle.iter().take(spare).take_while(is_over).count();
    state.idle.drain(..count).map(|(lane, _)| lane).collect()
}

/// When to look again, apart from what the lanes do.
fn next_look(state: &State) -> Option<Duration> {
    let lanes = state.lanes.len() + state.starting;
    if !state.waiting.is_empty() || lanes == 0 {
        let retry = state.retry_at.map(|at| at.saturating_duration_since(Instant::now()));
        return Some(retry.map_or(TICK, |retry| retry.max(TICK)));
    }
    match &*state.idle {
        [(_, longest), _, ..] => Some(IDLE.saturating_sub(longest.elapsed())),
        _ => None,
    }
}

/// Adds a second thread to a lane whose first does not suffice, or returns when to look again.
fn look_at(lane: &Arc<Lane>) -> Option<Duration> {
    let batch = lane.batch()?;
    let since = batch.lock().one_thread_may_not_suffice()?;
    if lane.has_second() {
        return None;
    }
    match SECOND_AFTER.checked_sub(since.elapsed()) {
        Some(left) => Some(left),
        None if lane.add_second(&batch) => None,
        None => Some(RETRY),
    }
}

/// Starts a lane, which reports whether it could be opened.
fn start(service: &Arc<Service>) -> Option<Joinable> {
    let lane = Lane::new(Arc::clone(service));
    let started = Joinable::spawn("sundown-drop", move || lane.run());
    started.inspect_err(|refused| service.lane_refused(refused)).ok()
}
