//! Caches, databases, and what keeps files.

use std::{mem, path::PathBuf, time::Duration};

use fred::prelude::{Builder, ClientLike as _, Config};
use opendal::blocking;
use rocket_sync_db_pools::{database, postgres};
use tokio::{runtime::Runtime, task::spawn_blocking};
use trials::Case;

use crate::{
    Row, folder,
    servers::{self, serve},
};

pub fn cases() -> Vec<Case> {
    [moka(), stretto(), foyer(), fred(), opendal(), rocket(), archives()]
        .into_iter()
        .flatten()
        .collect()
}

fn moka() -> Vec<Case> {
    type Cache = moka::future::Cache<u8, Row>;
    vec![
        Case::of("moka", || async { Cache::new(8) }).when("unused"),
        Case::of("moka", || async {
            let cache = Cache::new(8);
            cache.insert(1, vec![1]).await;
            cache
        })
        .when("with a row"),
        Case::of("moka", || async {
            let evicted = |_, _, _| Box::pin(async {}) as moka::notification::ListenerFuture;
            let cache = Cache::builder()
                .time_to_live(Duration::from_secs(9))
                .async_eviction_listener(evicted)
                .build();
            cache.insert(1, vec![1]).await;
            cache
        })
        .when("tells of evictions"),
    ]
}

type Stretto = stretto::AsyncCache<u64, Row, agnostic_lite::tokio::TokioRuntime>;

fn stretto() -> Vec<Case> {
    let cache = || -> Stretto {
        stretto::AsyncCacheBuilder::<u64, Row>::new(100, 10).build().expect("a cache")
    };
    vec![
        Case::of("stretto", move || async move { cache() }).when("unused"),
        Case::of("stretto", move || async move {
            let cache = cache();
            cache.insert(1, vec![1], 1).await;
            cache.wait().await.expect("inserted");
            cache
        })
        .when("with a row"),
    ]
}

type Foyer = foyer::HybridCache<u64, Row>;

/// With a row, in memory and, if there is a folder, to be written into it. Tasks are spawned with the spawner.
async fn hybrid(folder: Option<PathBuf>, spawner: foyer::Spawner) -> Foyer {
    let mut builder = foyer::HybridCacheBuilder::new().memory(1 << 20).storage();
    if let Some(folder) = folder {
        use foyer::DeviceBuilder as _;
        let device = foyer::FsDeviceBuilder::new(folder).with_capacity(1 << 24).build();
        let engine = foyer::BlockEngineConfig::new(device.expect("a device"))
            .with_block_size(1 << 20)
            .with_buffer_pool_size(1 << 20);
        builder = builder.with_engine_config(engine);
    }
    let cache = builder.with_spawner(spawner).build().await.expect("a cache");
    cache.insert(1, vec![1]);
    cache
}

fn foyer() -> Vec<Case> {
    vec![
        Case::of("foyer", || async { hybrid(None, foyer::Spawner::current()).await })
            .when("in memory only"),
        Case::of("foyer", move || async move {
            hybrid(Some(folder()), foyer::Spawner::current()).await
        })
        .when("with a folder"),
        Case::of("foyer", move || async move {
            let runtime = Runtime::new().expect("a runtime");
            hybrid(Some(folder()), runtime.into()).await
        })
        .when("with a runtime of its own"),
        Case::of("foyer", || async {
            let cache = hybrid(None, foyer::Spawner::current()).await;
            cache.close().await.expect("closed");
            cache
        })
        .when("closed"),
        Case::of("foyer", || async {
            let cache: foyer::Cache<u64, Row> = foyer::CacheBuilder::new(8).build();
            cache.insert(1, vec![1]);
            cache
        }),
    ]
}

fn redis() -> Builder {
    let address = serve(servers::redis);
    let config = Config::from_url(&format!("redis://{address}")).expect("an address");
    Builder::from_config(config)
}

fn fred() -> Vec<Case> {
    let dynamic = || {
        redis()
            .with_pool_config(|config| {
                config.min_clients = 1;
                config.max_clients = 2;
            })
            .build_dynamic_pool()
            .expect("a pool")
    };
    vec![
        Case::of("fred", || async { redis().build().expect("a client") }).when("unused"),
        Case::of("fred", || async {
            let client = redis().build().expect("a client");
            client.init().await.expect("a connection");
            client
        })
        .when("connected"),
        Case::of("fred", || async {
            let client = redis().build().expect("a client");
            client.init().await.expect("a connection");
            client.quit().await.expect("an end");
            client
        })
        .when("ended"),
        Case::of("fred", || async { redis().build_pool(2).expect("a pool") }).when("unused"),
        Case::of("fred", || async {
            let pool = redis().build_pool(2).expect("a pool");
            pool.init().await.expect("connections");
            pool
        })
        .when("connected"),
        Case::of("fred", move || async move { dynamic() }).when("unused"),
        Case::of("fred", move || async move {
            let pool = dynamic();
            pool.init().await.expect("connections");
            pool
        })
        .when("connected"),
        Case::of("fred", move || async move {
            let pool = dynamic();
            pool.init().await.expect("connections");
            pool.start_scale_task(Duration::from_secs(9));
            pool
        })
        .when("with a task"),
        Case::of("fred", || async {
            let client = redis().build_subscriber_client().expect("a client");
            client.init().await.expect("a connection");
            client.manage_subscriptions();
            client
        }),
    ]
}

