//! A command that is probed: looked for before anything runs, and printed as it is typed.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    path::PathBuf,
};

use crate::{failure::Failure, program};

/// A program and its arguments.
#[derive(Clone, Debug)]
pub struct Command {
    /// The program, as it was typed.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl Command {
    /// The command that these words are, if its program is there.
    pub fn of(words: impl IntoIterator<Item = OsString>) -> Result<Self, Failure> {
        let mut words = words.into_iter();
        let program = words.next().filter(|program| !program.is_empty());
        let program = program.ok_or_else(|| Failure::Usage("there is no command to run".into()))?;
        program::find(&program)?;
        Ok(Self { program: program.into(), arguments: words.collect() })
    }

    /// The command that this text is, quoted as for a shell.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let words = shlex::split(text)
            .ok_or_else(|| Failure::Usage(format!("a quote is not closed in `{text}`")))?;
        if words.is_empty() {
            return Err(Failure::Usage("there is no command in --compare".into()));
        }
        Self::of(words.into_iter().map(OsString::from))
    }
}

/// As it would be typed into a shell.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = std::iter::once(self.program.as_os_str())
            .chain(self.arguments.iter().map(OsString::as_os_str))
            .map(OsStr::to_string_lossy)
            .collect();
        let words = words.iter().map(|word| &**word);
        f.write_str(&shlex::try_join(words.clone()).unwrap_or_else(|_| {
            // Something that no shell takes, and neither does the system.
            words.collect::<Vec<_>>().join(" ")
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_typed_again() {
        let text = "sh -c 'echo \"it is $PROBE_TRIAL\"; exit 3'";
        let command = Command::parse(text).unwrap();
        assert_eq!(command.arguments.len(), 2);
        let again = Command::parse(&command.to_string()).unwrap();
        assert_eq!(again.arguments, command.arguments);
    }

    #[test]
    fn what_is_not_there_is_a_mistake_in_usage() {
        for (text, words) in [
            ("", "no command in --compare"),
            ("sh 'unclosed", "a quote is not closed"),
            ("no-such-command-at-all", "there is no command `no-such-command-at-all` in PATH"),
            ("/", "is a directory"),
            ("./nowhere/to/be/found", "cannot run ./nowhere/to/be/found: No such file"),
            ("/dev/null", "Permission denied"),
        ] {
            let Err(Failure::Usage(message)) = Command::parse(text) else { panic!("{text}") };
            assert!(message.contains(words), "{message}");
        }
    }
}
