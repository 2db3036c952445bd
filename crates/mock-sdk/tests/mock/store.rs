//! The store, with either generation of the pool.

use mock_sdk::store::{
    Connections, Generation, Room, Store, StoreError, StoreErrorKind, residue, rusqlite,
};
use sundown::evidence::open_files;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::setting::runtime;

/// Runs a test once for each generation, with a store of this many connections.
fn with_each_generation(connections: usize, test: impl Fn(Runtime, TempDir, Store)) {
    for generation in Generation::ALL {
        let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
        let store = runtime.block_on(Store::open(directory.path(), generation, connections));
        test(runtime, directory, store.unwrap());
    }
}

fn room(id: &str) -> Room {
    Room { id: id.to_owned(), name: format!("The room {id}") }
}

#[test]
fn a_warm_pool_has_exactly_as_many_idle_connections_as_asked_for() {
    with_each_generation(5, |runtime, directory, store| {
        assert_eq!(store.connections(), Connections { open: 5, idle: 5 });
        assert_eq!(open_files(store.database()).unwrap().len(), 5);
        let logs = open_files(&directory.path().join("store.sqlite3-wal")).unwrap();
        assert_eq!(logs.len(), 5, "every connection has the log open");
        runtime.block_on(async { drop(store) });
    });
}

#[test]
fn the_last_connection_to_close_removes_the_log_and_every_row_is_there() {
    with_each_generation(1, |runtime, directory, store| {
        runtime.block_on(async {
            store.save_room(room("!a")).await.unwrap();
            store.append_event("!a", "hello").await.unwrap();
            // Renaming a room keeps its events.
            store.save_room(room("!a")).await.unwrap();
        });
        let left = residue(store.database()).unwrap();
        assert!(left.wal_bytes.is_some_and(|bytes| bytes > 0) && left.shm_bytes.is_some());
        let database = store.database().to_owned();
        runtime.block_on(async { drop(store) });
        drop(runtime);
        assert!(residue(&database).unwrap().is_none());
        assert!(open_files(directory.path()).unwrap().is_empty());
        let again = rusqlite::Connection::open(&database).unwrap();
        let rows = again.query_row("SELECT count(*) FROM events", [], |row| row.get(0));
        assert_eq!(rows, Ok(1));
    });
}

#[test]
fn a_closed_store_says_so_and_holds_nothing() {
    with_each_generation(3, |runtime, directory, store| {
        let clone = store.clone();
        runtime.block_on(async { store.close() });
        runtime.block_on(async { clone.close() });
        let refused = runtime.block_on(clone.rooms());
        assert!(matches!(refused, Err(StoreError { kind: StoreErrorKind::Closed, .. })));
        drop(runtime);
        assert!(open_files(directory.path()).unwrap().is_empty());
        // No connection is idle any more, and so this needs no context.
        drop((store, clone));
    });
}

#[test]
fn work_that_panics_is_an_error_and_its_connection_is_not_used_again() {
    with_each_generation(1, |runtime, _directory, store| {
        runtime.block_on(async {
            let mark = |connection: &mut rusqlite::Connection| {
                connection.pragma_update(None, "cache_size", "4321")
            };
            let is_marked = |connection: &mut rusqlite::Connection| {
                let size = connection.pragma_query_value(None, "cache_size", |row| row.get(0));
                size.map(|size: i64| size == 4321)
            };
            store.interact("mark", mark).await.unwrap();
            assert!(store.interact("look at", is_marked).await.unwrap(), "it is used again");
            let panics = |_: &mut rusqlite::Connection| std::panic::resume_unwind(Box::new(()));
            let panicked: Result<(), _> = store.interact("panic in", panics).await;
            assert!(matches!(panicked, Err(StoreError { kind: StoreErrorKind::Panicked, .. })));
            assert!(!store.interact("look at", is_marked).await.unwrap(), "it is replaced");
            drop(store);
        });
    });
}

#[test]
fn an_error_names_what_was_asked_and_the_file() {
    with_each_generation(1, |runtime, directory, store| {
        let refused = runtime.block_on(store.append_event("!nowhere", "hello"));
        let message = refused.unwrap_err().to_string();
        for part in ["append an event to", "store.sqlite3", "FOREIGN KEY"] {
            assert!(message.contains(part), "{message}");
        }
        let below_a_file = store.database().to_owned();
        let refused = runtime.block_on(Store::open(&below_a_file, Generation::Current, 1));
        let message = refused.unwrap_err().to_string();
        assert!(message.contains(&below_a_file.display().to_string()), "{message}");
        let none = runtime.block_on(Store::open(directory.path(), Generation::Current, 0));
        assert!(matches!(none.unwrap_err().kind, StoreErrorKind::NoConnections));
        runtime.block_on(async { drop(store) });
    });
}
