//! When a stress has gone on for long enough.

use std::time::Duration;

/// When it is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// When this time is up, and everything has run once.
    Time(Duration),
    /// When everything has run so often.
    Rounds(u32),
}

impl End {
    /// Whether something that has run so often need not run again, so long after the beginning.
    pub fn has_come(self, runs: u32, elapsed: Duration) -> bool {
        match self {
            Self::Time(time) => runs > 0 && elapsed >= time,
            Self::Rounds(rounds) => runs >= rounds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_runs_once_however_short_the_time() {
        let (end, moment) = (End::Time(Duration::from_secs(2)), Duration::from_secs);
        assert!(!end.has_come(0, moment(9)));
        assert!(!end.has_come(5, moment(1)));
        assert!(end.has_come(1, moment(2)));
    }

    #[test]
    fn rounds_are_run_however_long_they_take() {
        let (end, hour) = (End::Rounds(2), Duration::from_secs(3600));
        assert!(!end.has_come(1, hour));
        assert!(end.has_come(2, Duration::ZERO));
    }
}
