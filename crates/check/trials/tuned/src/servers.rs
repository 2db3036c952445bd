//! What answers in the place of a server, with crates that are dropped here.

use std::{
    io::{Read as _, Result, Write as _},
    net::TcpStream,
};

pub use ::servers::*;

/// Says to every command of a client of MongoDB that this is a server, and that a query has more rows.
pub fn mongodb(mut stream: TcpStream) -> Result<()> {
    let answer = mongodb::bson::doc! {
        "ok": 1,
        "isWritablePrimary": true,
        "minWireVersion": 0,
        "maxWireVersion": 25,
        "maxBsonObjectSize": 1 << 24,
        "maxMessageSizeBytes": 48_000_000,
        "maxWriteBatchSize": 100_000,
        "logicalSessionTimeoutMinutes": 30,
        "cursor": { "id": 1_i64, "ns": "a.a", "firstBatch": [] },
    };
    let answer = answer.to_vec().map_err(std::io::Error::other)?;
    // Length, number of the message, number of what it answers, and the operation: OP_MSG.
    let mut header = [0; 16];
    while stream.read_exact(&mut header).is_ok() {
        let [length, number] = [0, 4].map(|at| {
            let bytes = header[at..at + 4].try_into().expect("four bytes");
            u32::from_le_bytes(bytes)
        });
        std::io::copy(&mut (&stream).take(u64::from(length) - 16), &mut std::io::sink())?;
        // No flags, and a section of the kind 0: one document.
        let length = u32::try_from(16 + 5 + answer.len()).map_err(std::io::Error::other)?;
        stream.write_all(&[length, 0, number, 2013, 0].map(u32::to_le_bytes).concat())?;
        stream.write_all(&[&[0], &answer[..]].concat())?;
    }
    Ok(())
}

/// Says the same to every request of HTTP, on the runtime of the value.
pub async fn http(says: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let is_json = [("content-type", "application/json")];
    let router = axum::Router::new().fallback(move || async move { (is_json, says) });
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}
