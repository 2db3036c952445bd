//! Time: how long it took, and how much of the processors.

use std::time::{Duration, Instant};

use rustix::{time::ClockId, time::clock_gettime};

/// How long something took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// By the clock on the wall.
    pub wall: Duration,
    /// Of the processors, by all threads of this process.
    pub cpu: Duration,
}

/// A clock that runs.
pub struct Clock {
    cpu: Duration,
    began: Instant,
}

impl Clock {
    /// Starts a clock. The processors' time is asked for outside of what the wall's clock measures,
    /// because that is a call of the system.
    pub fn start() -> Self {
        Self { cpu: cpu(), began: Instant::now() }
    }

    /// What it shows.
    pub fn read(&self) -> Took {
        let wall = self.began.elapsed();
        Took { wall, cpu: cpu().saturating_sub(self.cpu) }
    }
}

impl std::ops::AddAssign for Took {
    fn add_assign(&mut self, other: Self) {
        self.wall += other.wall;
        self.cpu += other.cpu;
    }
}

fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}
