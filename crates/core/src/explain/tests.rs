//! The causes, their messages, and what the stack says.

use std::{fs, path::Path};

use super::{
    Cause, Explanation,
    messages::{MESSAGES, closed},
    stack::{Dropped, Place},
};

const TOKIO: &str = "/home/me/.cargo/registry/src/index-1/tokio-1.54.1/src/runtime/handle.rs";
const DEADPOOL: &str = r"C:\registry\deadpool-sync-0.2.0\src\lib.rs";
const STD: &str = "/rustc/59807616e/library/std/src/thread/lifecycle.rs";

/// Where a connection of the mock was dropped without a context, and `drop` was inlined.
const IN_A_DROP: &str = "\
   0: std::backtrace::Backtrace::create
   5: core::panicking::panic_display
             at /rustc/0/library/core/src/panicking.rs:259:5
   6: tokio::task::blocking::spawn_blocking
   7: deadpool_runtime::Runtime::spawn_blocking_background
   8: <deadpool_sync::SyncWrapper<T> as core::ops::drop::Drop>::drop
             at /registry/deadpool-sync-0.1.4/src/lib.rs:166:10
   9: core::ptr::drop_in_place<deadpool_sync::SyncWrapper<rusqlite::Connection>>
  10: core::ptr::drop_in_place<deadpool::managed::Slot<a::b::Manager>>
  11: drop<a::b::Manager, alloc::alloc::Global>
  11: alloc::sync::Arc<T,A>::drop_slow
  12: core::ptr::drop_in_place<mock_sdk::store::Store>
  13: core::mem::drop
  14: app::log_out
  15: core::ptr::drop_in_place<not::This>
";

/// A call, with debug information: of everything but what starts the program.
const IN_A_CALL: &str = "\
   0: std::backtrace_rs::backtrace::trace
             at /rustc/0/library/std/src/backtrace.rs:331:13
      std::backtrace::Backtrace::create
   4: tokio::task::spawn::spawn
             at /registry/tokio-1.54.1/src/task/spawn.rs:181:28
   5: app::on_click
             at ./src/main.rs:7:5
   6: std::sys::backtrace::__rust_begin_short_backtrace
   9: __libc_start_main
";

#[test]
fn a_destructor_is_told_from_a_call_by_the_stack() {
    let Place::Drop(dropped) = Place::on(IN_A_DROP) else { panic!("not a destructor") };
    assert_eq!(dropped.to_string(), "`SyncWrapper<Connection>` (in `Store`)");
    assert_eq!(dropped.outermost(), "`Store`");
    assert_eq!(Place::on(IN_A_CALL), Place::Call);
}

#[test]
fn a_stack_with_a_function_that_may_contain_others_decides_nothing() {
    let without_debug_information: String = IN_A_CALL
        .lines()
        .filter(|line| !line.contains(" at "))
        .map(|it| format!("{it}\n"))
        .collect();
    for backtrace in [&without_debug_information, "", "<disabled>", "  0: app::main\n"] {
        assert_eq!(Place::on(backtrace), Place::Unknown, "{backtrace}");
    }
    // A small function of the kit is there: nothing contains another.
    let not_optimized =
        format!("0: sundown_core::explain::stack::captured\n{without_debug_information}");
    assert_eq!(Place::on(&not_optimized), Place::Call);
}

#[test]
fn the_line_of_the_program_is_neither_of_a_dependency_nor_of_the_kit() {
    assert_eq!(super::stack::own_code(IN_A_CALL).as_deref(), Some("src/main.rs:7:5"));
    let of_the_kit = IN_A_CALL.replace("app::on_click", "<sundown_core::task::Task as Drop>::drop");
    assert_eq!(super::stack::own_code(&of_the_kit), None);
    assert_eq!(super::stack::own_code(IN_A_DROP), None);
    let hook = "   0: of_this_thread\n             at /home/me/sundown/src/explain/stack.rs:44:25\n   1: \
                std::panicking::panic_with_hook\n";
    assert_eq!(
        super::stack::own_code(&format!("{hook}{IN_A_CALL}")).as_deref(),
        Some("src/main.rs:7:5")
    );
}

