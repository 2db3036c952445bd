//! The promises of the store, on real database files and with either generation of the pool.

use std::{error::Error, fs, path::Path};

use mock_sdk::store::{
    Batch, Connections, Event, Generation, Room, Session, Store, StoreError, residue,
};
use sundown::evidence::open_files;
use tokio::runtime::{Builder, Runtime};

type TestResult = Result<(), Box<dyn Error>>;

/// Runs a test with a runtime and an empty directory of its own, once for each generation.
fn with_each_generation(test: impl Fn(Runtime, &Path, Generation) -> TestResult) -> TestResult {
    for generation in Generation::ALL {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
        let directory = tempfile::tempdir()?;
        test(runtime, directory.path(), generation)
            .map_err(|error| format!("{generation}: {error}"))?;
    }
    Ok(())
}

/// Drops a store where its connections can be closed, and waits until they are.
fn close(runtime: Runtime, store: Store) {
    let context = runtime.enter();
    drop(store);
    drop(context);
    drop(runtime);
}

fn room(id: &str) -> Room {
    Room { id: id.to_owned(), name: format!("The room {id}") }
}

#[test]
fn what_was_written_survives_reopening() -> TestResult {
    with_each_generation(|runtime, directory, generation| {
        let session = Session {
            user: "@me:example.org".to_owned(),
            device: "DEVICE".to_owned(),
            access_token: "secret".to_owned(),
        };
        let reopened = runtime.block_on(async {
            let store = Store::open(directory, generation, 2).await?;
            assert_eq!(store.session().await?, None);
            store.save_session(session.clone()).await?;
            for id in ["!b", "!a"] {
                store.save_room(room(id)).await?;
            }
            assert_eq!(store.append_event("!a", "hello").await?, 1);
            assert_eq!(store.append_event("!b", "world").await?, 2);
            // Renaming a room keeps its events.
            store.save_room(Room { id: "!a".to_owned(), name: "Renamed".to_owned() }).await?;
            drop(store);
            Store::open(directory, generation, 3).await
        })?;
        runtime.block_on(async {
            assert_eq!(reopened.session().await?, Some(session));
            let rooms = reopened.rooms().await?;
            assert_eq!(rooms, [Room { id: "!a".into(), name: "Renamed".into() }, room("!b")]);
            assert_eq!(reopened.event_count().await?, 2);
            Ok::<_, StoreError>(())
        })?;
        close(runtime, reopened);
        Ok(())
    })
}

#[test]
fn warming_up_leaves_exactly_as_many_idle_connections_as_asked() -> TestResult {
    with_each_generation(|runtime, directory, generation| {
        let store = runtime.block_on(Store::open(directory, generation, 5))?;
        assert_eq!(store.connections(), Connections { open: 5, idle: 5 });
        let databases = open_files(store.database())?;
        assert_eq!(databases.len(), 5, "{databases:?}");
        let logs = open_files(&directory.join("store.sqlite3-wal"))?;
        assert_eq!(logs.len(), 5, "every connection has the log open: {logs:?}");
        close(runtime, store);
        Ok(())
    })
}

#[test]
fn the_last_connection_to_close_removes_the_log() -> TestResult {
    with_each_generation(|runtime, directory, generation| {
        let store = runtime.block_on(Store::open(directory, generation, 1))?;
        runtime.block_on(store.save_room(room("!a")))?;
        let database = store.database().to_owned();
        assert!(residue(&database)?.wal_bytes.is_some_and(|bytes| bytes > 0));
        assert!(residue(&database)?.shm_bytes.is_some());
        close(runtime, store);
        assert!(residue(&database)?.is_none());
        assert!(open_files(directory)?.is_empty());
        Ok(())
    })
}

