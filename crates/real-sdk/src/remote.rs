//! A homeserver in a process of its own, so that its memory, threads and descriptors are not counted.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    process::{self, Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::setting::Setting;

/// A server that ends when this is dropped, or when this process ends.
pub struct Remote {
    pub url: String,
    child: Child,
    _said: BufReader<ChildStdout>,
}

impl Remote {
    pub fn start() -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut url = String::new();
        said.read_line(&mut url)?;
        Ok(Self { url: url.trim().to_owned(), child, _said: said })
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // It ends when its input does.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}

/// The process of the server.
pub fn serve() -> Result<()> {
    let setting = Setting::new()?;
    println!("{}", setting.server.url());
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    // Without the last line of `main`: nobody reads any more.
    process::exit(0)
}