#[test]
fn names_of_types_are_short() {
    let shown = |name: &str| match Place::on(&format!("0: core::ptr::drop_in_place<{name}>\n")) {
        Place::Drop(dropped) => dropped.outermost(),
        other => panic!("{other:?}"),
    };
    assert_eq!(shown("a::B<c::D, (e::F, &dyn g::H)>"), "`B<D, (F, &dyn H)>`");
    assert_eq!(shown("[a::B]"), "`[B]`");
    assert!(shown(&"x".repeat(500)).chars().count() <= 83);
}

#[test]
fn codes_are_unique_and_stable() {
    for (index, &cause) in Cause::ALL.iter().enumerate() {
        assert_eq!(cause.code(), format!("SD{:04}", index + 1));
        assert_eq!(Cause::from_code(&cause.code().to_lowercase()), Some(cause));
        // Each has a bit of its own in what has been explained.
        assert_eq!(cause as usize, index);
        assert!(index < 32);
    }
    for unknown in ["", "SD0000", "SD1", "SD0001 "] {
        assert_eq!(Cause::from_code(unknown), None, "{unknown}");
    }
}

#[test]
fn an_explanation_has_three_lines() {
    for &cause in Cause::ALL {
        for place in [Place::on(IN_A_DROP), Place::Call, Place::Unknown] {
            let (thread, file) = ("thread `main`".to_owned(), "tokio-1.54.1/src/a.rs:7".to_owned());
            let may_be_its_own = true;
            let text = Explanation { cause, thread, file, place, own_code: None, may_be_its_own };
            let text = text.to_string();
            assert_eq!(text.lines().count(), 3, "{text}");
            assert!(text.lines().all(|line| line.starts_with("sundown: ")), "{text}");
            assert!(text.contains(cause.code()), "{text}");
        }
    }
}

#[test]
fn a_call_is_never_told_to_tear_something_down_or_to_use_a_runtime_that_is_down() {
    for &cause in Cause::ALL {
        let (thread, file) = ("thread `main`".to_owned(), "src/a.rs:7".to_owned());
        let text = Explanation {
            cause,
            thread,
            file,
            place: Place::Call,
            own_code: None,
            may_be_its_own: false,
        }
        .to_string();
        assert!(!text.contains("alive or not"), "{text}");
        // The destructor of a thread-local is no call.
        if cause != Cause::ContextDestroyed {
            assert!(!text.contains("teardown"), "{text}");
        }
    }
}

#[test]
fn every_message_of_the_table_leads_to_its_cause() {
    for message in MESSAGES {
        assert!(!message.text.words().is_empty());
        let (text, file) = message.example();
        let before = Some(Cause::NoContext);
        assert_eq!(Cause::of(&text, &file, before), Some(message.cause), "{text}");
    }
    for cause in Cause::ALL {
        assert!(MESSAGES.iter().any(|message| message.cause == *cause), "{cause:?}");
    }
}

#[test]
fn the_error_of_an_unwrap_or_expect_is_found_wherever_it_is_nested() {
    for (message, file, expected) in [
        (
            "called `Result::unwrap()` on an `Err` value: JoinError::Cancelled(Id(8))",
            "",
            Cause::CancelledJoin,
        ),
        (
            "called `Result::unwrap()` on an `Err` value: JoinError::Cancelled",
            "",
            Cause::CancelledJoin,
        ),
        ("the sync task: JoinError::Cancelled(Id(417))", "", Cause::CancelledJoin),
        (
            "called `Result::unwrap()` on an `Err` value: Spawn(JoinError::Cancelled(Id(12)), 3)",
            "",
            Cause::CancelledJoin,
        ),
        (
            "called `Result::unwrap()` on an `Err` value: Cancelled",
            "/registry/matrix-sdk-sqlite-0.18.0/src/utils.rs",
            Cause::CancelledJoin,
        ),
        (
            "called `Result::unwrap()` on an `Err` value: Io(Custom { kind: Other, error: \"A Tokio 1.x \
             context was found, but it is being shutdown.\" })",
            "",
            Cause::RuntimeGone,
        ),
        (
            "read the settings: Custom { kind: Other, error: \"background task failed\" }",
            "",
            Cause::RuntimeGone,
        ),
        (
            "called `Result::unwrap()` on an `Err` value: cannot reconnect\n\nCaused by:\n    0: client \
             error (SendRequest)\n    1: dispatch task is gone\n    2: runtime dropped the dispatch task",
            "",
            Cause::TaskGone,
        ),
        (
            "called `Result::unwrap()` on an `Err` value: task 8 was cancelled",
            "",
            Cause::CancelledJoin,
        ),
        (
            "called `Result::unwrap()` on an `Err` value: the sync task\n\nCaused by:\n    task 12 was \
             cancelled\n\nLocation:\n    src/main.rs:7:5",
            "",
            Cause::CancelledJoin,
        ),
        (
            "called `Result::unwrap()` on an `Err` value: background task failed\n\nStack backtrace:\n   0: \
             core::ops::function::FnOnce::call_once",
            "",
            Cause::RuntimeGone,
        ),
        (
            "called `Result::unwrap()` on an `Err` value: \"A Tokio 1.x context was found, but it is being \
             shutdown.\"",
            "",
            Cause::RuntimeGone,
        ),
        (
            "reconnect: cannot reconnect\n\nCaused by:\n    runtime dropped the dispatch task",
            "",
            Cause::TaskGone,
        ),
        (
            "called `Result::unwrap()` on an `Err` value: JoinError::Panic(Id(4), \"called \
             `Result::unwrap()` on an `Err` value: Custom { kind: Other, error: \\\"background task \
             failed\\\" }\", ...)",
            "",
            Cause::RuntimeGone,
        ),
        (
            "joining failed: JoinError::Panic(Id(4), \"`JoinError` reason is not a panic.: \
             JoinError::Cancelled(Id(7))\", ...)",
            "",
            Cause::CancelledJoin,
        ),
    ] {
        assert_eq!(Cause::of(message, file, None), Some(expected), "{message}");
    }
}

