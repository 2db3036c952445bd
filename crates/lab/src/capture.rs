//! Captures the output of a pipe, up to a limit.

use std::{
    collections::VecDeque,
    io::{self, PipeReader, Read as _},
    os::fd::{AsFd, BorrowedFd},
};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// The reading end of a pipe. It keeps the beginning and the end of the output, and counts the rest, so
/// endless output is truncated and never blocks the process that writes it.
#[derive(Debug)]
pub(crate) struct Capture {
    pipe: Option<PipeReader>,
    beginning: Vec<u8>,
    end: VecDeque<u8>,
    /// How many bytes of each are kept.
    half: usize,
    total: u64,
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
}

impl Captured {
    /// Whether some bytes were dropped.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.total > self.bytes.len() as u64
    }

    /// The kept bytes as text. A line marks the dropped ones.
    #[must_use]
    pub fn text(&self) -> String {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        match self.bytes.split_at_checked(self.gap).filter(|_| self.is_cut()) {
            Some((first, last)) => {
                let left_out = self.total - self.bytes.len() as u64;
                format!("{}\n[… {left_out} bytes left out …]\n{}", text(first), text(last))
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
        Ok(Self { pipe: Some(pipe), beginning, end, half: most / 2, total: 0 })
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
        self.end.drain(..self.end.len().saturating_sub(self.half));
    }

    /// Whether a process still holds the writing end open.
    pub(crate) fn is_held(&self) -> bool {
        self.pipe.is_some()
    }

    pub(crate) fn finish(self) -> Captured {
        let (gap, mut bytes) = (self.beginning.len(), self.beginning);
        bytes.extend(self.end);
        Captured { bytes, total: self.total, gap }
    }
}

#[cfg(test)]
impl Captured {
    pub(crate) fn of(text: &str) -> Self {
        Self { bytes: text.into(), total: text.len() as u64, gap: text.len() }
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
    fn the_tail_begins_at_a_line() {
        let captured = Captured::of("first line\nsecond\nthird\n");
        assert_eq!(captured.tail(15), "second\nthird");
        assert_eq!(captured.tail(1000), "first line\nsecond\nthird");
        assert_eq!(captured.text(), "first line\nsecond\nthird\n");
    }
}
