//! How a service ends that was not asked by a signal, and what its answer says.

use std::{
    future::pending,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use sundown::{
    ShutdownErrorKind, Stop,
    limit::PLENTY,
    service::{AskedBy, Builder, ServiceErrorKind},
};

use crate::process::{Ended, SHORT, SLACK, alone, service};

#[test]
fn a_failure_of_the_work_is_the_error_of_the_service() {
    alone(|| {
        let failed = service().run(|_| async { Err("the port is taken".into()) }).unwrap_err();
        let text = failed.to_string();
        assert!(
            text.contains("asked by the end of its work, has failed: the port is taken"),
            "{text}"
        );

        let panicked = service().run(|_| async { panic!("no configuration") }).unwrap_err();
        assert!(panicked.to_string().contains("panicked: no configuration"), "{panicked}");
    });
}

#[test]
fn a_task_that_fails_stops_the_service_if_that_is_asked_for() {
    alone(|| {
        fn with_a_listener(builder: Builder) -> Ended {
            builder.run(|service| async move {
                service.try_spawn("listener", |_| async { Err("address in use") });
                let mut stop = service.stop_signal();
                tokio::select! {
                    () = &mut stop => {}
                    () = tokio::time::sleep(Duration::from_millis(200)) => {}
                }
                Ok(())
            })
        }
        for (builder, by) in
            [(service().stop_on_failure(), AskedBy::Tasks), (service(), AskedBy::Work)]
        {
            let failed = with_a_listener(builder).unwrap_err();
            assert!(failed.to_string().contains("failed: address in use"), "{failed}");
            let ServiceErrorKind::Ended { asked_by, .. } = failed.kind else { panic!("{failed}") };
            assert_eq!(asked_by, by);
        }
    });
}

#[test]
fn a_panic_stops_the_service_if_that_is_asked_for() {
    alone(|| {
        let failed = service().stop_on_failure().run(|service| async move {
            service.spawn("parser", |_| async { panic!("a bad byte") });
            service.stop_signal().await;
            Ok(())
        });
        assert!(failed.unwrap_err().to_string().contains("panicked: a bad byte"));
    });
}

#[test]
fn a_task_of_a_group_that_fails_stops_the_service_if_that_is_asked_for() {
    alone(|| {
        for (builder, by) in
            [(service().stop_on_failure(), AskedBy::Tasks), (service(), AskedBy::Work)]
        {
            let failed = builder.run(|service| async move {
                // Each at another depth.
                let (groups, failure) = (service.group("database"), || async { Err("disk full") });
                let below = groups.child("tables")?;
                below.try_spawn("writer", move |_| failure())?;
                let mut stop = service.stop_signal();
                tokio::select! {
                    () = &mut stop => {}
                    () = tokio::time::sleep(Duration::from_millis(200)) => {}
                }
                Ok(())
            });
            let failed = failed.unwrap_err();
            assert!(failed.to_string().contains("failed: disk full"), "{failed}");
            let ServiceErrorKind::Ended { asked_by, .. } = failed.kind else { panic!("{failed}") };
            assert_eq!(asked_by, by);
        }
    });
}

#[test]
fn a_panic_below_a_group_is_told_by_the_service() {
    alone(|| {
        let failed = service().run(|service| async move {
            let requests = service.group("requests");
            let request = requests.child("request")?;
            request.spawn("parser", |_| async { panic!("a bad byte") })?;
            drop(request.drain(PLENTY).await);
            Ok(())
        });
        let text = failed.unwrap_err().to_string();
        assert!(text.contains("panicked: a bad byte"), "{text}");
    });
}

/// A group that ends at once takes no time from the requests that use it.
#[test]
fn a_task_has_most_of_the_limit_whatever_groups_there_are() {
    alone(|| {
        let limit = Duration::from_secs(4);
        let report = service().limit(limit).run(move |service| async move {
            service.group("storage").spawn("writer", |stop| stop)?;
            service.spawn("request", move |stop| async move {
                stop.await;
                // Less than three quarters.
                tokio::time::sleep(limit * 6 / 10).await;
            });
            Ok(())
        });
        let report = report.unwrap();
        assert!(report.is_graceful(), "{report}");
    });
}

/// A server that is no task, for example, has only that.
#[test]
fn a_group_of_which_somebody_has_a_stop_signal_is_not_forgotten() {
    alone(|| {
        let report = service().run(|service| async move {
            let signals: Vec<_> = (0..200).map(|_| service.group("server").stop_signal()).collect();
            let raised = signals.iter().filter(|signal| signal.is_raised()).count();
            if raised > 0 {
                return Err(format!("{raised} were asked to stop").into());
            }
            Ok(())
        });
        assert!(report.is_ok(), "{report:?}");
    });
}

#[test]
fn groups_go_down_after_the_tasks_and_the_youngest_first() {
    alone(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&order);
        let report = service().run(|service| async move {
            let note = move |name: &'static str| {
                let seen = Arc::clone(&seen);
                move |stop: Stop| async move {
                    stop.await;
                    seen.lock().unwrap().push(name);
                    // Whoever is next has the time to be too early.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    seen.lock().unwrap().push("told");
                }
            };
            service.group("database").spawn("database", note("database"))?;
            service.group("requests").spawn("request", note("request"))?;
            service.spawn("listener", note("listener"));
            Ok(())
        });
        assert!(report.unwrap().is_graceful());
        assert_eq!(
            *order.lock().unwrap(),
            ["listener", "told", "request", "told", "database", "told"]
        );
    });
}

