//! Logout as a state machine.
