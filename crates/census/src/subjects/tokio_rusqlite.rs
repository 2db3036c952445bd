//! tokio-rusqlite, which has a thread for each connection.

use lab::TrialResult;
use tokio_rusqlite::Connection;

use crate::subject::{Card, Subject};

struct OfConnection;

impl Subject for OfConnection {
    type Live = Option<Connection>;

    const CODE: &'static str = "tokio-rusqlite-connection";
    const PACKAGE: &'static str = "tokio-rusqlite";
    const VALUE: &'static str = "a `Connection`, which has a thread";
    const CALL: &'static str = "a row is inserted";
    const CLOSE: Result<&'static str, &'static str> = Ok("Connection::close");
    const CLOSES_ONCE: Option<&'static str> = Some("`Connection::close` takes the connection");

    async fn live() -> TrialResult<Self::Live> {
        let connection = Connection::open("census.db").await?;
        let create =
            |it: &mut rusqlite::Connection| it.execute_batch("CREATE TABLE rows (it TEXT)");
        connection.call(create).await?;
        Ok(Some(connection))
    }

    async fn call(connection: &mut Self::Live) -> TrialResult {
        let connection = connection.as_ref().ok_or("it was closed")?;
        let insert =
            |it: &mut rusqlite::Connection| it.execute("INSERT INTO rows VALUES ('a row')", []);
        connection.call(insert).await?;
        Ok(())
    }

    async fn close(connection: &mut Self::Live) -> TrialResult {
        Ok(connection.take().ok_or("it was closed")?.close().await?)
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfConnection>(file!())]
}
