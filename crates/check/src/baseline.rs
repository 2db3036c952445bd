//! The file of accepted findings: one a line, so that a change is easy to review.

use std::{
    collections::BTreeSet,
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    failure::{Failure, Result},
    findings::Finding,
    kind::{Certainty, Kind},
    nearest,
};

const HEAD: &str =
    "# Accepted by `cargo sundown check --accept`: destructors that can panic, and are known.\n";

/// The accepted findings.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Baseline(BTreeSet<String>);

impl Baseline {
    /// The file, if no other is named.
    pub const FILE: &str = "sundown-check.txt";

    /// Reads the baseline. A file that `--baseline` names must exist. Without that option, a missing file accepts nothing.
    pub fn read(named: Option<&Path>) -> Result<Self> {
        let path = named.unwrap_or(Path::new(Self::FILE));
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => match named {
                None => return Ok(Self::default()),
                Some(path) => return Err(Failure::Usage(missing(path))),
            },
            Err(error) => {
                return Err(Failure::File { action: "read", path: path.into(), error });
            }
        };
        Self::parse(&text).map_err(|(line, why)| Failure::Baseline { path: path.into(), line, why })
    }

    /// A baseline that is not read, because it is in a folder around this one.
    pub fn elsewhere() -> Option<PathBuf> {
        let here = env::current_dir().ok()?;
        if here.join(Self::FILE).exists() {
            return None;
        }
        here.ancestors().skip(1).map(|folder| folder.join(Self::FILE)).find(|file| file.is_file())
    }

    /// Whether there is a folder for the file.
    pub fn can_be_written(path: &Path) -> Result<()> {
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        match folder {
            Some(folder) if !folder.is_dir() => Err(Failure::Usage(format!(
                "cannot write {}: there is no folder {}",
                path.display(),
                folder.display()
            ))),
            _ if path.is_dir() => {
                Err(Failure::Usage(format!("cannot write {}: it is a folder", path.display())))
            }
            _ => Ok(()),
        }
    }

    fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut accepted = BTreeSet::new();
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.splitn(3, ' ');
            let (code, certainty, of_type) = (words.next(), words.next(), words.next());
            let is_code = code.is_some_and(|code| Kind::from_code(code).is_some());
            let is_certainty = matches!(certainty, Some("will" | "may"));
            if !is_code || !is_certainty || of_type.is_none() {
                let why = format!("`{line}` is not a code, `will` or `may`, and a type");
                return Err((number, why));
            }
            accepted.insert(line.to_owned());
        }
        Ok(Self(accepted))
    }

    /// Writes the named findings, in place of what the file had.
    pub fn write<'a>(path: &Path, findings: impl Iterator<Item = &'a Finding>) -> Result<usize> {
        let lines: BTreeSet<_> = findings.filter(|it| it.is_named).map(line).collect();
        let mut text = HEAD.to_owned();
        for line in &lines {
            let _ = writeln!(text, "{line}");
        }
        let written = fs::write(path, text);
        written.map_err(|error| Failure::File { action: "write", path: path.into(), error })?;
        Ok(lines.len())
    }

    /// Whether a finding is accepted. One that was accepted as sure is so as a possible one.
    pub fn accepts(&self, finding: &Finding) -> bool {
        let sure = format!("{} {} {}", finding.code, Certainty::Will.word(), finding.of_type);
        self.0.contains(&line(finding)) || self.0.contains(&sure)
    }
}

/// That a file is not there, and which one is that has a similar name.
fn missing(path: &Path) -> String {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let names: Vec<_> = files.filter_map(|file| file.file_name().into_string().ok()).collect();
    let typed = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let near = nearest::of(&typed, names.iter().map(String::as_str));
    let hint = match near {
        Some(near) => format!("did you mean `{}`?", path.with_file_name(near).display()),
        None => "`--accept` writes such a file".to_owned(),
    };
    format!("there is no baseline `{}`; {hint}", path.display())
}

fn line(finding: &Finding) -> String {
    format!("{} {} {}", finding.code, finding.certainty.word(), finding.of_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_a_finding_is_named() {
        assert!(Baseline::parse("# nothing\n\nSD0001 will app::Store<a::B, c::D>\n").is_ok());
        let (line, why) =
            Baseline::parse("SD0001 will app::Store\nSD0001 app::Store\n").unwrap_err();
        assert_eq!(line, 2);
        assert!(why.contains("SD0001 app::Store"), "{why}");
        assert!(Baseline::parse("SD9999 will app::Store").is_err());
        assert!(Baseline::parse("SD0001 will").is_err());
    }
}
