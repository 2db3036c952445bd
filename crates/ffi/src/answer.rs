//! What a call says besides its code.

use std::{ffi::c_char, fmt::Display, panic::Location, time::Duration};

use sundown::shutdown::{ShutdownError, ShutdownReport};

/// The size of the text of an answer, with its zero byte.
pub const SUNDOWN_TEXT_SIZE: usize = 1024;

/// What a call says besides its code: numbers, and a sentence for a person. It holds no memory of the library.
/// What a function does not speak of is zero.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct SundownAnswer {
    /// How long the call took, in nanoseconds.
    pub elapsed_ns: u64,
    /// How many jobs have run to their end so far: since the start, and also before a restart.
    pub ran: u64,
    /// How many jobs were dropped so far without being run, because the runtime was stopped.
    pub not_run: u64,
    /// How many jobs panicked so far. Only a job that is written in Rust can.
    pub panicked: u64,
    /// How many jobs had not ended when the call gave up.
    pub still_running: u64,
    /// How many threads of the library had not ended when the call gave up.
    pub threads: u64,
    /// The same as a sentence, in UTF-8, with what the library cannot see. It ends with a zero byte, and is cut
    /// if it is longer.
    pub text: [c_char; SUNDOWN_TEXT_SIZE],
}

impl Default for SundownAnswer {
    fn default() -> Self {
        Self::empty()
    }
}

impl SundownAnswer {
    pub(crate) const fn empty() -> Self {
        Self {
            elapsed_ns: 0,
            ran: 0,
            not_run: 0,
            panicked: 0,
            still_running: 0,
            threads: 0,
            text: [0; SUNDOWN_TEXT_SIZE],
        }
    }

    /// A sentence alone.
    pub(crate) fn said(what: impl Display) -> Self {
        let mut answer = Self::empty();
        answer.say(&what.to_string());
        answer
    }

    /// Everything has ended.
    pub(crate) fn ended(report: &ShutdownReport) -> Self {
        let place = report.aborted_tasks.first().map(|job| job.spawned_at);
        let text = without_place(report, place);
        Self { elapsed_ns: nanoseconds(report.elapsed), ..Self::said(text) }
    }

    pub(crate) fn failed(error: &ShutdownError) -> Self {
        let place = error.still_running.first().map(|job| job.spawned_at);
        Self {
            elapsed_ns: nanoseconds(error.elapsed),
            still_running: error.alive.tasks as u64,
            threads: error.alive.threads.len() as u64,
            ..Self::said(without_place(error, place))
        }
    }

    /// Sets the text. A zero byte in it becomes a space.
    fn say(&mut self, text: &str) {
        let text = &text[..text.floor_char_boundary(SUNDOWN_TEXT_SIZE - 1)];
        self.text = [0; SUNDOWN_TEXT_SIZE];
        for (place, byte) in self.text.iter_mut().zip(text.bytes()) {
            // A byte is a byte, whether C's `char` has a sign or not.
            *place = if byte == 0 { b' ' } else { byte } as c_char;
        }
    }
}

/// A text without the place in this crate where all jobs are spawned, which tells the caller nothing.
fn without_place(text: impl Display, place: Option<&Location<'_>>) -> String {
    let text = text.to_string();
    match place {
        Some(place) => text.replace(&format!(" (spawned at {place})"), ""),
        None => text,
    }
}

pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn text(answer: &SundownAnswer) -> &str {
        // SAFETY: the text ends with a zero byte.
        let text = unsafe { CStr::from_ptr(answer.text.as_ptr()) };
        text.to_str().unwrap_or("not UTF-8")
    }

    #[test]
    fn a_text_always_ends_and_is_cut_between_two_characters() {
        assert_eq!(text(&SundownAnswer::said("a\0b")), "a b");
        let long = "é".repeat(SUNDOWN_TEXT_SIZE);
        let cut = SundownAnswer::said(&long);
        assert_eq!(text(&cut), "é".repeat((SUNDOWN_TEXT_SIZE - 1) / 2));
        assert_eq!(
            text(&SundownAnswer::said("x".repeat(SUNDOWN_TEXT_SIZE - 1))).len(),
            SUNDOWN_TEXT_SIZE - 1
        );
        assert_eq!(
            text(&SundownAnswer::said("x".repeat(SUNDOWN_TEXT_SIZE))).len(),
            SUNDOWN_TEXT_SIZE - 1
        );
    }
}