#[test]
fn work_that_panics_is_an_error_and_its_connection_is_not_used_again() -> TestResult {
    with_each_generation(|runtime, directory, generation| {
        let store = runtime.block_on(Store::open(directory, generation, 1))?;
        let mark = |mark: &'static str| {
            store.interact("mark a connection to", move |connection| {
                connection.pragma_update(None, "cache_size", mark)
            })
        };
        let size = || {
            store.interact("read a mark from", |connection| {
                connection.pragma_query_value(None, "cache_size", |row| row.get::<_, i64>(0))
            })
        };
        runtime.block_on(async {
            mark("4321").await?;
            assert_eq!(size().await?, 4321, "an unharmed connection is used again");
            let panicked = store.interact("panic in", |_| -> rusqlite::Result<()> {
                std::panic::resume_unwind(Box::new("on purpose"))
            });
            assert!(matches!(panicked.await, Err(StoreError::Panicked { .. })));
            assert_ne!(size().await?, 4321, "a harmed one is replaced");
            Ok::<_, StoreError>(())
        })?;
        assert_eq!(store.connections(), Connections { open: 1, idle: 1 });
        close(runtime, store);
        Ok(())
    })
}

#[test]
fn a_closed_store_says_so_and_holds_nothing() -> TestResult {
    with_each_generation(|runtime, directory, generation| {
        let store = runtime.block_on(Store::open(directory, generation, 3))?;
        let clone = store.clone();
        runtime.block_on(async { store.close() });
        runtime.block_on(async { clone.close() });
        let refused = runtime.block_on(clone.rooms());
        assert!(matches!(&refused, Err(StoreError::Closed { .. })), "{refused:?}");
        assert_eq!(clone.connections().open, 0);
        drop(runtime);
        assert!(open_files(directory)?.is_empty());
        // Nothing is idle any more, so that nothing needs a context.
        drop((store, clone));
        Ok(())
    })
}

/// Closed side by side, so many connections leave a log behind most of the time.
#[test]
fn a_closed_store_that_was_waited_for_leaves_nothing_open_and_no_log() -> TestResult {
    with_each_generation(|runtime, directory, generation| {
        runtime.block_on(async {
            for round in 0..3 {
                let store = Store::open(directory, generation, 64).await?;
                for number in 0..20 {
                    store.save_room(room(&format!("{round} {number}"))).await?;
                }
                assert_eq!(open_files(store.database())?.len(), 64);
                store.close_and_wait().await;
                assert!(open_files(directory)?.is_empty());
                assert!(residue(store.database())?.is_none(), "in round {round}");
                store.close_and_wait().await;
                store.closed().await;
            }
            Ok(())
        })
    })
}

#[test]
fn what_a_sync_brings_is_written_whole_or_not_at_all() -> TestResult {
    with_each_generation(|runtime, directory, generation| {
        let store = runtime.block_on(Store::open(directory, generation, 2))?;
        let event = |id: &str, room: &str| Event {
            id: id.to_owned(),
            room: room.to_owned(),
            body: "hello".to_owned(),
        };
        let batch = |position: &str, rooms: Vec<Room>, events: Vec<Event>| Batch {
            position: position.to_owned(),
            rooms,
            events,
        };
        runtime.block_on(async {
            assert_eq!(store.position().await?, None);
            store.apply(batch("1", vec![room("!a")], vec![event("$1", "!a")])).await?;
            let half_wrong = vec![event("$2", "!a"), event("$3", "!nowhere")];
            let refused = store.apply(batch("2", vec![room("!b")], half_wrong)).await;
            assert!(matches!(refused, Err(StoreError::Database { .. })), "{refused:?}");
            assert_eq!(store.position().await?.as_deref(), Some("1"));
            assert_eq!((store.rooms().await?.len(), store.event_count().await?), (1, 1));
            // Brought again, an event is there once.
            store.apply(batch("2", vec![], vec![event("$1", "!a"), event("$2", "!a")])).await?;
            assert_eq!(store.newest_events("!a", 1).await?, [event("$2", "!a")]);
            assert_eq!(store.newest_events("!a", 9).await?.len(), 2);
            store.forget_position().await?;
            assert_eq!(store.position().await?, None);
            Ok::<_, Box<dyn Error>>(())
        })?;
        close(runtime, store);
        Ok(())
    })
}

