//! Clients of databases and directories, without a pool of their own.

use std::{mem, thread};

use mongodb::bson::{Document, doc};
use tokio::task::spawn_blocking;
use trials::Case;

use crate::servers::{self, serve, serve_one};

pub fn cases() -> Vec<Case> {
    [
        postgres(),
        listener(),
        redis(),
        directories(),
        mongodb(),
        mongodb_blocking(),
        sqlite(),
        diesel(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn postgres_client(port: u16) -> ::postgres::Client {
    let url = format!("host=127.0.0.1 port={port} user=a");
    ::postgres::Client::connect(&url, ::postgres::NoTls).expect("a client")
}

type Driver = tokio_postgres::Connection<tokio_postgres::Socket, tokio_postgres::tls::NoTlsStream>;

async fn tokio_postgres(port: u16) -> (tokio_postgres::Client, Driver) {
    let url = format!("host=127.0.0.1 port={port} user=a");
    tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("a client")
}

fn postgres() -> Vec<Case> {
    vec![
        Case::of("postgres", || async {
            let client = || postgres_client(serve(servers::postgres).port());
            spawn_blocking(client).await.expect("a client")
        })
        .when("connected"),
        Case::of("postgres", || async {
            let client = || {
                let mut client = postgres_client(serve(servers::postgres_once).port());
                client.simple_query("").expect_err("an answer");
                client
            };
            spawn_blocking(client).await.expect("a client")
        })
        .when("its server is gone"),
        Case::of("tokio-postgres", || async {
            let (client, driver) = tokio_postgres(serve(servers::postgres).port()).await;
            tokio::spawn(driver);
            client
        })
        .when("connected"),
        Case::of("tokio-postgres", || async {
            let (client, driver) = tokio_postgres(serve(servers::postgres_once).port()).await;
            tokio::spawn(driver);
            client.simple_query("").await.expect_err("an answer");
            client
        })
        .when("its server is gone"),
        Case::of("tokio-postgres", || async {
            let (client, driver) = tokio_postgres(serve(servers::postgres).port()).await;
            mem::forget(client);
            driver
        })
        .when("before its client"),
        Case::of("tokio-postgres", || async {
            tokio_postgres(serve(servers::postgres).port()).await.1
        })
        .when("after its client"),
    ]
}

fn listener() -> Vec<Case> {
    let listener = || async {
        let port = serve(servers::postgres).port();
        let url = format!("postgres://a@127.0.0.1:{port}/a?sslmode=disable");
        sqlx::postgres::PgListener::connect(&url).await.expect("a listener")
    };
    vec![
        Case::of("sqlx", listener).when("connected"),
        Case::of("sqlx", move || async move {
            let mut listener = listener().await;
            listener.listen("a").await.expect("a channel");
            listener
        })
        .when("with a channel"),
        // Until it connects again, it has no connection.
        Case::of("sqlx", || async {
            let port = serve_one(servers::postgres_until_listen).port();
            let url = format!("postgres://a@127.0.0.1:{port}/a?sslmode=disable");
            let connected = sqlx::postgres::PgListener::connect(&url).await;
            let mut listener = connected.expect("a listener");
            listener.eager_reconnect(false);
            listener.listen("a").await.expect_err("an answer");
            let received = listener.try_recv().await.expect("its connection is gone");
            assert!(received.is_none(), "nothing was sent");
            listener
        })
        .when("its server is gone"),
    ]
}

fn redis_client(address: std::net::SocketAddr) -> ::redis::Client {
    ::redis::Client::open(format!("redis://{address}")).expect("a client")
}

fn redis() -> Vec<Case> {
    let ping = || ::redis::cmd("PING");
    vec![
        Case::of("redis", || async {
            let client = redis_client(serve(servers::redis));
            client.get_multiplexed_async_connection().await.expect("a connection")
        })
        .when("connected"),
        Case::of("redis", move || async move {
            let client = redis_client(serve_one(servers::redis_once));
            let connected = client.get_multiplexed_async_connection().await;
            let mut connection = connected.expect("a connection");
            ping().exec_async(&mut connection).await.expect_err("an answer");
            connection
        })
        .when("its server is gone"),
        Case::of("redis", || async {
            let client = redis_client(serve(servers::redis));
            ::redis::aio::ConnectionManager::new(client).await.expect("a connection")
        })
        .when("connected"),
        Case::of("redis", move || async move {
            let client = redis_client(serve_one(servers::redis_once));
            let connected = ::redis::aio::ConnectionManager::new(client).await;
            let mut connection = connected.expect("a connection");
            // It begins to connect again.
            ping().exec_async(&mut connection).await.expect_err("an answer");
            connection
        })
        .when("its server is gone"),
    ]
}

fn directories() -> Vec<Case> {
    let blocking = |treat| {
        move || async move {
            let url = format!("ldap://{}", serve(treat));
            let connected = spawn_blocking(move || ldap3::LdapConn::new(&url)).await;
            connected.expect("a thread").expect("a connection")
        }
    };
    let driven = |treat| async move {
        let url = format!("ldap://{}", serve(treat));
        let connected = ldap3::LdapConnAsync::new(&url).await;
        let (connection, ldap) = connected.expect("a connection");
        tokio::spawn(connection.drive());
        ldap
    };
    vec![
        Case::of("ldap3", blocking(servers::silent)).when("connected"),
        Case::of("ldap3", move || async move {
            let mut connection = blocking(servers::gone)().await;
            let asked = spawn_blocking(move || {
                connection.simple_bind("", "").expect_err("an answer");
                connection
            });
            asked.await.expect("a thread")
        })
        .when("its server is gone"),
        Case::of("ldap3", move || driven(servers::silent)).when("connected"),
        Case::of("ldap3", move || async move {
            let mut ldap = driven(servers::gone).await;
            ldap.simple_bind("", "").await.expect_err("an answer");
            ldap
        })
        .when("its server is gone"),
    ]
}

/// A client that does not look for other servers.
fn mongodb_url() -> String {
    format!("mongodb://{}/?directConnection=true", serve(servers::mongodb))
}

async fn mongodb_client() -> mongodb::Client {
    mongodb::Client::with_uri_str(mongodb_url()).await.expect("a client")
}

async fn mongodb_used() -> mongodb::Client {
    let client = mongodb_client().await;
    client.database("a").run_command(doc! { "ping": 1 }).await.expect("an answer");
    client
}

fn mongodb() -> Vec<Case> {
    vec![
        Case::of("mongodb", mongodb_client).when("unused"),
        Case::of("mongodb", mongodb_used).when("connected"),
        Case::of("mongodb", || async {
            let client = mongodb_used().await;
            client.clone().shutdown().await;
            client
        })
        .when("shut down"),
        Case::of("mongodb", || async {
            let client = mongodb_used().await;
            client.start_session().await.expect("a session")
        })
        .when("after its client"),
        Case::of("mongodb", || async {
            let client = mongodb_used().await;
            let session = client.start_session().await.expect("a session");
            mem::forget(client);
            session
        })
        .when("before its client"),
        Case::of("mongodb", || async { mongodb_cursor(&mongodb_used().await).await })
            .when("after its client"),
        Case::of("mongodb", || async {
            let client = mongodb_used().await;
            let cursor = mongodb_cursor(&client).await;
            mem::forget(client);
            cursor
        })
        .when("before its client"),
    ]
}

/// There are more rows.
async fn mongodb_cursor(client: &mongodb::Client) -> mongodb::Cursor<Document> {
    let rows = client.database("a").collection::<Document>("a");
    rows.find(doc! {}).await.expect("a cursor")
}

fn mongodb_blocking() -> Vec<Case> {
    let client = || mongodb::sync::Client::with_uri_str(mongodb_url()).expect("a client");
    let used = move || {
        let client = client();
        client.database("a").run_command(doc! { "ping": 1 }).run().expect("an answer");
        client
    };
    let shut_down = move || {
        let client = used();
        client.clone().shutdown().run();
        client
    };
    let cursor = move || {
        let rows = used().database("a").collection::<Document>("a");
        rows.find(doc! {}).run().expect("a cursor")
    };
    vec![
        Case::of("mongodb", move || async move { spawn_blocking(client).await.expect("a client") })
            .when("unused"),
        Case::of("mongodb", move || async move { spawn_blocking(used).await.expect("a client") })
            .when("connected"),
        Case::of(
            "mongodb",
            move || async move { spawn_blocking(shut_down).await.expect("a client") },
        )
        .when("shut down"),
        Case::of("mongodb", move || async move { spawn_blocking(cursor).await.expect("a cursor") }),
    ]
}

async fn rusqlite() -> tokio_rusqlite::Connection {
    tokio_rusqlite::Connection::open_in_memory().await.expect("a connection")
}

fn sqlite() -> Vec<Case> {
    vec![
        Case::of("tokio-rusqlite", rusqlite).when("open"),
        Case::of("tokio-rusqlite", || async {
            let connection = rusqlite().await;
            connection.clone().close().await.expect("closed");
            connection
        })
        .when("closed"),
    ]
}

type Sqlite =
    diesel_async::sync_connection_wrapper::SyncConnectionWrapper<::diesel::SqliteConnection>;
type Blocking = diesel_async::async_connection_wrapper::AsyncConnectionWrapper<Sqlite>;

fn diesel() -> Vec<Case> {
    let connection = || async {
        let made = <Sqlite as diesel_async::AsyncConnection>::establish(":memory:").await;
        made.expect("a connection")
    };
    vec![
        Case::of("diesel-async", connection),
        Case::of("diesel-async", move || async move { Blocking::from(connection().await) })
            .when("made with a context"),
        Case::of("diesel-async", || async {
            let make = || <Blocking as ::diesel::Connection>::establish(":memory:");
            thread::spawn(make).join().expect("a thread").expect("a connection")
        })
        .when("made without a context"),
    ]
}
