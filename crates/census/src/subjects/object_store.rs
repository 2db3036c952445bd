//! object_store, with files.

use std::{fs, sync::Arc};

use lab::TrialResult;
use object_store::{buffered::BufWriter, local::LocalFileSystem, path::Path};
use tokio::io::AsyncWriteExt as _;

use crate::subject::{Card, Subject};

const FILE: &str = "census.txt";

struct OfWriter;

impl Subject for OfWriter {
    type Live = BufWriter;

    const CODE: &'static str = "object_store-buf-writer";
    const PACKAGE: &'static str = "object_store";
    const VALUE: &'static str = "a `buffered::BufWriter` for a `LocalFileSystem`";
    const CALL: &'static str = "a line is written";
    const CLOSE: Result<&'static str, &'static str> = Ok("`AsyncWriteExt::shutdown`");
    const ACCEPTS: Result<&'static str, &'static str> = Ok("lines, which it writes into a file");

    async fn live() -> TrialResult<Self::Live> {
        let store = Arc::new(LocalFileSystem::new_with_prefix(".")?);
        // Its buffer is smaller than what the census writes, so that a file is open.
        Ok(BufWriter::with_capacity(store, Path::from(FILE), 4))
    }

    async fn call(writer: &mut Self::Live) -> TrialResult {
        Ok(writer.write_all(b"a line\n").await?)
    }

    async fn close(writer: &mut Self::Live) -> TrialResult {
        Ok(writer.shutdown().await?)
    }

    async fn accept(writer: &mut Self::Live) -> TrialResult {
        Self::call(writer).await
    }

    fn arrived() -> usize {
        fs::read_to_string(FILE).map_or(0, |text| text.lines().count())
    }
}

pub fn cards() -> Vec<Card> {
    vec![Card::of::<OfWriter>(file!())]
}
