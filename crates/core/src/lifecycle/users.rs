//! Who uses a generation of a runtime together. The last to leave ends it.

use crate::sync::{Mutex, lock};

/// Counts those who use a generation together.
pub struct Users {
    state: Mutex<State>,
}

struct State {
    present: usize,
    /// The last has left to end the generation.
    closed: bool,
}

impl Default for Users {
    fn default() -> Self {
        Self::new()
    }
}

impl Users {
    /// Nobody uses it.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Mutex::new(State { present: 0, closed: false }) }
    }

    /// Adds a user. Returns `false` if the last one has left to end the generation.
    pub fn enter(&self) -> bool {
        let mut state = lock(&self.state);
        if !state.closed {
            state.present += 1;
        }
        !state.closed
    }

    /// Removes a user who wants the generation to end. Returns whether it was the last one, and must end
    /// the generation now. Of users who leave at once, exactly one is told so.
    pub fn leave_to_end(&self) -> bool {
        let mut state = lock(&self.state);
        state.present -= 1;
        state.closed |= state.present == 0;
        state.closed
    }

    /// Returns whether a user who has left must end the generation after all, because those it was left to have
    /// left without ending it. Of users who ask at once, exactly one is told so.
    pub fn take_over(&self) -> bool {
        let mut state = lock(&self.state);
        let is_deserted = state.present == 0 && !state.closed;
        state.closed |= is_deserted;
        is_deserted
    }

    /// Removes a user who does not care how the generation ends.
    pub fn leave(&self) {
        lock(&self.state).present -= 1;
    }

    /// How many there are now.
    pub fn present(&self) -> usize {
        lock(&self.state).present
    }
}
