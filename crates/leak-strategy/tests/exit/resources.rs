//! Resources are torn down in order, leaked by their policy, or refused.

use std::{cell::Cell, thread, time::Duration};

use leak_strategy::{
    app,
    ledger::{Outcome, PolicyKind, Reason},
    resource::Resource,
};
use sundown::{BackgroundTask, RuntimeOwner, Session};

use crate::{CODE, LEAK, Noisy, OR_LEAK, PLAN, Plan, TEAR_DOWN, add, add_noisy, noisy, run};

#[test]
fn a_resource_is_torn_down_before_those_that_it_needs() {
    let exited = run(PLAN, |plan| {
        add_noisy(plan, "runtime", TEAR_DOWN, &[]);
        add_noisy(plan, "client", OR_LEAK, &["runtime"]);
        add_noisy(plan, "rooms", LEAK, &[]);
        add_noisy(plan, "sync service", OR_LEAK, &["client", "runtime"]);
    });
    let names: Vec<_> = exited.expect_code().entries.iter().map(|entry| &*entry.name).collect();
    assert_eq!(names, ["sync service", "rooms", "client", "runtime"]);
    assert_eq!(exited.stdout, "dropped sync service\ndropped client\ndropped runtime\n");
    let rooms = exited.entry("rooms");
    assert_eq!((rooms.outcome, rooms.policy), (Outcome::Leaked, PolicyKind::Leak));
    assert_eq!(rooms.reason, Some(Reason::Policy { why: "it is harmless".to_owned() }));
    assert!(rooms.created_at.contains("main.rs:"), "{}", rooms.created_at);
}

thread_local!(static LEFT: Cell<Option<Slow>> = const { Cell::new(None) });

/// Takes its time to be dropped.
struct Slow;

impl Drop for Slow {
    fn drop(&mut self) {
        thread::sleep(Duration::from_millis(50));
        println!("dropped a thread-local of the client");
    }
}

#[test]
fn what_a_teardown_leaves_in_a_thread_local_is_dropped_before_what_it_needs() {
    let exited = run(PLAN, |plan| {
        add_noisy(plan, "runtime", TEAR_DOWN, &[]);
        let client = Resource::new("client", TEAR_DOWN, |_exit| {
            LEFT.set(Some(Slow));
            Ok(())
        });
        plan.add(client.needs("runtime")).unwrap();
    });
    assert_eq!(exited.expect_code().entries.len(), 2);
    assert_eq!(exited.outcome_of("client"), (Outcome::TornDown, None));
    assert_eq!(exited.stdout, "dropped a thread-local of the client\ndropped runtime\n");
}

#[test]
fn a_resource_that_is_still_needed_is_leaked_unless_its_policy_demands_a_teardown() {
    let exited = run(PLAN, |plan| {
        add_noisy(plan, "database", TEAR_DOWN, &[]);
        add_noisy(plan, "runtime", OR_LEAK, &[]);
        add_noisy(plan, "client", OR_LEAK, &["runtime", "database"]);
        add_noisy(plan, "room", LEAK, &["client"]);
    });
    exited.expect_code();
    let needed_by = |name: &str| Reason::StillNeeded { by: name.to_owned() };
    assert_eq!(exited.outcome_of("client"), (Outcome::Leaked, Some(&needed_by("room"))));
    assert_eq!(exited.outcome_of("runtime"), (Outcome::Leaked, Some(&needed_by("client"))));
    assert_eq!(exited.outcome_of("database"), (Outcome::TornDown, None));
    assert_eq!(exited.stdout, "dropped database\n");
}

#[test]
fn a_limit_of_zero_tears_nothing_down_and_the_ledger_names_everything() {
    let exited = run(Plan { limit: Duration::ZERO, ..PLAN }, |plan| {
        add_noisy(plan, "must", TEAR_DOWN, &[]);
        add_noisy(plan, "may", OR_LEAK, &[]);
        add_noisy(plan, "leaked", LEAK, &[]);
    });
    assert_eq!(exited.expect_code().entries.len(), 3);
    assert_eq!(exited.outcome_of("must"), (Outcome::Failed, Some(&Reason::NoTimeLeft)));
    assert_eq!(exited.outcome_of("may"), (Outcome::Leaked, Some(&Reason::NoTimeLeft)));
    assert_eq!(exited.stdout, "");
}

#[test]
fn the_ledger_names_what_a_teardown_leaks_with_its_token() {
    let exited = run(PLAN, |plan| {
        let held = Noisy("held");
        add(plan, "client", OR_LEAK, move |exit| {
            let leaked = exit.leak(held, "it would not close");
            println!("still of use: {}", leaked.0);
            Ok(())
        });
    });
    exited.expect_code();
    let [leak] = &*exited.entry("client").leaks else { panic!("one leak") };
    assert_eq!((&*leak.what, &*leak.why), ("exit::Noisy", "it would not close"));
    assert!(leak.leaked_at.contains("resources.rs:"), "{}", leak.leaked_at);
    assert_eq!(exited.stdout, "still of use: held\n");
}

