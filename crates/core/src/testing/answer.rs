//! How the process of a test tells its parent what became of the test.
//!
//! The parent keeps a file in memory, and the child opens it through the parent's folder in `/proc`. So nothing is
//! inherited: standard input, output and errors stay what they are, and a process that the test starts gets nothing of it.

use std::{
    env,
    fs::{self, File, OpenOptions},
    hash::{BuildHasher as _, RandomState},
    io::{self, Read as _, Seek as _, Write as _},
    os::{fd::AsRawFd as _, unix::process::parent_id},
    process,
    str::FromStr,
};

use rustix::fs::MemfdFlags;

use super::runner::{Failure, Reason};
use crate::evidence::proc::number_behind;

/// In the environment of the child: an [`Address`]. A process that the test starts inherits the variable, and has another
/// parent.
pub(super) const ADDRESS: &str = "SUNDOWN_TEST_PARENT";

/// Where the answer goes: `parent number-in-/proc descriptor token`.
struct Address {
    parent: u32,
    /// The parent's number where `/proc` was mounted.
    listed_as: u32,
    descriptor: u32,
    /// In the name of the file and before each part of the answer, so that nothing else is taken for the one or the other.
    token: String,
}

impl FromStr for Address {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let fields: Vec<_> = text.split(' ').collect();
        let [parent, listed_as, descriptor, token] = *fields else { return Err(()) };
        let number = |text: &str| text.parse().map_err(drop);
        let [parent, listed_as, descriptor] =
            [number(parent)?, number(listed_as)?, number(descriptor)?];
        Ok(Self { parent, listed_as, descriptor, token: token.to_owned() })
    }
}

/// A file without a name, which needs no disk and is gone with its last descriptor.
pub(super) fn memory_file(name: &str) -> io::Result<File> {
    Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?.into())
}

pub(super) fn contents(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the child has told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing: the test was not found, or the process ended before.
    Nothing,
    /// That the test has begun, and nothing more.
    Begun,
    /// How it ended.
    Ended(Result<(), Failure>),
}

/// What the parent reads.
pub(super) struct Answer {
    file: File,
    token: String,
}

impl Answer {
    pub(super) fn new() -> io::Result<Self> {
        let token = format!("{:016x}", RandomState::new().hash_one(process::id()));
        Ok(Self { file: memory_file(&file_name(&token))?, token })
    }

    /// What the child needs to know, for its environment.
    pub(super) fn address(&self) -> io::Result<String> {
        let listed_as = number_behind("/proc/self").map_err(io::Error::other)?;
        Ok(format!("{} {listed_as} {} {}", process::id(), self.file.as_raw_fd(), self.token))
    }

    pub(super) fn read(&mut self) -> io::Result<Told> {
        Ok(parse(&contents(&mut self.file)?, &self.token))
    }
}

fn file_name(token: &str) -> String {
    format!("sundown-answer-{token}")
}

fn parse(text: &str, token: &str) -> Told {
    let part = |text: &str, word: &str| {
        text.strip_prefix(token)?.strip_prefix(' ')?.strip_prefix(word).map(str::to_owned)
    };
    let Some(rest) = part(text, "begun ") else { return Told::Nothing };
    let failure = |reason, message| Told::Ended(Err(Failure { reason, message }));
    if part(&rest, "passed").is_some() {
        Told::Ended(Ok(()))
    } else if let Some(message) = part(&rest, "failed ") {
        failure(Reason::Body, message)
    } else if let Some(message) = part(&rest, "left ") {
        failure(Reason::Left, message)
    } else {
        Told::Begun
    }
}

/// The parent, to be told what becomes of the test.
pub(super) struct ToParent {
    address: Address,
    process: u32,
    /// Open from the beginning, because the test may use up all descriptors or give up its privileges.
    file: File,
}

impl ToParent {
    /// The parent, if it has started this process for a test.
    ///
    /// # Errors
    ///
    /// If it cannot be told anything.
    pub(super) fn find() -> Option<io::Result<Self>> {
        let address = env::var(ADDRESS).ok()?.parse::<Address>().ok()?;
        (address.parent == parent_id()).then(|| {
            let this = Self { process: process::id(), file: address.open()?, address };
            this.tell("begun ")?;
            Ok(this)
        })
    }

    fn tell(&self, text: &str) -> io::Result<()> {
        let text = format!("{} {text}", self.address.token);
        // A test may close descriptors that it has not opened. Then the number may be another file's.
        let link = fs::read_link(format!("/proc/thread-self/fd/{}", self.file.as_raw_fd()));
        if link.is_ok_and(|link| link.to_string_lossy().contains(&self.address.token)) {
            (&self.file).write_all(text.as_bytes())
        } else {
            self.address.open()?.write_all(text.as_bytes())
        }
    }

    /// Says how the test ended, and ends the process.
    pub(super) fn end(&self, result: &Result<(), Failure>) -> ! {
        let (text, code) = match result {
            Ok(()) => ("passed".to_owned(), 0),
            Err(Failure { reason: Reason::Body, message }) => (format!("failed {message}"), 101),
            Err(Failure { reason: Reason::Left, message }) => (format!("left {message}"), 101),
        };
        // In a fork of the test that got here, the test itself may still run.
        if process::id() == self.process {
            if let Err(error) = self.tell(&text) {
                eprintln!("cannot say how the test ended: {error}");
            }
        }
        process::exit(code);
    }
}

impl Address {
    fn open(&self) -> io::Result<File> {
        let path = format!("/proc/{}/fd/{}", self.listed_as, self.descriptor);
        let file = OpenOptions::new().append(true).open(&path)?;
        let name = fs::read_link(format!("/proc/thread-self/fd/{}", file.as_raw_fd()))?;
        match name.to_string_lossy().contains(&file_name(&self.token)) {
            true => Ok(file),
            false => Err(io::Error::other(format!("{path} is another file"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_arrives_although_the_test_has_replaced_its_descriptor() {
        let mut answer = Answer::new().unwrap();
        let address: Address = answer.address().unwrap().parse().unwrap();
        let process = process::id();
        for replaced in [false, true] {
            let file =
                if replaced { memory_file("another").unwrap() } else { address.open().unwrap() };
            let address = answer.address().unwrap().parse().unwrap();
            let parent = ToParent { address, process, file };
            parent.tell(if replaced { "passed" } else { "begun " }).unwrap();
        }
        // Both parts are there, in this order.
        let text = contents(&mut answer.file).unwrap();
        let token = &answer.token;
        assert_eq!(text, format!("{token} begun {token} passed"));
    }

    #[test]
    fn another_file_than_the_parents_is_not_written_to() {
        let answer = Answer::new().unwrap();
        let mut address: Address = answer.address().unwrap().parse().unwrap();
        address.token.push('0');
        assert!(address.open().is_err());
    }

    #[test]
    fn only_what_carries_the_token_is_an_answer() {
        let failure =
            |reason, message: &str| Told::Ended(Err(Failure { reason, message: message.into() }));
        for (text, expected) in [
            ("", Told::Nothing),
            ("passed", Told::Nothing),
            ("t passed", Told::Nothing),
            ("t begun ", Told::Begun),
            ("t begun passed", Told::Begun),
            ("t begun u passed", Told::Begun),
            ("t begun t passed", Told::Ended(Ok(()))),
            ("t begun t failed a\nb", failure(Reason::Body, "a\nb")),
            ("t begun t left a", failure(Reason::Left, "a")),
        ] {
            assert_eq!(parse(text, "t"), expected, "{text}");
        }
    }
}
