//! The user interface's caches, in thread-local storage: each belongs to the thread that draws, and
//! what is left in them when that thread ends is dropped by the destructors of its locals, where
//! entering a runtime can abort (experiment 07).

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    mem,
};

use super::held::Held;
use crate::client::Room;

thread_local! {
    static USERS: RefCell<BTreeSet<String>> = RefCell::default();
    static ROOMS: RefCell<BTreeMap<String, Held<Room>>> = RefCell::default();
}

/// Remembers a user, on this thread.
pub(super) fn add_user(user: String) {
    USERS.with_borrow_mut(|users| users.insert(user));
}

/// Remembers a room, on this thread. Another handle of the same one is dropped, not in the cache.
pub(super) fn add_room(room: Held<Room>) {
    let before = ROOMS.with_borrow_mut(|rooms| rooms.insert(room.id().to_owned(), room));
    drop(before);
}

/// How many users and rooms this thread remembers.
pub(super) fn sizes() -> (usize, usize) {
    (USERS.with_borrow(BTreeSet::len), ROOMS.with_borrow(BTreeMap::len))
}

/// Forgets everything, on this thread.
pub(super) fn clear() {
    USERS.take();
    // Dropped when the cache is free again: their destructors may be long.
    drop(ROOMS.with_borrow_mut(mem::take));
}