#[test]
fn a_resource_that_is_registered_while_leaving_is_refused_and_leaked() {
    let exited = run(PLAN, |plan| {
        let inner = plan.clone();
        add(plan, "outer", TEAR_DOWN, move |_exit| Ok(inner.add(noisy("inner", TEAR_DOWN))?));
    });
    exited.expect_code();
    assert_eq!(exited.outcome_of("inner"), (Outcome::Leaked, Some(&Reason::TooLate)));
    let (Outcome::Failed, Some(Reason::Error { message })) = exited.outcome_of("outer") else {
        panic!("{:?}", exited.outcome_of("outer"))
    };
    assert!(message.contains("`inner`"), "{message}");
    assert_eq!(exited.stdout, "", "no destructor of what it captured has run");
}

/// Needs a runtime in its destructor, as the connections of a pool do.
struct Client;

impl Drop for Client {
    fn drop(&mut self) {
        tokio::task::spawn_blocking(|| println!("client closed"));
    }
}

#[test]
fn the_four_resources_of_an_application_end_in_order_and_every_request_is_carried_out() {
    let exited = run(PLAN, |plan| {
        let runtime = RuntimeOwner::builder("matrix").workers(1).start().unwrap();
        let handle = runtime.handle().unwrap();
        let (sender, mut requests) = tokio::sync::mpsc::unbounded_channel();
        let worker = BackgroundTask::spawn_on(&handle, "requests", |_stop| async move {
            while let Some(request) = requests.recv().await {
                println!("request {request}");
            }
        });
        let sync = BackgroundTask::spawn_on(&handle, "sync", |stop| async move {
            stop.await;
            println!("sync service stopped");
        });
        (1..=3).for_each(|request| sender.send(request).unwrap());
        plan.add(app::runtime(OR_LEAK, runtime)).unwrap();
        plan.add(app::client(OR_LEAK, Client)).unwrap();
        plan.add(app::sync_service(OR_LEAK, sync)).unwrap();
        plan.add(app::request_sender(OR_LEAK, sender, worker)).unwrap();
    });
    let outcomes: Vec<_> =
        exited.expect_code().entries.iter().map(|entry| (&*entry.name, entry.outcome)).collect();
    let all = [app::REQUEST_SENDER, app::SYNC_SERVICE, app::CLIENT, app::RUNTIME];
    assert_eq!(outcomes, all.map(|name| (name, Outcome::TornDown)));
    let printed = "request 1\nrequest 2\nrequest 3\nsync service stopped\nclient closed\n";
    assert_eq!(exited.stdout, printed);
    let at = &exited.entry(app::CLIENT).created_at;
    assert!(at.contains("resources.rs:"), "the place of the call of `app::client`: {at}");
}

#[test]
fn a_session_is_closed_or_the_ledger_says_who_holds_it() {
    let exited = run(PLAN, |plan| {
        let free = Session::new("free").unwrap();
        drop(free.guard(Client).unwrap());
        let held = Session::new("held").unwrap();
        let _holder = held.guard(Client).unwrap();
        plan.add(app::leaked_runtime(())).unwrap();
        plan.add(Resource::new("held", OR_LEAK, move |_exit| {
            // Far below the plan's limit, so that even a busy machine has time for the answer.
            let _ = held.close_blocking(Duration::from_millis(100))?;
            Ok(())
        }))
        .unwrap();
        plan.add(app::session(OR_LEAK, free)).unwrap();
        // While the holder lives.
        plan.leave(CODE)
    });
    exited.expect_code();
    assert_eq!(exited.outcome_of(app::CLIENT), (Outcome::TornDown, None));
    let (Outcome::Leaked, Some(Reason::Error { message })) = exited.outcome_of("held") else {
        panic!("{:?}", exited.outcome_of("held"))
    };
    assert!(message.contains("resources.rs:"), "{message}");
    assert_eq!(exited.stdout, "client closed\n", "the held client stays open");
}

#[test]
fn two_logins_have_a_name_each() {
    let exited = run(PLAN, |plan| {
        plan.add(app::leaked_runtime(())).unwrap();
        let [first, second, third] =
            [1, 2, 3].map(|number| Session::new(format!("login {number}")).unwrap());
        plan.add(app::session(TEAR_DOWN, first)).unwrap();
        let refused = plan.add(app::session(TEAR_DOWN, second)).unwrap_err();
        assert!(refused.to_string().contains("client"), "{refused}");
        plan.add(app::session(TEAR_DOWN, third).named("the other client")).unwrap();
        plan.leave(CODE)
    });
    exited.expect_code();
    assert_eq!(exited.outcome_of(app::CLIENT), (Outcome::TornDown, None));
    assert_eq!(exited.outcome_of("the other client"), (Outcome::TornDown, None));
}
