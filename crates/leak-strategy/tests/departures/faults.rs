//! Plans in which something fails: teardowns, the log, the ledger, the system.

use std::time::Duration;

use leak_strategy::{
    ledger::{Outcome, Reason},
    plan::ExitPlan,
    resource::Policy,
};
use rustix::process::Signal;
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

use crate::{
    CODE, OR_LEAK, PLAN, PLENTY, Plan, SHORT, TEAR_DOWN, add, add_noisy, departure, hang,
    park_forever,
};

#[test]
fn a_teardown_that_panics_hangs_or_fails_does_not_stop_the_others() {
    let left = departure(PLAN, |plan| {
        add_noisy(plan, "first\0", TEAR_DOWN, &[]);
        add(plan, "refusing", TEAR_DOWN, |_| Err("it is busy".into()));
        let short = Policy::TearDownOrLeak { within: Duration::from_millis(100) };
        add(plan, "hanging", short, hang);
        add(plan, "panicking", OR_LEAK, |_| panic!("it is broken"));
        add(plan, "impatient", Policy::TearDown { within: Duration::ZERO }, hang);
    });
    assert_eq!(left.as_asked().entries.len(), 5);
    let panicked = Reason::Panicked { message: "it is broken".to_owned() };
    assert_eq!(left.became("panicking"), (Outcome::Leaked, Some(&panicked)));
    assert_eq!(left.became("hanging"), (Outcome::Leaked, Some(&Reason::TimedOut)));
    let refused = Reason::Error { message: "it is busy".to_owned() };
    assert_eq!(left.became("refusing"), (Outcome::Failed, Some(&refused)));
    assert_eq!(left.became("impatient"), (Outcome::Failed, Some(&Reason::NoTimeLeft)));
    assert_eq!(left.became("first\0"), (Outcome::TornDown, None), "a bad name for a thread");
    assert!(left.entry("hanging").tried >= Duration::from_millis(100));
    assert!(left.stdout.ends_with("dropped first\0\n"), "{}", left.stdout);
}

#[test]
fn if_everything_hangs_the_process_leaves_with_its_code_and_a_complete_ledger() {
    let left = departure(Plan { limit: SHORT, ..PLAN }, |plan| {
        add(plan, "one", TEAR_DOWN, hang);
        add(plan, "two", OR_LEAK, hang);
        add(plan, "three", TEAR_DOWN, hang);
    });
    assert_eq!(left.as_asked().entries.len(), 3);
    for (name, outcome) in
        [("one", Outcome::Failed), ("two", Outcome::Leaked), ("three", Outcome::Failed)]
    {
        assert_eq!(left.became(name).0, outcome);
        // How far the plan comes depends on the machine.
        let Some(Reason::TimedOut | Reason::NoTimeLeft | Reason::Unfinished | Reason::NotReached) =
            left.became(name).1
        else {
            panic!("{:?}", left.entry(name))
        };
    }
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
    let left = departure(PLAN, |plan| {
        add_noisy(plan, "first", TEAR_DOWN, &[]);
        let held = Panics;
        add(plan, "doomed", TEAR_DOWN, move |_| {
            let _held = held;
            panic!("the first of two")
        });
        add_noisy(plan, "last", TEAR_DOWN, &[]);
    });
    assert_eq!(left.signal, Some(Signal::ABORT.as_raw()));
    assert_eq!(left.became("last"), (Outcome::TornDown, None));
    assert_eq!(left.became("doomed"), (Outcome::Failed, Some(&Reason::Unfinished)));
    assert_eq!(left.became("first"), (Outcome::Failed, Some(&Reason::NotReached)));
}

#[test]
fn a_teardown_that_leaves_waits_for_its_own_end_and_times_out() {
    let left = departure(PLAN, |plan| {
        let policy = Policy::TearDownOrLeak { within: Duration::from_millis(100) };
        let inner = plan.clone();
        add(plan, "impatient", policy, move |_exit| inner.leave(CODE + 1));
    });
    left.as_asked();
    assert_eq!(left.became("impatient"), (Outcome::Leaked, Some(&Reason::TimedOut)));
}

#[test]
fn a_ledger_that_cannot_be_written_is_reported_and_changes_nothing_else() {
    let left = departure(Plan { ledger: "/nowhere/exit.json", ..PLAN }, |_| ());
    assert_eq!(left.code, Some(CODE));
    assert!(left.stderr.contains("cannot write the exit ledger to /nowhere/exit.json"));
}

/// A log that only handles events.
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
    let lefts = [
        departure(Plan { limit: SHORT, ..PLAN }, |_| log_to(|| park_forever())),
        departure(PLAN, |_| log_to(|| panic!("the log is broken"))),
        departure(PLAN, |_| log_to(|| ExitPlan::builder(PLENTY).build().leave(CODE + 1))),
    ];
    for left in &lefts {
        left.as_asked();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn without_threads_everything_is_leaked_and_the_code_is_kept() {
    let left = departure(PLAN, |plan| {
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
    left.as_asked();
    assert!(matches!(left.became("client"), (Outcome::Leaked, Some(Reason::NoThread { .. }))));
    assert!(matches!(left.became("drafts"), (Outcome::Failed, Some(Reason::NoThread { .. }))));
    assert_eq!(left.stdout, "", "the thread that leaves has dropped nothing");
}