#[test]
fn a_panic_that_only_quotes_or_resembles_a_message_is_left_alone() {
    for (message, file) in [
        ("", TOKIO),
        ("explicit panic", TOKIO),
        ("there is no reactor", "src/power_plant.rs"),
        ("expected `there is no reactor running, must be called` in stderr", "src/test.rs"),
        ("called `Result::unwrap()` on an `Err` value: JoinError::Panic(Id(8), ...)", TOKIO),
        ("the log says: JoinError::Cancelled(Id(8)), and more", "src/main.rs"),
        ("joining failed: JoinError::Panic(Id(8), \"explicit panic\", ...)", "src/main.rs"),
        ("called `Result::unwrap()` on an `Err` value: Cancelled", "src/main.rs"),
        ("called `Result::unwrap()` on an `Err` value: NotJoinError::Cancelled", "src/main.rs"),
        ("background task failed", "src/main.rs"),
        ("called `Result::unwrap()` on an `Err` value: \"background task failed\"", "src/main.rs"),
        ("gai background task failed: JoinError::Panic(Id(3), \"no luck\", ...)", "src/dns.rs"),
        (
            "assertion `left == right` failed\n  left: Ok(())\n right: Err(Custom { kind: Other, error: \
             \"background task failed\" })",
            "src/test.rs",
        ),
        (
            "called `Result::unwrap()` on an `Err` value: the server answered 500: thread 'worker' panicked at \
             src/db.rs:9:\nthere is no reactor running, must be called from the context of a Tokio 1.x runtime",
            "src/main.rs",
        ),
        (
            "called `Result::unwrap()` on an `Err` value: the server answered 500: A Tokio 1.x context was found, \
             but it is being shutdown.",
            "src/main.rs",
        ),
        (
            "called `Result::unwrap()` on an `Err` value: the server answered 500: JoinError::Cancelled(Id(2))",
            "src/main.rs",
        ),
        (
            "called `Result::unwrap()` on an `Err` value: \"the build failed: task panicked: there is no reactor \
             running, must be called from the context of a Tokio 1.x runtime\"",
            "src/main.rs",
        ),
        (
            "called `Result::unwrap()` on an `Err` value: ServerError { status: 500, body: \"there is no reactor \
             running, must be called from the context of a Tokio 1.x runtime\" }",
            "src/main.rs",
        ),
        (
            "called `Result::unwrap()` on an `Err` value: Failed { log: \"Custom { kind: Other, error: \\\"reactor \
             gone\\\" }\", code: 1 }",
            "src/main.rs",
        ),
        (
            "called `Result::unwrap()` on an `Err` value: the worker failed:\nError: cannot reconnect\n\nCaused \
             by:\n    runtime dropped the dispatch task",
            "src/main.rs",
        ),
        ("called `Result::unwrap()` on an `Err` value: task 8 was cancelled by you", "src/main.rs"),
        ("task 8 was cancelled", "src/main.rs"),
        ("upload: task 8 was cancelled", "src/main.rs"),
        ("the user saw: runtime dropped the dispatch task, twice", "src/main.rs"),
        ("Task has been cancelled", "src/scheduler.rs"),
        ("Task has been cancelled", "deadpool-sync-tools/src/lib.rs"),
        ("System is not running", "src/game.rs"),
        ("event loop thread panicked", "src/window.rs"),
        ("threads should not terminate unexpectedly", "src/pool.rs"),
        ("failed to join thread: Resource deadlock avoided (os error 35)", STD),
        ("failed to spawn worker thread: no more", "src/pool.rs"),
        (
            "cannot access a Thread Local Storage value during or after destruction: AccessError",
            "src/main.rs",
        ),
        ("A Tokio 1.x context was found", TOKIO),
        ("panic in a destructor during cleanup", "library/core/src/panicking.rs"),
    ] {
        assert_eq!(Cause::of(message, file, None), None, "{message}");
    }
}

