//! Wall time and CPU time.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// How long something took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// Wall time.
    pub wall: Duration,
    /// CPU time of all threads of this process.
    pub cpu: Duration,
}

/// A running clock.
pub struct Clock {
    cpu: Duration,
    began: Instant,
}

impl Clock {
    /// Starts a clock. The CPU time is read outside the measured wall time, because that is a system
    /// call.
    pub fn start() -> Self {
        Self { cpu: cpu(), began: Instant::now() }
    }

    /// The time since the start.
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
