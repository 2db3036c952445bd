//! reqwest's client in a static, used by two tests, each with a runtime as `#[tokio::test]` has one.

use std::{
    future::Future,
    sync::{Arc, LazyLock, mpsc},
    thread,
};

use anyhow::{Result, anyhow, bail};
use reqwest::Client;
use sundown::{RuntimeCell, RuntimeOwner};
use tokio::{
    runtime::{Builder, Runtime},
    task::yield_now,
};

use crate::{
    PLENTY,
    report::{check, record},
    server::Server,
};

/// How often a test yields to its runtime, so that a connection that is done comes back to the client's pool.
const YIELDS: usize = 200;

static CLIENT: LazyLock<Client> = LazyLock::new(client);
static CELL: RuntimeCell = RuntimeCell::new(|| RuntimeOwner::builder("tests").workers(2));

fn client() -> Client {
    // The environment may have a proxy.
    Client::builder().no_proxy().build().unwrap_or_default()
}

/// Whose the client and the runtime of a test are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// The client is in a static, and each test has a runtime.
    Static,
    /// Each test has both.
    Each,
    /// The client is in a static, and all tests use the runtime of a cell.
    Cell,
}

/// Runs two tests: `one-after-another`; `overlap`, where the first ends while a request of the second is under
/// way; or `kept`, where nobody drives the runtime of the first any more, and it is kept.
pub fn two_tests(when: &str, whose: &str) -> Result<()> {
    let whose = match whose {
        "static" => Whose::Static,
        "each" => Whose::Each,
        "cell" => Whose::Cell,
        _ => bail!("nobody has it: `{whose}`"),
    };
    let server = Arc::new(Server::start()?);
    let fast = server.page("/fast");
    let (answer, _kept) = match when {
        "one-after-another" => {
            drop(test(whose, settled(whose, fast.clone()))?);
            test_of(whose, get(whose, fast))
        }
        "kept" => {
            let kept = test(whose, settled(whose, fast.clone()))?;
            (test_of(whose, get(whose, fast)).0, kept)
        }
        "overlap" => {
            let (tell, ready) = mpsc::channel();
            let first = thread::spawn({
                let server = Arc::clone(&server);
                move || {
                    let asked = Arc::clone(&server);
                    let waits = async move {
                        settled(whose, fast).await?;
                        tell.send(())?;
                        asked.slow_has_begun().await;
                        Ok(())
                    };
                    drop(test(whose, waits)?);
                    server.answer_slow();
                    anyhow::Ok(())
                }
            });
            ready.recv_timeout(PLENTY)?;
            let second = test_of(whose, get(whose, server.page("/slow")));
            first.join().map_err(|_| anyhow!("the first test panicked"))??;
            second
        }
        _ => bail!("there is no such order: `{when}`"),
    };
    record("connections", server.connections());
    if let Err(error) = &answer {
        record("the_second_test_fails_with", &*error.to_string());
    }
    check("the second test gets its answer", answer.is_ok());
    Ok(())
}

/// Gets a page, and has the connection come back to the pool.
async fn settled(whose: Whose, url: String) -> Result<()> {
    get(whose, url).await?;
    for _ in 0..YIELDS {
        yield_now().await;
    }
    Ok(())
}

/// Gets a page. The error is the last of the chain.
async fn get(whose: Whose, url: String) -> Result<()> {
    let own = (whose == Whose::Each).then(client);
    let client = own.as_ref().unwrap_or(&CLIENT);
    let got = async { client.get(url).send().await?.bytes().await }.await;
    let Err(error) = got else { return Ok(()) };
    let mut last: &dyn std::error::Error = &error;
    while let Some(source) = last.source() {
        last = source;
    }
    Err(anyhow!("{last}"))
}

/// Runs a test that must succeed. Returns its runtime, if it had one.
fn test<F>(whose: Whose, body: F) -> Result<Option<Runtime>>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (answer, runtime) = test_of(whose, body);
    answer.map(|()| runtime)
}

/// Runs a test. Returns its runtime, too, if it had one.
fn test_of<F>(whose: Whose, body: F) -> (Result<()>, Option<Runtime>)
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    if whose == Whose::Cell {
        let answer = CELL.get().map_err(Into::into).and_then(|cell| cell.block_on(body)?);
        return (answer, None);
    }
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => (runtime.block_on(body), Some(runtime)),
        Err(error) => (Err(error.into()), None),
    }
}
