//! Leaves after `main` has returned, in the destructor of a thread-local of the main thread.
//!
//! `thread_local normal` shows the one place where a normal exit takes the plan's whole limit: see
//! `Exit::Normal`. The tests run both.

use std::{cell::RefCell, env, time::Duration};

use sundown::exit::{
    plan::{Exit, ExitPlan, PlanError},
    resource::{Policy, Resource},
};

struct LeavesWhenDropped(ExitPlan);

impl Drop for LeavesWhenDropped {
    fn drop(&mut self) {
        self.0.leave(7)
    }
}

thread_local! {
    static LEAVES: RefCell<Option<LeavesWhenDropped>> = const { RefCell::new(None) };
}

fn main() -> Result<(), PlanError> {
    let exit = if env::args().len() > 1 { Exit::Normal } else { Exit::Immediate };
    let plan = ExitPlan::builder(Duration::from_secs(1)).by(exit).build();
    let policy = Policy::TearDown { within: Duration::from_secs(1) };
    plan.add(Resource::new("client", policy, |_exit| {
        println!("torn down");
        Ok(())
    }))?;
    LEAVES.set(Some(LeavesWhenDropped(plan)));
    println!("main returns");
    Ok(())
}
