//! Leaving the process: what to drop, what to leak, how long to try.
