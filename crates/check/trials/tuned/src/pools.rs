//! Pools that have a connection, and what they lend.

use std::{convert::Infallible, mem};

use sea_orm::TransactionTrait as _;
use tokio::task::spawn_blocking;
use trials::Case;

use crate::{
    Row,
    servers::{self, serve},
};

pub fn cases() -> Vec<Case> {
    [
        pool_and_lent("deadpool-postgres", postgres, async |pool| {
            pool.get().await.expect("a client")
        }),
        pool_and_lent("deadpool-sqlite", sqlite, async |pool| {
            pool.get().await.expect("a connection")
        }),
        pool_and_lent("deadpool-r2d2", r2d2, async |pool| pool.get().await.expect("a connection")),
        pool_and_lent("mysql_async", mysql, async |pool| {
            pool.get_conn().await.expect("a connection")
        }),
        vec![
            Case::of("mysql_async", || async {
                mysql_async::Conn::new(mysql_options()).await.expect("a connection")
            })
            .when("without a pool"),
        ],
        r2d2_postgres(),
        bb8_postgres(),
        pool_and_lent("sea-orm", sea_orm, async |pool| pool.begin().await.expect("a transaction")),
        pool_and_lent("sqlx", sqlx_any, async |pool| pool.acquire().await.expect("a connection")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// `pool` makes a pool that has a connection.
fn pool_and_lent<Pool: 'static, Lent: 'static>(
    of_crate: &'static str,
    pool: impl AsyncFn() -> Pool + Copy + 'static,
    lend: impl AsyncFn(&Pool) -> Lent + Copy + 'static,
) -> Vec<Case> {
    vec![
        Case::of(of_crate, move || async move { pool().await }),
        Case::of(of_crate, move || async move { lend(&pool().await).await }).when("after its pool"),
        Case::of(of_crate, move || async move {
            let pool = pool().await;
            let lent = lend(&pool).await;
            mem::forget(pool);
            lent
        })
        .when("before its pool"),
    ]
}

async fn postgres() -> deadpool_postgres::Pool {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(serve(servers::postgres).port()).user("a");
    let manager = deadpool_postgres::Manager::new(config, tokio_postgres::NoTls);
    let pool = deadpool_postgres::Pool::builder(manager).build().expect("a pool");
    drop(pool.get().await.expect("a client"));
    pool
}

type Blocking = r2d2_postgres::PostgresConnectionManager<tokio_postgres::NoTls>;

/// Blocks: each of its connections has a runtime.
fn blocking_pool() -> ::r2d2::Pool<Blocking> {
    let mut config = ::postgres::Config::new();
    config.host("127.0.0.1").port(serve(servers::postgres).port()).user("a");
    let manager = Blocking::new(config, tokio_postgres::NoTls);
    ::r2d2::Pool::builder().max_size(1).build(manager).expect("a pool")
}

fn r2d2_postgres() -> Vec<Case> {
    let lend = |pool: &::r2d2::Pool<Blocking>| pool.get().expect("a client");
    vec![
        Case::of("r2d2_postgres", || async {
            spawn_blocking(blocking_pool).await.expect("a pool")
        }),
        Case::of("r2d2_postgres", move || async move {
            spawn_blocking(move || lend(&blocking_pool())).await.expect("a client")
        })
        .when("after its pool"),
        Case::of("r2d2_postgres", move || async move {
            let lent = spawn_blocking(move || {
                let pool = blocking_pool();
                let lent = lend(&pool);
                mem::forget(pool);
                lent
            });
            lent.await.expect("a client")
        })
        .when("before its pool"),
    ]
}

/// Keeps one connection, whatever it is like.
async fn bb8_pool(
    treat: fn(std::net::TcpStream) -> std::io::Result<()>,
) -> bb8::Pool<bb8_postgres::PostgresConnectionManager<tokio_postgres::NoTls>> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(serve(treat).port()).user("a");
    let manager = bb8_postgres::PostgresConnectionManager::new(config, tokio_postgres::NoTls);
    let builder = bb8::Pool::builder().max_size(1).min_idle(1).test_on_check_out(false);
    builder.build(manager).await.expect("a pool")
}

fn bb8_postgres() -> Vec<Case> {
    vec![
        Case::of("bb8-postgres", || bb8_pool(servers::postgres)),
        Case::of("bb8-postgres", || async {
            bb8_pool(servers::postgres).await.get_owned().await.expect("a client")
        })
        .when("after its pool"),
        Case::of("bb8-postgres", || async {
            let pool = bb8_pool(servers::postgres).await;
            let lent = pool.get_owned().await.expect("a client");
            mem::forget(pool);
            lent
        })
        .when("before its pool"),
        Case::of("bb8-postgres", || async {
            let pool = bb8_pool(servers::postgres_once).await;
            let lent = pool.get_owned().await.expect("a client");
            mem::forget(pool);
            lent.simple_query("").await.expect_err("an answer");
            lent
        })
        .when("its server is gone"),
    ]
}

fn mysql_options() -> mysql_async::OptsBuilder {
    let address = serve(servers::mysql);
    mysql_async::OptsBuilder::default()
        .ip_or_hostname(address.ip().to_string())
        .tcp_port(address.port())
        .user(Some("a"))
        .prefer_socket(Some(false))
        // Otherwise it asks the server.
        .max_allowed_packet(Some(1 << 20))
        .wait_timeout(Some(600))
}

async fn mysql() -> mysql_async::Pool {
    let pool = mysql_async::Pool::new(mysql_options());
    drop(pool.get_conn().await.expect("a connection"));
    pool
}

async fn sqlite() -> deadpool_sqlite::Pool {
    let config = deadpool_sqlite::Config::new(":memory:");
    let pool = config.create_pool(deadpool_sqlite::Runtime::Tokio1).expect("a pool");
    drop(pool.get().await.expect("a connection"));
    pool
}

/// Its connections are rows.
struct Rows;

impl ::r2d2::ManageConnection for Rows {
    type Connection = Row;
    type Error = Infallible;

    fn connect(&self) -> Result<Row, Infallible> {
        Ok(vec![1])
    }

    fn is_valid(&self, _: &mut Row) -> Result<(), Infallible> {
        Ok(())
    }

    fn has_broken(&self, row: &mut Row) -> bool {
        row.is_empty()
    }
}

async fn r2d2() -> deadpool_r2d2::Pool<deadpool_r2d2::Manager<Rows>> {
    let manager = deadpool_r2d2::Manager::new(Rows, deadpool_r2d2::Runtime::Tokio1);
    let pool = deadpool_r2d2::Pool::builder(manager).build().expect("a pool");
    drop(pool.get().await.expect("a connection"));
    pool
}

async fn sea_orm() -> sea_orm::DatabaseConnection {
    sea_orm::Database::connect("sqlite::memory:").await.expect("a pool")
}

async fn sqlx_any() -> sqlx::AnyPool {
    sqlx::any::install_default_drivers();
    sqlx::AnyPool::connect("sqlite::memory:").await.expect("a pool")
}