#[test]
fn a_group_that_is_made_while_others_go_down_is_waited_for_and_its_failure_is_told() {
    alone(|| {
        let late = |fails: bool| {
            service().limit(SHORT).run(move |service| async move {
                let database = service.group("database");
                let services = service.clone();
                database.spawn("database", move |stop| async move {
                    stop.await;
                    let late = services.group("late");
                    if fails {
                        late.try_spawn("writer", |_| async { Err("disk full") }).unwrap();
                    } else {
                        // For ever.
                        std::mem::forget(late.hold("request").unwrap());
                    }
                })?;
                Ok(())
            })
        };
        let held = late(false).unwrap_err().to_string();
        assert!(held.contains("`request` (spawned at "), "{held}");
        let failed = late(true).unwrap_err().to_string();
        assert!(failed.contains("failed: disk full"), "{failed}");
    });
}

#[test]
fn a_group_of_a_service_that_has_ended_takes_no_tasks() {
    alone(|| {
        let kept = Arc::new(Mutex::new(None));
        let keeps = Arc::clone(&kept);
        let report = service().run(|service| async move {
            *keeps.lock().unwrap() = Some(service);
            Ok(())
        });
        assert!(report.unwrap().is_graceful());
        let service = kept.lock().unwrap().take().unwrap();
        assert!(service.group("too late").hold("request").is_err());
        assert!(service.tasks().hold("request").is_err());
        service.spawn("too late", |_| async { panic!("it runs") });
        service.stop();
    });
}

#[test]
fn a_grace_takes_at_most_half_of_the_limit() {
    alone(|| {
        let began = Instant::now();
        let limit = 2 * SHORT;
        let report = service().limit(limit).grace(Duration::MAX).run(move |service| async move {
            service.stop();
            let mut stop = service.stop_signal();
            (&mut stop).await;
            // It still has the time to end.
            tokio::time::sleep(limit / 20).await;
            Ok(())
        });
        let report = report.unwrap();
        assert!(report.is_graceful(), "{report}");
        assert!(report.elapsed >= limit / 2 && began.elapsed() < limit + SLACK);
    });
}

/// What a service says that is cut off: a request does not end, and a task of its database needs so long after the stop.
fn cut_off(limit: Duration, needs: Duration) -> String {
    let failed = service().limit(limit).run(move |service| async move {
        service.group("database").spawn("flush", move |stop| async move {
            stop.await;
            tokio::time::sleep(needs).await;
        })?;
        std::mem::forget(service.tasks().hold("GET /events")?);
        Ok(())
    });
    let text = failed.unwrap_err().to_string();
    assert!(text.contains("`GET /events` (spawned at "), "{text}");
    text
}

#[test]
fn a_task_that_does_not_end_leaves_time_to_the_groups() {
    // They have a tenth of the limit, of which 100 ms are for the abort: long beside what it takes, on a busy machine too.
    alone(|| {
        let text = cut_off(4 * SHORT, Duration::from_millis(1));
        assert!(!text.contains("`database`: 1 task aborted"), "{text}");
    });
}

#[test]
fn what_was_cut_off_in_a_group_is_named() {
    alone(|| {
        let text = cut_off(2 * SHORT, PLENTY);
        assert!(text.contains("`database`: 1 task aborted: `flush`"), "{text}");
    });
}

