//! Plans in which something fails: a teardown, the log, the ledger, the system.

use std::{sync::mpsc, time::Duration};

use leak_strategy::{
    ledger::{Outcome, Reason},
    plan::ExitPlan,
    resource::{Policy, Resource},
};
use rustix::process::Signal;
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

use crate::{
    CODE, OR_LEAK, PLAN, PLENTY, Plan, SHORT, TEAR_DOWN, add, add_noisy, hang, park_forever, run,
};

#[test]
fn a_teardown_that_panics_hangs_or_fails_does_not_stop_the_others() {
    let exited = run(PLAN, |plan| {
        add_noisy(plan, "first\0", TEAR_DOWN, &[]);
        add(plan, "refusing", TEAR_DOWN, |_| Err("it is busy".into()));
        let short = Policy::TearDownOrLeak { within: Duration::from_millis(100) };
        add(plan, "hanging", short, hang);
        add(plan, "panicking", OR_LEAK, |_| panic!("it is broken"));
        add(plan, "impatient", Policy::TearDown { within: Duration::ZERO }, hang);
    });
    assert_eq!(exited.expect_code().entries.len(), 5);
    let panicked = Reason::Panicked { message: "it is broken".to_owned() };
    assert_eq!(exited.outcome_of("panicking"), (Outcome::Leaked, Some(&panicked)));
    assert_eq!(exited.outcome_of("hanging"), (Outcome::Leaked, Some(&Reason::TimedOut)));
    let refused = Reason::Error { message: "it is busy".to_owned() };
    assert_eq!(exited.outcome_of("refusing"), (Outcome::Failed, Some(&refused)));
    assert_eq!(exited.outcome_of("impatient"), (Outcome::Failed, Some(&Reason::NoTimeLeft)));
    assert_eq!(exited.outcome_of("first\0"), (Outcome::TornDown, None), "a bad name for a thread");
    assert!(exited.entry("hanging").tried >= Duration::from_millis(100));
    assert!(exited.stdout.ends_with("dropped first\0\n"), "{}", exited.stdout);
    // Nobody listens to the log.
    for (begins, ends) in [
        ("error: `refusing`, created at ", " was not torn down: its teardown failed: it is busy"),
        ("error: `impatient`, created at ", " was not torn down: there was no time left to try"),
        ("warning: `hanging`, created at ", " was leaked: its limit passed"),
        ("warning: `panicking`, created at ", " was leaked: its teardown panicked: it is broken"),
    ] {
        let mut lines = exited.stderr.lines().filter(|line| line.starts_with(begins));
        let (line, another) = (lines.next().unwrap_or_default(), lines.next());
        assert!(line.ends_with(ends) && another.is_none(), "{}", exited.stderr);
    }
    assert!(!exited.stderr.contains("`first"), "{}", exited.stderr);
}

/// What a panic carries, and whose destructor does not return.
struct Hangs;

impl Drop for Hangs {
    fn drop(&mut self) {
        park_forever();
    }
}

#[test]
fn the_destructor_of_a_panics_payload_does_not_delay_an_exit() {
    let exited = run(PLAN, |plan| {
        add(plan, "panicking", OR_LEAK, |_| std::panic::resume_unwind(Box::new(Hangs)));
    });
    let (outcome, reason) = exited.outcome_of("panicking");
    assert_eq!(outcome, Outcome::Leaked);
    assert!(matches!(reason, Some(Reason::Panicked { .. })), "{reason:?}");
}

#[test]
fn if_everything_hangs_the_process_leaves_with_its_code_and_a_complete_ledger() {
    let exited = run(Plan { limit: SHORT, ..PLAN }, |plan| {
        add(plan, "one", TEAR_DOWN, hang);
        add(plan, "two", OR_LEAK, hang);
        add(plan, "three", TEAR_DOWN, hang);
    });
    assert_eq!(exited.expect_code().entries.len(), 3);
    for (name, outcome) in
        [("one", Outcome::Failed), ("two", Outcome::Leaked), ("three", Outcome::Failed)]
    {
        assert_eq!(exited.outcome_of(name).0, outcome);
        // How far the plan gets depends on the machine.
        let Some(Reason::TimedOut | Reason::NoTimeLeft | Reason::Unfinished | Reason::NotReached) =
            exited.outcome_of(name).1
        else {
            panic!("{:?}", exited.entry(name))
        };
    }
}

/// One hangs, and is given all the time that the plan has.
#[test]
fn a_teardown_that_hangs_leaves_time_to_those_that_it_does_not_need() {
    let exited = run(Plan { limit: 2 * SHORT, ..PLAN }, |plan| {
        add_noisy(plan, "lock file", TEAR_DOWN, &[]);
        add_noisy(plan, "runtime", OR_LEAK, &[]);
        let short = Policy::TearDown { within: Duration::from_millis(20) };
        add(plan, "hanging too", short, hang);
        plan.add(Resource::new("hanging", TEAR_DOWN, hang).needs("runtime")).unwrap();
    });
    exited.expect_code();
    assert_eq!(exited.outcome_of("lock file"), (Outcome::TornDown, None), "{}", exited.stdout);
    let needed = Reason::StillNeeded { by: "hanging".to_owned() };
    assert_eq!(exited.outcome_of("runtime"), (Outcome::Leaked, Some(&needed)));
    for name in ["hanging", "hanging too"] {
        assert_eq!(exited.outcome_of(name), (Outcome::Failed, Some(&Reason::TimedOut)));
    }
}

