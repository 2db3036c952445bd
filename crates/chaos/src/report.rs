//! What was done to the program, as JSON.

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{place::Place, policy::Policy, survey::Survey};

/// What was done to the program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The policy's name.
    pub policy: String,
    /// The seed.
    pub seed: u64,
    /// How many threads were seen, in all processes.
    pub threads: u32,
    /// How often a thread stopped at a place of the policy.
    pub stops: BTreeMap<Place, u32>,
    /// How often it was then held.
    pub holds: BTreeMap<Place, u32>,
    /// For how long, all holds together, in microseconds.
    pub held_micros: u64,
    /// How often each thread came to what, if nothing was to be held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survey: Option<Survey>,
    /// The processes that the program left behind, by name. They were killed.
    pub left: Vec<String>,
}

impl Report {
    pub(crate) fn new(policy: &Policy, seed: u64) -> Self {
        Self {
            policy: policy.name.to_owned(),
            seed,
            threads: 0,
            stops: BTreeMap::new(),
            holds: BTreeMap::new(),
            held_micros: 0,
            survey: policy.holds_nothing().then(Survey::default),
            left: Vec::new(),
        }
    }

    pub(crate) fn stopped(&mut self, place: Place) {
        *self.stops.entry(place).or_default() += 1;
    }

    pub(crate) fn held(&mut self, place: Place, time: Duration) {
        *self.holds.entry(place).or_default() += 1;
        self.held_on(time);
    }

    /// A hold has become longer by this.
    pub(crate) fn held_on(&mut self, time: Duration) {
        self.held_micros += u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    }

    /// Writes it into a new file, which a reader never sees half-written.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let beside = path.with_extension("new");
        fs::write(&beside, serde_json::to_vec(self)?)?;
        fs::rename(beside, path)
    }
}