#[test]
fn a_statement_that_fails_names_what_was_asked_and_of_which_file() -> TestResult {
    with_each_generation(|runtime, directory, generation| {
        let store = runtime.block_on(Store::open(directory, generation, 1))?;
        let refused = runtime.block_on(store.append_event("!nowhere", "hello"));
        let message = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("append an event to"), "{message}");
        assert!(message.contains("store.sqlite3"), "{message}");
        assert!(message.contains("FOREIGN KEY"), "{message}");
        close(runtime, store);
        Ok(())
    })
}

#[test]
fn opening_where_a_file_is_names_the_file() -> TestResult {
    with_each_generation(|runtime, directory, generation| {
        let file = directory.join("file");
        fs::write(&file, "not a directory")?;
        let refused = runtime.block_on(Store::open(&file, generation, 1));
        assert!(matches!(&refused, Err(StoreError::Directory { .. })), "{refused:?}");
        let message = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains(&file.display().to_string()), "{message}");
        Ok(())
    })
}

#[test]
fn opening_what_is_no_database_says_so_and_leaves_it_alone() -> TestResult {
    with_each_generation(|runtime, directory, generation| {
        let database = directory.join("store.sqlite3");
        let text = "this is a text, and far from being a database".repeat(100);
        fs::write(&database, &text)?;
        let refused = runtime.block_on(Store::open(directory, generation, 1));
        assert!(matches!(&refused, Err(StoreError::Database { .. })), "{refused:?}");
        assert_eq!(fs::read_to_string(&database)?, text);
        Ok(())
    })
}

#[test]
fn opening_a_database_of_a_newer_version_is_refused() -> TestResult {
    with_each_generation(|runtime, directory, generation| {
        let store = runtime.block_on(Store::open(directory, generation, 1))?;
        runtime.block_on(
            store.interact("date", |connection| connection.pragma_update(None, "user_version", 99)),
        )?;
        runtime.block_on(async { drop(store) });
        let refused = runtime.block_on(Store::open(directory, generation, 1));
        assert!(matches!(&refused, Err(StoreError::Newer { found: 99, .. })), "{refused:?}");
        Ok(())
    })
}

#[test]
fn a_database_of_an_older_version_is_brought_up_to_date_with_all_that_is_in_it() -> TestResult {
    with_each_generation(|runtime, directory, generation| {
        let store = runtime.block_on(Store::open(directory, generation, 1))?;
        runtime.block_on(async {
            store.save_room(room("!a")).await?;
            store.append_event("!a", "hello").await?;
            // Back to how the second step of the schema left it.
            let undo = store.interact("take the last step back in", |connection| {
                connection.execute_batch(
                    "DROP TABLE outbox; DROP TABLE sync; DROP INDEX events_by_id;
                     ALTER TABLE events DROP COLUMN id; PRAGMA user_version = 2;",
                )
            });
            undo.await?;
            store.close_and_wait().await;
            let store = Store::open(directory, generation, 2).await?;
            assert_eq!(store.newest_events("!a", 9).await?.len(), 1);
            assert_eq!(store.enqueue("!a", "to be sent").await?, 1);
            assert_eq!(store.position().await?, None);
            store.close_and_wait().await;
            Ok(())
        })
    })
}

#[test]
fn a_store_without_connections_is_refused() -> TestResult {
    with_each_generation(|runtime, directory, generation| {
        let refused = runtime.block_on(Store::open(directory, generation, 0));
        assert!(matches!(&refused, Err(StoreError::NoConnections { .. })), "{refused:?}");
        Ok(())
    })
}

#[test]
fn many_writers_share_few_connections() -> TestResult {
    with_each_generation(|runtime, directory, generation| {
        let store = runtime.block_on(Store::open(directory, generation, 3))?;
        runtime.block_on(async {
            store.save_room(room("!a")).await?;
            let writers: Vec<_> = (0..30)
                .map(|number| {
                    let store = store.clone();
                    tokio::spawn(async move { store.append_event("!a", number.to_string()).await })
                })
                .collect();
            for writer in writers {
                writer.await??;
            }
            assert_eq!(store.event_count().await?, 30);
            Ok::<_, Box<dyn Error>>(())
        })?;
        assert_eq!(store.connections(), Connections { open: 3, idle: 3 });
        close(runtime, store);
        Ok(())
    })
}