#[test]
fn foreign_tasks_get_the_limit_to_end_and_what_is_left_is_counted() {
    alone(|| {
        let report = service().run(|_| async {
            drop(tokio::spawn(tokio::time::sleep(Duration::from_millis(300))));
            Ok(())
        });
        assert!(report.unwrap().is_graceful(), "it ended by itself");

        let report = service().limit(3 * SHORT).run(|_| async {
            drop(tokio::spawn(pending::<()>()));
            Ok(())
        });
        let report = report.unwrap();
        assert_eq!(report.ended.last().unwrap().foreign, 1);
        assert!(report.to_string().contains("1 foreign task cut off"), "{report}");
    });
}

/// A panic prints a backtrace, which takes a moment.
#[test]
fn a_destructor_of_a_foreign_task_has_time_when_that_is_cut_off() {
    alone(|| {
        struct TakesAMoment;
        impl Drop for TakesAMoment {
            fn drop(&mut self) {
                thread::sleep(Duration::from_millis(300));
            }
        }
        let report = service().limit(2 * SHORT).run(|_| async {
            drop(tokio::spawn(async {
                let _dropped = TakesAMoment;
                pending::<()>().await;
            }));
            Ok(())
        });
        assert_eq!(report.unwrap().ended.last().unwrap().foreign, 1);
    });
}

#[test]
fn a_request_that_is_held_is_waited_for_and_named() {
    alone(|| {
        let failed = service().limit(SHORT).run(|service| async move {
            let held = service.tasks().hold("GET /events")?;
            // Foreign code, which keeps it for ever.
            thread::spawn(move || {
                let _held = held;
                thread::sleep(PLENTY);
            });
            Ok(())
        });
        let ServiceErrorKind::Ended { ended, .. } = failed.unwrap_err().kind else { panic!() };
        let tasks = ended.first().unwrap().as_ref().unwrap_err();
        assert!(matches!(tasks.kind, ShutdownErrorKind::TimedOut));
        assert_eq!(tasks.still_running[0].name, "GET /events");
    });
}

#[test]
fn a_request_that_is_cut_off_with_a_foreign_task_is_named() {
    alone(|| {
        let report = service().limit(SHORT).run(|service| async move {
            let held = service.tasks().hold("GET /events")?;
            drop(tokio::spawn(async {
                let _held = held;
                pending::<()>().await;
            }));
            Ok(())
        });
        let report = report.unwrap().to_string();
        assert!(report.contains("1 foreign task cut off"), "{report}");
        assert!(report.contains("1 task aborted: `GET /events`"), "{report}");
    });
}

/// A service may make a group for each request.
#[test]
fn groups_that_have_ended_take_no_time_from_the_others() {
    alone(|| {
        let builder = service().limit(Duration::from_secs(10));
        let report = builder.run(|service| async move {
            for _ in 0..200 {
                let group = service.group("request");
                group.spawn("its task", |_| async {})?;
                let _ = group.drain(PLENTY).await;
            }
            service.spawn("saves", |stop| async move {
                stop.await;
                // Longer than an equal share for each group.
                tokio::time::sleep(Duration::from_millis(400)).await;
            });
            Ok(())
        });
        let report = report.unwrap();
        assert!(report.is_graceful(), "{report}");
    });
}

#[test]
fn a_thread_that_makes_groups_without_end_does_not_keep_the_service() {
    alone(|| {
        let began = Instant::now();
        let enough = Arc::new(AtomicBool::new(false));
        let is_enough = Arc::clone(&enough);
        let ended = service().limit(SHORT).run(|service| async move {
            thread::spawn(move || {
                while !is_enough.load(Ordering::Relaxed) {
                    drop(service.group("one more"));
                }
            });
            Ok(())
        });
        enough.store(true, Ordering::Relaxed);
        assert!(ended.is_ok(), "{ended:?}");
        assert!(began.elapsed() < SHORT + SLACK, "it took {:?}", began.elapsed());
    });
}

/// There, Tokio's own thread-locals may be gone.
#[test]
fn a_service_runs_in_the_destructor_of_a_thread_local() {
    alone(|| {
        struct Runs(Arc<Mutex<Option<Ended>>>);
        impl Drop for Runs {
            fn drop(&mut self) {
                let ended = service().run(|_| async { Ok(()) });
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
            }
        }
        thread_local! {
            static RUNS: std::cell::RefCell<Option<Runs>> = const { std::cell::RefCell::new(None) };
        }
        let answer = Arc::new(Mutex::new(None));
        let runs = Runs(Arc::clone(&answer));
        let thread = thread::spawn(move || {
            RUNS.set(Some(runs));
            // Tokio's are initialized later, and so destroyed sooner.
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                tokio::select! { () = async {} => {} () = async {} => {} }
            });
        });
        thread.join().unwrap();
        let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        assert!(answer.unwrap().is_ok());
    });
}
