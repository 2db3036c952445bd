//! Logs the real client in and out, again and again, and counts after each logout what the process uses.

mod application;
mod by_hand;
mod interface;

use std::{
    env, fs, mem,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Result, bail};
use matrix_sdk::Client;
use state_machine::{
    config::{LogoutConfig, RuntimePolicy},
    driver::Driver,
};
use tokio::runtime::Builder;

use crate::{
    look,
    remote::Remote,
    report::{check, record},
    usage::{self, Line, Usage, without_the_largest_step},
};
use application::App;
use by_hand::ByHand;

/// The folder of the stores, one for each login.
const LOGINS: &str = "logins";

/// By how much the memory of the process may rise in a cycle, in KiB. It goes up in steps, by hand as with
/// the kit. A client that is left takes some three hundred and more.
const ALLOWED_KIB: i64 = 16;

/// The same for the part of it that Rust's allocator has handed out, in bytes: a table that grows once in
/// a while does that. A client that is left takes more than a hundred times as much.
const ALLOWED_HEAP: i64 = 1024;

/// The limit of a session that can close: a busy machine alone must not reach it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The limit of a session of which a clone was forgotten: it cannot close, unless the client was paused.
const HOPELESS: Duration =
    if cfg!(feature = "pause") { PATIENCE } else { Duration::from_millis(300) };

/// Logs in and out so many times, in one way or another.
pub fn churn(way: &str, cycles: &str) -> Result<()> {
    usage::with_one_arena()?;
    let cycles: usize = cycles.parse()?;
    let server = Remote::start()?;
    let directory = env::current_dir()?;
    let mut counts = Vec::with_capacity(cycles);
    let mut files_open = 0;
    let mut count = || -> Result<()> {
        files_open = files_open.max(look::files(&directory.join(LOGINS))?);
        fs::remove_dir_all(directory.join(LOGINS))?;
        counts.push(Usage::now()?);
        record("logouts", counts.len());
        Ok(())
    };
    match way {
        "restart" | "keep" | "leak-restart" | "leak-keep" | "leave-threads" => {
            let leaks = way.starts_with("leak");
            let policy =
                if way.ends_with("restart") { RuntimePolicy::Restart } else { RuntimePolicy::Keep };
            let session = if leaks { HOPELESS } else { PATIENCE };
            let limits = LogoutConfig { runtime: policy, session, ..LogoutConfig::default() };
            let app = Arc::new(App::start(&server.url, policy)?);
            let driver = Driver::new(Arc::clone(&app), limits);
            // Not a runtime that goes down.
            let executor = Builder::new_current_thread().build()?;
            let mut with_warnings = 0;
            for number in 0..cycles {
                let store = store(&directory, number);
                app.log_in(&store)?;
                if leaks {
                    mem::forget(app.client().map(|client| Client::clone(&client)));
                }
                if way == "leave-threads" {
                    thread::spawn(|| {
                        loop {
                            thread::park();
                        }
                    });
                }
                let report = executor.block_on(driver.run())?;
                with_warnings += usize::from(!report.warnings.is_empty());
                for warning in &report.warnings {
                    eprintln!("{warning}");
                }
                count()?;
            }
            record("logouts_with_warnings", with_warnings);
            check("no logout has warnings", with_warnings == 0);
            drop(driver);
            app.end()?;
        }
        "ordered" | "interface-last" => {
            let mut app = ByHand::start(&server.url, way == "interface-last")?;
            for number in 0..cycles {
                app.log_in_and_out(&store(&directory, number))?;
                count()?;
            }
        }
        _ => bail!("there is no way `{way}`"),
    }
    record("files_open_after_a_logout", files_open);
    check("no file is open after a logout", files_open == 0);
    check("nothing panicked", look::panics() == 0);
    let settled = counts.get(counts.len() / 2..).unwrap_or_default();
    for (name, count) in Usage::COUNTS {
        let allowed = match name {
            "kib" => ALLOWED_KIB,
            "heap_bytes" => ALLOWED_HEAP,
            _ => 0,
        };
        let mut settled: Vec<_> = settled.iter().map(count).collect();
        if name == "kib" {
            // A process grows once when it needs something for the first time, and that may be late.
            record("kib_largest_step", without_the_largest_step(&mut settled));
        }
        let line = Line::through(&settled, allowed);
        record(&format!("{name}_at_the_end"), line.last);
        record(&format!("{name}_rise"), line.rise);
        record(&format!("{name}_scatter"), line.scatter);
        check(&format!("{name} are flat"), line.flat);
    }
    Ok(())
}

fn store(directory: &Path, number: usize) -> PathBuf {
    directory.join(LOGINS).join(number.to_string())
}
