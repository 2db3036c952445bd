//! Standard output.

use std::io;

use crate::failure::{Failure, Result};

/// Whether something was written. Whoever reads it may have seen enough, which is no error.
pub fn written(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::File { action: "write to", path: "standard output".into(), error })
        }
        _ => Ok(()),
    }
}