#[test]
fn the_folder_of_a_crate_is_found_in_every_kind_of_path() {
    let cancelled = "Task has been cancelled";
    for file in [
        DEADPOOL,
        "/home/me/.cargo/registry/src/index-1/deadpool-sync-0.1.4/src/lib.rs",
        "/home/me/.cargo/git/checkouts/deadpool-1/0a1b2c/deadpool-sync/src/lib.rs",
        "vendor/deadpool-sync/src/lib.rs",
        "deadpool-sync-0.2.0/src/lib.rs:109:51",
    ] {
        assert_eq!(Cause::of(cancelled, file, None), Some(Cause::CancelledJoin), "{file}");
    }
    let forked = "threads should not terminate unexpectedly";
    for file in [STD, "std/src/thread/lifecycle.rs"] {
        assert_eq!(Cause::of(forked, file, None), Some(Cause::Forked), "{file}");
    }
}

#[test]
fn a_second_panic_is_explained_after_the_first_alone() {
    let second = "panic in a destructor during cleanup";
    let of = |before| Cause::of(second, "library/core/src/panicking.rs", before);
    assert_eq!(of(Some(Cause::NoContext)), Some(Cause::SecondPanic));
    assert_eq!(of(None), None);
}

#[test]
fn without_drop_glue_there_is_no_value() {
    let drop_of = |line: &str| match Place::on(line) {
        Place::Drop(dropped) => Some(Dropped::outermost(&dropped)),
        _ => None,
    };
    assert_eq!(drop_of("0: <a::B as core::ops::drop::Drop>::drop\n").as_deref(), Some("`B`"));
    assert_eq!(drop_of("0: a::drop\n             at src/a.rs:1:1\n"), None);
}

/// The messages on a page, each with the crate that it must come from.
fn messages_on(page: &str) -> Vec<(String, &str)> {
    let (_, block) = page.split_once("```text\n").unwrap();
    let (block, _) = block.split_once("\n```").unwrap();
    let message = |line| {
        let (text, rest) = str::split_once(line, "  (in ").unwrap_or((line, "app)"));
        (text.replace('…', ", or so").replace('#', "12"), rest.trim_end_matches(')'))
    };
    block.lines().map(message).collect()
}

#[test]
fn the_page_of_a_cause_has_its_messages_and_no_others() {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src");
    let index = fs::read_to_string(book.join("explain.md")).unwrap();
    for &cause in Cause::ALL {
        let code = cause.code();
        let page = fs::read_to_string(book.join(format!("explain/{code}.md"))).unwrap();
        let title = page.lines().next().unwrap().strip_prefix(&format!("# {code} · ")).unwrap();
        assert!(index.contains(&format!("| [{code}](explain/{code}.md) | {title} |")), "{code}");
        for message in MESSAGES.iter().filter(|message| message.cause == cause) {
            assert!(page.contains(message.text.words()), "{code}: {}", message.text.words());
        }
        for (text, from) in messages_on(&page) {
            let file = format!("/registry/{from}/src/lib.rs");
            let unwrapped = format!(
                "called `Result::unwrap()` on an `Err` value: {}",
                closed(&text.replace(", or so", ""))
            );
            let found =
                [text, unwrapped].iter().find_map(|text| Cause::of(text, &file, Some(cause)));
            assert_eq!(found, Some(cause), "{code}: {unwrapped:?}", unwrapped = messages_on(&page));
        }
    }
}
