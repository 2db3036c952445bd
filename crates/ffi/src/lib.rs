//! A C interface to the kit: a runtime that runs jobs and ends, and a gate. Every language has a way to call C.
//!
//! `include/sundown.h` is generated from this source and says what a caller in C has to know. The functions
//! are thin: they check pointers, keep what a call needs alive while it is under way, catch panics, and turn
//! the kit's answers into numbers and text.
//!
//! All unsafe code of the kit that is not about Python is here. It rests on what the header asks of a
//! caller, and each block says on which part.

mod answer;
mod border;
mod code;
mod fork;
mod gate;
mod job;
mod runtime;
mod unload;

pub use self::{
    answer::{SUNDOWN_TEXT_SIZE, SundownAnswer},
    code::{SundownCode, sundown_error_name},
    fork::sundown_forked_child,
    gate::{
        SundownEntry, SundownGate, sundown_gate_close, sundown_gate_enter, sundown_gate_free,
        sundown_gate_leave, sundown_gate_new, sundown_gate_wait,
    },
    job::{SundownDestroy, SundownJob, SundownRun, sundown_job_should_stop},
    runtime::{
        SundownRuntime, SundownState, SundownStats, sundown_free, sundown_restart, sundown_start,
        sundown_state, sundown_stop, sundown_submit,
    },
    unload::sundown_may_unload,
};
