//! The watch server and its client, as experiment 54 uses them.

use futures::executor::block_on;
use mock_sdk::watch::{WatchClient, WatchServer};
use tokio::task::JoinSet;

use crate::setting::{runtime, soon};

#[test]
fn many_puts_at_once_and_three_watches_lose_nothing() {
    let server = WatchServer::start().unwrap();
    runtime().block_on(async {
        let client = WatchClient::connect(server.address()).await.unwrap();
        let mut watches = Vec::new();
        for _ in 0..3 {
            watches.push(client.watch("key").await.unwrap());
        }
        let mut puts = JoinSet::new();
        for number in 0..50 {
            let client = client.clone();
            puts.spawn(async move { client.put("key", &number.to_string()).await.unwrap() });
        }
        client.put("another key", "unseen").await.unwrap();
        let mut revisions = puts.join_all().await;
        revisions.sort_unstable();
        revisions.dedup();
        assert_eq!((revisions.len(), server.puts()), (50, 51));
        for mut watch in watches {
            let mut values = Vec::new();
            for _ in 0..50 {
                values.push(soon("a value", watch.next()).await.unwrap());
            }
            values.sort_by_key(|value| value.parse::<u32>().ok());
            assert!(values.into_iter().eq((0..50).map(|number: u32| number.to_string())));
        }
    });
    server.stop();
}

#[test]
fn when_the_clients_runtime_goes_its_watches_and_its_operations_end() {
    let server = WatchServer::start().unwrap();
    let runtime = runtime();
    let (client, mut watch) = runtime.block_on(async {
        let client = WatchClient::connect(server.address()).await.unwrap();
        let watch = client.watch("key").await.unwrap();
        (client, watch)
    });
    runtime.shutdown_background();
    assert_eq!(block_on(soon("the end of the watch", watch.next())), None);
    assert!(block_on(soon("an error", client.put("key", "value"))).is_err());
    server.stop();
}
