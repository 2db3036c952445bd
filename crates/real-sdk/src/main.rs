//! Programs around the real matrix-sdk. The lab's trials become one of them: `real-sdk-0-18 close …`.
//!
//! A program is clean if it prints `the last line` and exits with 0, nothing panicked, and it reported no
//! problem. `crates/real-sdk/README.md` lists the programs.

#![recursion_limit = "256"]

mod close;
mod exits;
mod look;
mod machine;
mod off_context;
mod owners;
mod practice;
mod remote;
mod report;
mod setting;
mod steps;
mod usage;
mod work;

use std::env;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    look::count_panics();
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["close", "plain", work, on] => close::plain(work, on)?,
        #[cfg(feature = "pause")]
        ["close", "paused"] => close::paused()?,
        ["close", "kit", work, on, ref options @ ..] => close::with_the_kit(work, on, options)?,
        ["exits", "here", place] => exits::here(place)?,
        ["exits", "behind", how] => exits::behind(how)?,
        ["exits", "child", how] => exits::child(how)?,
        ["exits", "hangs", how] => exits::hangs(how)?,
        ["exits", "child-that-hangs", how] => exits::child_that_hangs(how)?,
        ["machine", way, cycles] => machine::churn(way, cycles)?,
        ["off_context", "plain", what, place, state] => off_context::plain(what, place, state)?,
        ["off_context", "kit", what, state] => off_context::with_the_kit(what, state)?,
        ["owners", "after-a-timeline", when] => owners::after_a_timeline(when)?,
        ["owners", moment] => owners::at(moment)?,
        ["practice", "wrapper", how] => practice::wrapper(how)?,
        ["practice", "in-a-task", what] => practice::in_a_task(what)?,
        ["practice", "leaked"] => practice::leaked()?,
        ["practice", "guarded", how] => practice::guarded(how)?,
        ["practice", "logins", way] => practice::logins(way)?,
        ["serve"] => remote::serve()?,
        ["steps", "plain", change] => steps::plain(change)?,
        ["steps", "kit"] => steps::with_the_kit()?,
        _ => bail!("there is no such program: {arguments:?}"),
    }
    println!("the last line");
    Ok(())
}