/// A store in memory that has a row.
async fn store() -> opendal::Operator {
    let store = opendal::Operator::new(opendal::services::Memory::default()).expect("a store");
    store.write("a", vec![1; 9]).await.expect("written");
    store
}

/// What `make` makes of a store, on a thread that may block.
async fn blocking<T: Send + 'static>(make: fn(&blocking::Operator) -> T) -> T {
    let store = blocking::Operator::new(store().await).expect("a context");
    spawn_blocking(move || make(&store)).await.expect("a thread")
}

fn opendal() -> Vec<Case> {
    vec![
        Case::of("opendal", store),
        Case::of("opendal", || async {
            let mut writer = store().await.writer("b").await.expect("a writer");
            writer.write(vec![1]).await.expect("written");
            writer
        }),
        Case::of("opendal", || blocking(Clone::clone)),
        Case::of("opendal", || blocking(|store| store.writer("b").expect("a writer")))
            .when("unused"),
        Case::of("opendal", || {
            blocking(|store| {
                let mut writer = store.writer("b").expect("a writer");
                writer.write(vec![1]).expect("written");
                writer
            })
        })
        .when("with a row"),
        Case::of("opendal", || {
            blocking(|store| {
                let mut writer = store.writer("b").expect("a writer");
                writer.write(vec![1]).expect("written");
                writer.close().expect("closed");
                writer
            })
        })
        .when("closed"),
        Case::of("opendal", || {
            blocking(|store| store.writer("b").expect("a writer").into_std_write())
        }),
        Case::of("opendal", || blocking(|store| store.reader("a").expect("a reader")))
            .when("unused"),
        Case::of("opendal", || {
            blocking(|store| {
                let reader = store.reader("a").expect("a reader");
                reader.read(0..1).expect("a row");
                reader
            })
        })
        .when("used"),
        Case::of("opendal", || {
            blocking(|store| store.reader("a").expect("a reader").into_iterator(..).expect("rows"))
        })
        .when("unused"),
        Case::of("opendal", || {
            blocking(|store| {
                let mut rows =
                    store.reader("a").expect("a reader").into_iterator(..).expect("rows");
                while rows.next().is_some() {}
                rows
            })
        })
        .when("used up"),
        Case::of("opendal", || blocking(|store| store.lister("").expect("a list"))).when("unused"),
        Case::of("opendal", || {
            blocking(|store| {
                let mut list = store.lister("").expect("a list");
                while list.next().is_some() {}
                list
            })
        })
        .when("used up"),
    ]
}

#[database("rows")]
struct Rows(postgres::Client);

/// A server that does not listen, and has a pool.
async fn with_pool() -> rocket::Rocket<rocket::Ignite> {
    let url = format!("postgres://a@{}", serve(servers::postgres));
    let config = rocket::Config::figment()
        .merge(("log_level", "off"))
        .merge(("databases.rows.url", url))
        .merge(("databases.rows.pool_size", 1));
    rocket::custom(config).attach(Rows::fairing()).ignite().await.expect("a pool")
}

fn rocket() -> Vec<Case> {
    vec![
        Case::of("rocket", || async {
            let config = rocket::Config::figment().merge(("log_level", "off"));
            rocket::custom(config).ignite().await.expect("a server")
        })
        .when("without a pool"),
        Case::of("rocket", with_pool).when("with a pool"),
        Case::of("rocket_sync_db_pools", || async {
            Rows::get_one(&with_pool().await).await.expect("a connection")
        })
        .when("after its pool"),
        Case::of("rocket_sync_db_pools", || async {
            let rocket = with_pool().await;
            let rows = Rows::get_one(&rocket).await.expect("a connection");
            mem::forget(rocket);
            rows
        })
        .when("before its pool"),
        Case::of("rocket_sync_db_pools", || async {
            let rocket = with_pool().await;
            let rows = Rows::get_one(&rocket).await.expect("a connection");
            mem::forget(rocket);
            rows.run(|client| client.simple_query("").map(drop)).await.expect("an answer");
            rows
        })
        .when("used"),
    ]
}

fn archives() -> Vec<Case> {
    let archive = || tokio_tar::Builder::new(Row::new());
    vec![
        Case::of("tokio-tar", move || async move { archive() }).when("unused"),
        Case::of("tokio-tar", move || async move {
            let mut archive = archive();
            let mut header = tokio_tar::Header::new_gnu();
            header.set_size(1);
            archive.append_data(&mut header, "a", &[1_u8][..]).await.expect("appended");
            archive
        })
        .when("with a file"),
        Case::of("tokio-tar", move || async move {
            let mut archive = archive();
            archive.finish().await.expect("finished");
            archive
        })
        .when("finished"),
        Case::of("async-tempfile", || async {
            async_tempfile::TempFile::new().await.expect("a file")
        })
        .when("unused"),
        Case::of("async-tempfile", || async {
            let mut file = async_tempfile::TempFile::new().await.expect("a file");
            tokio::io::AsyncWriteExt::write_all(&mut file, b"a row").await.expect("written");
            file
        })
        .when("with a row"),
        Case::of("async-tempfile", || async {
            async_tempfile::TempDir::new().await.expect("a folder")
        }),
    ]
}
