//! After an answer, no thread of the kit is alive: a host may unload the library at once.
//!
//! Each test runs on the main thread of a process of its own, so that every other thread is one that the
//! test has started.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[cfg(all(target_os = "linux", not(loom)))]
mod answers;
#[cfg(all(target_os = "linux", not(loom)))]
mod look;

#[cfg(all(target_os = "linux", not(loom)))]
mod sessions;

/// What runs the test of this name on this process's main thread.
#[cfg(all(target_os = "linux", not(loom)))]
const ALONE: &str = "--alone";

/// How many tests run at a time.
#[cfg(all(target_os = "linux", not(loom)))]
const AT_A_TIME: usize = 3;

#[cfg(all(target_os = "linux", not(loom)))]
fn main() {
    use std::{
        env,
        process::{self, Command},
        sync::{
            Mutex,
            atomic::{AtomicBool, Ordering},
        },
        thread,
    };

    macro_rules! tests {
        ($($module:ident::$name:ident),* $(,)?) => {
            [$((stringify!($name), $module::$name as fn())),*]
        };
    }
    let tests = tests![
        look::a_thread_that_is_left_behind_is_found_by_every_look,
        look::a_thread_that_only_runs_its_destructors_is_found_by_every_look,
        look::a_joined_thread_is_never_found,
        answers::after_a_runtime_was_shut_down_no_thread_is_left,
        answers::after_a_runtime_could_not_start_no_thread_is_left,
        answers::after_a_cell_was_shut_down_no_thread_is_left,
        answers::after_a_runtime_was_shut_down_no_descriptor_is_left_while_its_owner_is_kept,
        answers::after_a_restart_no_descriptor_of_an_earlier_generation_is_left,
        answers::after_the_answer_to_the_second_caller_no_thread_of_the_runtime_is_left,
        answers::after_a_group_was_drained_no_thread_is_left,
        answers::after_a_group_with_a_signal_elsewhere_was_drained_no_thread_is_left,
        answers::after_a_task_was_shut_down_no_thread_is_left,
        answers::after_a_teardown_no_thread_is_left,
        answers::after_a_limit_no_thread_is_left,
        answers::after_a_blocking_wait_no_thread_is_left,
        sessions::after_a_session_was_closed_no_thread_is_left,
        sessions::after_a_session_with_a_runtime_and_evidence_was_closed_no_thread_is_left,
        sessions::after_a_session_with_hooks_was_closed_no_thread_is_left,
        sessions::after_an_error_that_says_that_everything_has_ended_no_thread_is_left,
        sessions::after_sessions_were_closed_at_the_same_time_no_thread_is_left,
        sessions::after_a_close_that_timed_out_was_repeated_no_thread_is_left,
        sessions::after_everything_has_answered_no_thread_is_left,
    ];
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let [alone, name] = &*arguments
        && alone == ALONE
        && let Some((_, test)) = tests.into_iter().find(|(other, _)| other == name)
    {
        return test();
    }
    let filters: Vec<_> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|word| name.contains(*word));
    let tests = Mutex::new(tests.into_iter().filter(|(name, _)| wanted(name)));
    let next = || tests.lock().unwrap().next();
    let this = env::current_exe().unwrap();
    let failed = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some((name, _)) = next() {
                    let passed =
                        Command::new(&this).args([ALONE, name]).status().unwrap().success();
                    println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
                    // Read when the threads have ended.
                    failed.fetch_or(!passed, Ordering::Relaxed);
                }
            });
        }
    });
    process::exit(i32::from(failed.into_inner()));
}

#[cfg(not(all(target_os = "linux", not(loom))))]
fn main() {
    println!("skipped: only Linux lists the threads of a process");
}
