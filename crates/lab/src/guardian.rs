//! The guardian: a process that outlives a run by a moment, to leave nothing of it behind.
