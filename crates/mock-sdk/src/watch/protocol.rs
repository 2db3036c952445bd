//! Lines, and what they mean.

use std::{fmt, io};

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

/// The longest line, in bytes.
const LONGEST: u64 = 64 << 10;

/// What a key was set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The number of the change: every put, of any key, is one more.
    pub revision: u64,
    /// What it was set to.
    pub value: String,
}

/// What a client says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Put { key: String, value: String },
    Get { key: String },
    Watch { key: String },
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Ok { revision: u64 },
    Value(Change),
    None,
    Event(Change),
    Error { reason: String },
}

/// A line that is none of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLine {
    /// It is none that is known.
    #[error("{line:?} is no line of the protocol")]
    Unknown {
        /// The line.
        line: String,
    },
    /// A key is one word, and a value one line.
    #[error("{text:?} cannot be {what}: it is not one {unit}")]
    NotOne {
        /// The key or the value.
        text: String,
        /// Which of both.
        what: &'static str,
        /// What it would have to be one of.
        unit: &'static str,
    },
}

impl Request {
    pub(super) fn parse(line: &str) -> Result<Self, BadLine> {
        let unknown = || BadLine::Unknown { line: line.to_owned() };
        let (verb, rest) = line.split_once(' ').ok_or_else(unknown)?;
        let request = match verb {
            "PUT" => {
                let (key, value) = rest.split_once(' ').ok_or_else(unknown)?;
                Self::Put { key: key.to_owned(), value: value.to_owned() }
            }
            "GET" => Self::Get { key: rest.to_owned() },
            "WATCH" => Self::Watch { key: rest.to_owned() },
            _ => return Err(unknown()),
        };
        request.check()?;
        Ok(request)
    }

    /// Whether it is the same after it was written and read.
    pub(super) fn check(&self) -> Result<(), BadLine> {
        let (Self::Put { key, .. } | Self::Get { key } | Self::Watch { key }) = self;
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(BadLine::NotOne { text: key.clone(), what: "a key", unit: "word" });
        }
        match self {
            Self::Put { value, .. } if value.contains(['\n', '\r']) => {
                Err(BadLine::NotOne { text: value.clone(), what: "a value", unit: "line" })
            }
            _ => Ok(()),
        }
    }
}

impl Reply {
    pub(super) fn parse(line: &str) -> Result<Self, BadLine> {
        let unknown = || BadLine::Unknown { line: line.to_owned() };
        let change = |rest: &str| {
            let (revision, value) = rest.split_once(' ').ok_or_else(unknown)?;
            let revision = revision.parse().map_err(|_| unknown())?;
            Ok(Change { revision, value: value.to_owned() })
        };
        match line.split_once(' ') {
            None if line == "NONE" => Ok(Self::None),
            Some(("OK", revision)) => {
                Ok(Self::Ok { revision: revision.parse().map_err(|_| unknown())? })
            }
            Some(("VALUE", rest)) => change(rest).map(Self::Value),
            Some(("EVENT", rest)) => change(rest).map(Self::Event),
            Some(("ERROR", reason)) => Ok(Self::Error { reason: reason.to_owned() }),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { key, value } => write!(f, "PUT {key} {value}"),
            Self::Get { key } => write!(f, "GET {key}"),
            Self::Watch { key } => write!(f, "WATCH {key}"),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok { revision } => write!(f, "OK {revision}"),
            Self::Value(Change { revision, value }) => write!(f, "VALUE {revision} {value}"),
            Self::None => f.write_str("NONE"),
            Self::Event(Change { revision, value }) => write!(f, "EVENT {revision} {value}"),
            Self::Error { reason } => write!(f, "ERROR {reason}"),
        }
    }
}

/// The next line, without its end. `None` at the end, whatever was begun before it.
///
/// Loses what it has read when it is dropped: only for who will not read on then.
pub(super) async fn next_line(
    from: &mut (impl AsyncBufRead + Unpin),
) -> io::Result<Option<String>> {
    let mut line = String::new();
    from.take(LONGEST).read_line(&mut line).await?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(Some(line.strip_suffix('\r').unwrap_or(line).to_owned())),
        None if line.len() as u64 == LONGEST => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a line is longer than {LONGEST} bytes"),
        )),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for line in ["PUT key a value with  spaces", "PUT key ", "GET key", "WATCH key"] {
            assert_eq!(Request::parse(line).unwrap().to_string(), line);
        }
        for line in ["OK 7", "VALUE 7 a value", "NONE", "EVENT 7 ", "ERROR no such thing"] {
            assert_eq!(Reply::parse(line).unwrap().to_string(), line);
        }
    }

    #[test]
    fn what_is_not_of_the_protocol_is_refused() {
        for line in ["", "PUT", "PUT key", "GET", "GET ", "GET two words", "DELETE key", "put a b"]
        {
            assert!(Request::parse(line).is_err(), "{line:?}");
        }
        for line in ["", "OK", "OK many", "VALUE 7", "EVENT x y", "SOME", "NONE ", "ERROR"] {
            assert!(Reply::parse(line).is_err(), "{line:?}");
        }
    }
}
