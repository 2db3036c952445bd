//! `cargo xtask book`: builds the book with mdBook, and serves it on this machine.

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, TcpListener},
    ops::ControlFlow,
    path::PathBuf,
    process::{Command, ExitCode},
};

use lab::{
    guardian::Guardian,
    interrupt::{self, Interrupt},
};
use rustix::process::Signal;

use crate::{
    child,
    failure::{Failure, Result},
    flags, output,
    workspace::Workspace,
};

/// The version that this command installs if there is none.
const VERSION: &str = "0.5.4";

/// How much of the standard error of other programs is kept, in bytes.
const STDERR_KEPT: usize = 1 << 16;

pub fn run(flags: &flags::Book, workspace: &Workspace) -> Result<ExitCode> {
    let (interrupt, guardian) = (Interrupt::install()?, Guardian::start()?);
    let tools = Tools { target: workspace.target()?, workspace, interrupt, guardian };
    // Before anything is built for minutes.
    let port = if flags.build { None } else { Some(free_port(flags.port)?) };
    let mdbook = tools.mdbook(port.is_some())?;
    let book = tools.target.join("book");
    if !tools.build(&mdbook, &book)? {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    let index = book.join("index.html");
    match port {
        None => output::print(&format!("{}\n", workspace.shown(&index))),
        Some(port) => tools.serve(mdbook, &book, port)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A port that nobody has, this one unless it is 0. mdBook needs a number, and looks for none.
fn free_port(port: u16) -> Result<u16> {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).and_then(|free| free.local_addr());
    free.map(|free| free.port()).map_err(|error| {
        Failure::Failed(format!("port {port} of 127.0.0.1: {error}: choose another by --port"))
    })
}

struct Tools<'a> {
    workspace: &'a Workspace,
    target: PathBuf,
    interrupt: Interrupt,
    guardian: Guardian,
}

impl Tools<'_> {
    /// mdBook: one that is installed, or else one that is built here. Only some builds of it can serve.
    fn mdbook(&self, serves: bool) -> Result<PathBuf> {
        let root = self.target.join("tools");
        let own = root.join("bin/mdbook");
        for installed in [PathBuf::from("mdbook"), own.clone()] {
            let help = Command::new(&installed)
                .arg(if serves { "serve" } else { "build" })
                .arg("--help")
                .output();
            if help.is_ok_and(|help| help.status.success()) {
                return Ok(installed);
            }
        }
        let features = if serves { "search,serve,watch" } else { "search" };
        output::note(&format!(
            "no mdBook that can {} is installed. Building {VERSION} in {}, once: a minute or two",
            if serves { "serve" } else { "build" },
            self.workspace.shown(&root)
        ));
        let mut cargo = self.workspace.cargo();
        // Without optimization: the book is small.
        cargo.args([
            "install",
            "mdbook",
            "--version",
            VERSION,
            "--locked",
            "--quiet",
            "--debug",
            "--force",
        ]);
        cargo.args(["--no-default-features", "--features", features, "--root"]).arg(&root);
        cargo.arg("--target-dir").arg(root.join("build"));
        match self.run(cargo, "cargo install mdbook")? {
            Some(_) => Ok(own),
            None => Err(Failure::Interrupted),
        }
    }

    /// Builds the book, and returns whether it was not interrupted.
    fn build(&self, mdbook: &PathBuf, book: &PathBuf) -> Result<bool> {
        let mut build = Command::new(mdbook);
        build.arg("build").arg(self.workspace.path("docs")).arg("--dest-dir").arg(book);
        let Some(said) = self.run(build, "mdbook build")? else { return Ok(false) };
        // It warns, of a page that it cannot find say, and succeeds.
        let mut wrong = said.lines().filter(|line| line.contains("WARN") || line.contains("ERROR"));
        match wrong.next() {
            Some(line) => Err(Failure::Failed(format!("mdBook warns: {}", line.trim()))),
            None => Ok(true),
        }
    }

    /// Serves the book until Ctrl-C.
    fn serve(&self, mdbook: PathBuf, book: &PathBuf, port: u16) -> Result<()> {
        let mut serve = Command::new(mdbook);
        serve.arg("serve").arg(self.workspace.path("docs")).arg("--dest-dir").arg(book);
        serve.args(["--hostname", "127.0.0.1", "--port", &port.to_string()]);
        serve.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        self.guardian.mark(&mut serve);
        let mut serve =
            serve.spawn().map_err(|error| Failure::Failed(format!("mdbook: {error}")))?;
        output::print(&format!("http://127.0.0.1:{port}\n"));
        io::stdout().flush()?;
        output::note("The book is rebuilt when a page changes. Ctrl-C ends this.");
        let status = child::wait(&mut serve, &self.interrupt, Signal::INT)?;
        if self.interrupt.raised() {
            return Ok(());
        }
        Err(Failure::Failed(format!("`mdbook serve` has ended by itself: {status}")))
    }

    /// Runs a command to its end, and returns what it wrote on standard error; nothing if it was interrupted.
    fn run(&self, command: Command, name: &str) -> Result<Option<String>> {
        let ended = child::listen(command, &self.guardian, &self.interrupt, STDERR_KEPT, |_| {
            ControlFlow::Continue(())
        });
        let ended = ended.map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
        if ended.interrupted {
            return Ok(None);
        }
        if !ended.status.success() {
            output::note(&ended.stderr);
            return Err(Failure::Failed(format!("`{name}` failed: {}", ended.status)));
        }
        Ok(Some(ended.stderr))
    }
}
