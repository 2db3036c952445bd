//! Captures the output of a pipe, up to a limit.

use std::{
    collections::VecDeque,
    io::{self, PipeReader, Read as _},
    os::fd::{AsFd, BorrowedFd},
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// The reading end of a pipe. It keeps the beginning and the end of the output, and of the rest only the panics, so
/// endless output is truncated and never blocks the process that writes it.
#[derive(Debug)]
pub(crate) struct Capture {
    pipe: Option<PipeReader>,
    beginning: Vec<u8>,
    end: VecDeque<u8>,
    /// How many bytes of each are kept.
    half: usize,
    total: u64,
    dropped: Dropped,
    /// What comes now is no output of the trial.
    has_ended: bool,
}

/// What is kept of what is dropped between the beginning and the end.
#[derive(Debug, Default)]
struct Dropped {
    /// The line that is being dropped, as far as it was.
    line: Vec<u8>,
    /// The first three lines of each panic: the headline, the message, and of color-eyre the place.
    panics: Vec<u8>,
    /// How many of the next lines are those of a panic.
    of_panic: usize,
}

impl Dropped {
    /// The most that is kept of a line, and of all panics.
    const LINE: usize = 4 * 1024;
    const PANICS: usize = 64 * 1024;

    fn add(&mut self, bytes: impl IntoIterator<Item = u8>) {
        for byte in bytes {
            if self.line.len() < Self::LINE {
                self.line.push(byte);
            }
            if byte == b'\n' {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        if is_headline(&self.line) {
            self.of_panic = 3;
        }
        if self.of_panic > 0 && self.panics.len() < Self::PANICS {
            self.panics.append(&mut self.line);
        }
        self.line.clear();
        self.of_panic = self.of_panic.saturating_sub(1);
    }

    /// The panics, and the beginning of a line that goes on in what is kept, if it may be one of them.
    fn finish(mut self) -> Vec<u8> {
        if self.of_panic > 0 || String::from_utf8_lossy(&self.line).contains("thread '") {
            self.panics.append(&mut self.line);
        }
        self.panics
    }
}

fn is_headline(line: &[u8]) -> bool {
    // Most lines are none.
    line.windows(8).any(|word| word == b"panicked")
}

/// Captured output.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    /// All bytes; if there were too many, the first and the last.
    pub bytes: Vec<u8>,
    /// How many bytes came in total.
    pub total: u64,
    /// Where the last bytes begin, if some before them were dropped.
    gap: usize,
    /// The panics that were printed in between, and perhaps the beginning of the line that follows.
    panics: Vec<u8>,
}

impl Captured {
    /// Whether some bytes were dropped.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.total > self.bytes.len() as u64
    }

    /// The kept bytes as text. A line marks the dropped ones, and the panics among them follow it.
    #[must_use]
    pub fn text(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match self.bytes.split_at_checked(self.gap).filter(|_| self.is_cut()) {
            Some((first, last)) => {
                let left_out = self.total - self.bytes.len() as u64;
                let (first, last) = (text(first), text(&[&self.panics, last].concat()));
                format!("{first}\n[… {left_out} bytes left out …]\n{last}")
            }
            None => text(&self.bytes),
        }
    }

    /// The last lines, as text of about this many bytes at most.
    #[must_use]
    pub fn tail(&self, most: usize) -> String {
        let from = self.bytes.len().saturating_sub(most);
        let text = String::from_utf8_lossy(self.bytes.get(from..).unwrap_or_default());
        let text =
            if from > 0 { text.split_once('\n').map_or(&*text, |(_, rest)| rest) } else { &text };
        text.trim_end().to_owned()
    }
}

impl Capture {
    /// Starts to capture the output of a pipe. Only this end becomes non-blocking: the two ends of a pipe
    /// are separate open file descriptions.
    pub(crate) fn of(pipe: PipeReader, most: usize) -> io::Result<Self> {
        fcntl_setfl(&pipe, fcntl_getfl(&pipe)? | OFlags::NONBLOCK)?;
        let (beginning, end) = (Vec::new(), VecDeque::new());
        let (pipe, dropped) = (Some(pipe), Dropped::default());
        Ok(Self { pipe, beginning, end, half: most / 2, total: 0, dropped, has_ended: false })
    }

    /// The descriptor to poll, unless the pipe has ended.
    pub(crate) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads what is in the pipe without waiting for more. Reads at most as much as a pipe can hold, so that
    /// it returns even if a process never stops writing.
    pub(crate) fn take_what_is_there(&mut self) {
        let mut buffer = [0; 16 * 1024];
        for _ in 0..8 {
            let Some(pipe) = &mut self.pipe else { return };
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(_) if self.has_ended => {}
                Ok(n) => self.keep(buffer.get(..n).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.pipe = None,
            }
        }
    }

    fn keep(&mut self, came: &[u8]) {
        self.total += came.len() as u64;
        let room = came.len().min(self.half - self.beginning.len());
        let (first, last) = came.split_at(room);
        self.beginning.extend_from_slice(first);
        self.end.extend(last);
        let most = self.end.len().saturating_sub(self.half);
        if most > 0 && self.total - (self.end.len() as u64) == self.beginning.len() as u64 {
            // The line may have begun before.
            let line = self.beginning.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
            self.dropped.add(line.iter().copied());
        }
        self.dropped.add(self.end.drain(..most));
    }

    /// Takes what is there, and nothing that comes later.
    pub(crate) fn end(&mut self) {
        self.take_what_is_there();
        self.has_ended = true;
    }

    /// Whether a process still holds the writing end open.
    pub(crate) fn is_held(&self) -> bool {
        self.pipe.is_some()
    }

    pub(crate) fn finish(self) -> Captured {
        let (gap, mut bytes) = (self.beginning.len(), self.beginning);
        bytes.extend(self.end);
        Captured { bytes, total: self.total, gap, panics: self.dropped.finish() }
    }
}

#[cfg(test)]
impl Captured {
    pub(crate) fn of(text: &str) -> Self {
        Self { bytes: text.into(), total: text.len() as u64, gap: text.len(), panics: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_beginning_and_the_end_are_kept_and_the_rest_is_counted() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut capture = Capture::of(reader, 10).unwrap();
        writer.write_all(b"first").unwrap();
        writer.write_all(&[b'x'; 49_990]).unwrap();
        writer.write_all(b"final").unwrap();
        capture.take_what_is_there();
        assert!(capture.is_held());
        drop(writer);
        capture.take_what_is_there();
        assert!(!capture.is_held());
        let captured = capture.finish();
        assert_eq!((&captured.bytes[..], captured.total), (&b"firstfinal"[..], 50_000));
        assert!(captured.is_cut());
        assert_eq!(captured.text(), "first\n[… 49990 bytes left out …]\nfinal");
    }

    #[test]
    fn what_comes_after_the_end_is_read_and_not_kept() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut capture = Capture::of(reader, 100).unwrap();
        writer.write_all(b"in time").unwrap();
        capture.end();
        writer.write_all(b", and late").unwrap();
        drop(writer);
        capture.take_what_is_there();
        assert!(!capture.is_held());
        assert_eq!(capture.finish().text(), "in time");
    }

    #[test]
    fn a_panic_between_the_beginning_and_the_end_is_kept() {
        const PANIC: &str = "thread 'main' panicked at src/a.rs:1:2:\nlost\n";
        // Wherever the cuts are.
        for before in (0..120).chain([20_000]) {
            let (reader, mut writer) = io::pipe().unwrap();
            let mut capture = Capture::of(reader, 100).unwrap();
            for text in ["x\n".repeat(before / 2), PANIC.to_owned(), "y\n".repeat(before)] {
                writer.write_all(text.as_bytes()).unwrap();
                capture.take_what_is_there();
            }
            let text = capture.finish().text();
            let [panic] = &crate::stderr::panics(&text)[..] else { panic!("{before}: {text}") };
            assert_eq!(
                (&*panic.site, &*panic.message),
                ("src/a.rs:1:2", "lost"),
                "{before}: {text}"
            );
        }
    }

    #[test]
    fn the_tail_begins_at_a_line() {
        let captured = Captured::of("first line\nsecond\nthird\n");
        assert_eq!(captured.tail(15), "second\nthird");
        assert_eq!(captured.tail(1000), "first line\nsecond\nthird");
        assert_eq!(captured.text(), "first line\nsecond\nthird\n");
    }
}