/// It ends only when the others have been torn down, for which the plan does not take its time away.
#[test]
fn a_slow_teardown_goes_on_while_the_others_end_and_what_it_needs_comes_last() {
    let exited = run(Plan { limit: SHORT, ..PLAN }, |plan| {
        let (sender, others_have_ended) = mpsc::channel();
        add_noisy(plan, "runtime", TEAR_DOWN, &[]);
        add(plan, "lock file", TEAR_DOWN, move |_exit| Ok(sender.send(())?));
        let slow = Resource::new("slow", TEAR_DOWN, move |_exit| {
            println!("{:?}", others_have_ended.recv());
            Ok(())
        });
        plan.add(slow.needs("runtime")).unwrap();
    });
    exited.expect_code();
    for name in ["runtime", "lock file", "slow"] {
        assert_eq!(exited.outcome_of(name), (Outcome::TornDown, None));
    }
    assert_eq!(exited.stdout, "Ok(())\ndropped runtime\n");
}

#[test]
fn the_ledger_names_the_teardown_that_aborted_the_process() {
    /// Panics while a panic unwinds.
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("one too many");
        }
    }
    let exited = run(PLAN, |plan| {
        add_noisy(plan, "first", TEAR_DOWN, &[]);
        let held = Panics;
        add(plan, "doomed", TEAR_DOWN, move |_| {
            let _held = held;
            panic!("the first of two")
        });
        add_noisy(plan, "last", TEAR_DOWN, &[]);
    });
    assert_eq!(exited.signal, Some(Signal::ABORT.as_raw()));
    assert_eq!(exited.outcome_of("last"), (Outcome::TornDown, None));
    assert_eq!(exited.outcome_of("doomed"), (Outcome::Failed, Some(&Reason::Unfinished)));
    assert_eq!(exited.outcome_of("first"), (Outcome::Failed, Some(&Reason::NotReached)));
}

#[test]
fn a_teardown_that_leaves_waits_for_its_own_end_and_times_out() {
    let exited = run(PLAN, |plan| {
        let policy = Policy::TearDownOrLeak { within: Duration::from_millis(100) };
        let inner = plan.clone();
        add(plan, "impatient", policy, move |_exit| inner.leave(CODE + 1));
    });
    exited.expect_code();
    assert_eq!(exited.outcome_of("impatient"), (Outcome::Leaked, Some(&Reason::TimedOut)));
}

#[test]
fn a_ledger_that_cannot_be_written_is_reported_and_changes_nothing_else() {
    let exited = run(Plan { ledger: "/nowhere/exit.json", ..PLAN }, |_| ());
    assert_eq!(exited.code, Some(CODE));
    assert!(exited.stderr.contains("cannot write the exit ledger to /nowhere/exit.json"));
}

/// A log that calls a function for each event.
struct Log(fn());

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {
        self.0();
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn log_to(event: fn()) {
    tracing::subscriber::set_global_default(Log(event)).unwrap();
}

#[test]
fn a_log_that_hangs_panics_or_leaves_does_not_stop_the_exit() {
    let exits = [
        run(Plan { limit: SHORT, ..PLAN }, |_| log_to(|| park_forever())),
        run(PLAN, |_| log_to(|| panic!("the log is broken"))),
        run(PLAN, |_| log_to(|| ExitPlan::builder(PLENTY).build().leave(CODE + 1))),
    ];
    for exited in &exits {
        exited.expect_code();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn without_threads_everything_is_leaked_and_the_code_is_kept() {
    let exited = run(PLAN, |plan| {
        use rustix::process::{Resource, Rlimit, setrlimit};

        add_noisy(plan, "client", OR_LEAK, &[]);
        add_noisy(plan, "drafts", TEAR_DOWN, &[]);
        // A little more memory, but less than the stack of another thread.
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
        let kib: u64 = size.split_whitespace().next().unwrap().parse().unwrap();
        let most = Some((kib + 1024) * 1024);
        setrlimit(Resource::As, Rlimit { current: most, maximum: most }).unwrap();
    });
    exited.expect_code();
    assert!(matches!(
        exited.outcome_of("client"),
        (Outcome::Leaked, Some(Reason::NoThread { .. }))
    ));
    assert!(matches!(
        exited.outcome_of("drafts"),
        (Outcome::Failed, Some(Reason::NoThread { .. }))
    ));
    assert_eq!(exited.stdout, "", "the leaving thread has dropped nothing");
}
