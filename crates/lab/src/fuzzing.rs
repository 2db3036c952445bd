//! What `crates/fuzz` calls besides the public interface. Each function panics if a promise is broken.
#![allow(clippy::expect_used, reason = "a panic is what the fuzzer looks for")]

use crate::{
    aftermath,
    report_pipe::{self, Line},
    stderr,
};

/// Reads a report, as a trial may have written it. A line that can be read can be written and read again.
pub fn report(bytes: &[u8]) {
    let report = report_pipe::read(bytes, bytes.first() == Some(&b'{'));
    let _ = format!("{report:?}");
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(line) = serde_json::from_slice::<Line>(line) else { continue };
        let written = serde_json::to_vec(&line).expect("a line can be written");
        let again = serde_json::from_slice::<Line>(&written).expect("a line can be read again");
        assert_eq!(again, line);
    }
}

/// Finds the panics and the errors in what a program has written to standard error, and the functions in what gdb has
/// written of its threads.
pub fn standard_error(text: &str) {
    for panic in stderr::panics(text) {
        assert!(!panic.site.contains('\n') && !panic.message.contains('\n'), "{panic:?}");
    }
    let _ = stderr::signature(text);
    for (_, function) in aftermath::functions(text) {
        assert!(!function.is_empty() && !function.contains('\n'), "{function:?}");
    }
}
