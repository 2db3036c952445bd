//! What is to be sent, until the server has it: written before anything is sent, so that it outlives
//! the process.

use rusqlite::params;

use super::{Store, StoreError};

/// A message that waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its number in this store, which is never given again: what the server tells a repetition by.
    pub number: i64,
    /// Where it is to go.
    pub room: String,
    /// What it says.
    pub body: String,
    /// Why the server will not have it. Such a message is kept, and not sent again.
    pub refusal: Option<String>,
}

impl Store {
    /// Puts a message behind those that wait to be sent, and returns its number.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`].
    pub async fn enqueue(
        &self,
        room: impl Into<String>,
        body: impl Into<String>,
    ) -> Result<i64, StoreError> {
        let (room, body) = (room.into(), body.into());
        self.interact("put a message into the outbox of", move |c| {
            c.execute("INSERT INTO outbox (room, body) VALUES (?, ?)", [room, body])
                .map(|_| c.last_insert_rowid())
        })
        .await
    }

    /// All that wait to be sent, and those that were refused, in order.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`].
    pub async fn outbox(&self) -> Result<Vec<Queued>, StoreError> {
        self.interact("read the outbox of", |c| {
            c.prepare("SELECT number, room, body, refusal FROM outbox ORDER BY number")?
                .query_map([], |row| {
                    Ok(Queued {
                        number: row.get(0)?,
                        room: row.get(1)?,
                        body: row.get(2)?,
                        refusal: row.get(3)?,
                    })
                })?
                .collect()
        })
        .await
    }

    /// Takes a message out, because the server has it. One that is not there is no error.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`].
    pub async fn dequeue(&self, number: i64) -> Result<(), StoreError> {
        self.interact("take a message out of the outbox of", move |c| {
            c.execute("DELETE FROM outbox WHERE number = ?", [number]).map(drop)
        })
        .await
    }

    /// Notes that the server will not have a message, and why.
    ///
    /// # Errors
    ///
    /// As [`Store::interact`].
    pub async fn refuse(&self, number: i64, refusal: impl Into<String>) -> Result<(), StoreError> {
        let refusal = refusal.into();
        self.interact("note a refusal in the outbox of", move |c| {
            c.execute("UPDATE outbox SET refusal = ? WHERE number = ?", params![refusal, number])
                .map(drop)
        })
        .await
    }
}
