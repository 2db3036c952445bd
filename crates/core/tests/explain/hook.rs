//! The hook, on real panics. Each panics in a process of its own: this test starts itself again, and the
//! child installs the hook.

use std::{
    env,
    process::{Command, Output},
};

use sundown::explain;

use crate::situations::SITUATIONS;

/// The environment variable that tells a child how to panic.
const SITUATION: &str = "EXPLAIN_SITUATION";

/// What a child runs. Does nothing in the test program itself.
#[test]
fn child() {
    let Ok(name) = env::var(SITUATION) else { return };
    let (_, situation) = SITUATIONS.iter().find(|(known, _)| *known == name).unwrap();
    if name != "own-hook" {
        explain::install();
        // A second time does nothing; otherwise every count below would differ.
        explain::install();
    }
    situation();
}

/// What a child wrote to standard error.
pub struct Stderr(pub String);

fn stderr_with(situation: &str, backtrace: Option<&str>) -> Stderr {
    assert!(SITUATIONS.iter().any(|(known, _)| *known == situation), "{situation}");
    let mut child = Command::new(env::current_exe().unwrap());
    child
        .args(["hook::child", "--exact", "--nocapture"])
        .env(SITUATION, situation)
        .env_remove("RUST_LIB_BACKTRACE")
        .env_remove("RUST_BACKTRACE");
    if let Some(wanted) = backtrace {
        child.env("RUST_BACKTRACE", wanted);
    }
    let Output { stderr, .. } = child.output().unwrap();
    Stderr(String::from_utf8(stderr).unwrap())
}

/// As most programs run: nothing says whether backtraces are wanted.
pub fn stderr(situation: &str) -> Stderr {
    stderr_with(situation, None)
}

impl Stderr {
    fn explanations(&self) -> Vec<&str> {
        self.0.lines().filter(|line| line.starts_with("sundown: ")).collect()
    }

    /// The standard library's report is there and comes first. One explanation of three lines follows:
    /// the first contains these words, and the last this code. Returns the second, which is the advice.
    #[track_caller]
    fn explains(&self, original: &str, words: &str, code: &str) -> &str {
        let original = self.0.find(original).unwrap_or_else(|| panic!("{}", self.0));
        let explained = self.0.find("sundown: ").unwrap_or_else(|| panic!("{}", self.0));
        assert!(original < explained, "{}", self.0);
        let [happened, instead, named] = self.explanations()[..] else { panic!("{}", self.0) };
        assert!(happened.contains(words), "no {words:?} in {}", self.0);
        assert_eq!(
            named,
            format!("sundown: {code}, docs/src/explain/{code}.md in the repository of sundown")
        );
        instead.strip_prefix("sundown: instead, ").unwrap_or_else(|| panic!("{}", self.0))
    }
}

/// Tokio's message for a thread without a context.
const NO_REACTOR: &str = "there is no reactor running";

/// What the advice for a destructor has, and the one for a call must not have.
const TEARDOWN: &str = "sundown::teardown::teardown";

#[test]
fn a_call_without_a_context_is_told_to_use_a_runtime_that_is_running() {
    for situation in ["spawn-outside", "current-outside", "block-on-a-timer-outside"] {
        let stderr = stderr(situation);
        let words = "thread `hook::child` has no runtime context, and the call at ";
        let advice = stderr.explains(NO_REACTOR, words, "SD0001");
        assert!(advice.contains("a runtime that is running"), "{advice}");
        assert!(!advice.contains(TEARDOWN), "{advice}");
    }
    // Its location is that of the `unwrap`.
    let words = "thread `hook::child` has no runtime context";
    stderr("try-current-outside").explains("kind: NoContext", words, "SD0001");
}

#[test]
fn a_destructor_without_a_context_is_named_and_told_to_be_torn_down() {
    let words =
        "`Connection` (in `Client`) was dropped on thread `hook::child`, which has no runtime";
    let stderr = stderr("drop-outside");
    let advice = stderr.explains(NO_REACTOR, words, "SD0001");
    assert!(advice.contains("sundown::teardown::teardown_blocking(value, limit)"), "{advice}");
}

#[test]
fn without_a_look_at_the_stack_the_advice_says_both() {
    for situation in ["spawn-outside", "drop-outside"] {
        let words = "thread `hook::child` has no runtime context, and ";
        let stderr = stderr_with(situation, Some("0"));
        let advice = stderr.explains(NO_REACTOR, words, "SD0001");
        assert!(advice.starts_with("if it is a call, "), "{advice}");
        assert!(advice.contains("if it is a destructor, "), "{advice}");
    }
}

#[test]
fn a_destructor_that_blocks_in_async_code_is_told_to_be_torn_down() {
    for (situation, original, code) in [
        ("block-on-in-a-drop", "Cannot start a runtime from within", "SD0006"),
        ("block-in-place-in-a-drop", "can call blocking only when", "SD0009"),
    ] {
        let stderr = stderr(situation);
        let advice = stderr.explains(original, "`Lease` was dropped ", code);
        assert!(advice.contains("sundown::teardown::teardown(value, limit).await"), "{advice}");
        assert!(!advice.contains("`.await` it"), "{advice}");
    }
}

#[test]
fn a_call_that_blocks_in_async_code_is_explained() {
    let words = "thread `hook::child` drives tasks, and something blocked it (";
    for (situation, original) in [
        ("block-on-in-async", "Cannot start a runtime from within"),
        ("blocking-channel-in-async", "Cannot block the current thread"),
        ("futures-block-on-in-itself", "cannot execute `LocalPool` executor"),
    ] {
        let stderr = stderr(situation);
        let advice = stderr.explains(original, words, "SD0006");
        assert!(advice.contains("`.await` it"), "{advice}");
        assert!(!advice.contains(TEARDOWN), "{advice}");
    }
    let stderr = stderr("block-in-place");
    let words = "`block_in_place` was called on thread `hook::child` (";
    let advice = stderr.explains("can call blocking only when", words, "SD0009");
    assert!(!advice.contains(TEARDOWN), "{advice}");
}

#[test]
fn a_runtime_that_is_dropped_in_async_code_is_explained() {
    let words = "a `Runtime` was dropped in async code on thread `hook::child`, with `Embedded`: ";
    stderr("runtime-in-async").explains("Cannot drop a runtime", words, "SD0005");
    let words = "a `Runtime` was dropped in async code on thread `hook::child`: its drop waits";
    stderr("bare-runtime-in-async").explains("Cannot drop a runtime", words, "SD0005");
    stderr_with("runtime-in-async", Some("0")).explains("Cannot drop a runtime", words, "SD0005");
}

#[test]
fn a_blocking_api_in_async_code_is_named_and_its_user_is_told_to_use_another() {
    let words =
        "embedding::blocking` was used in async code on thread `hook::child`: it has a `Runtime`";
    let stderr = stderr("blocking-api-in-async");
    let advice = stderr.explains("Cannot drop a runtime", words, "SD0005");
    assert!(advice.contains("spawn_blocking"), "{advice}");
    assert!(!advice.contains("shutdown") && !advice.contains("RuntimeOwner"), "{advice}");
}

#[test]
fn block_in_place_in_a_local_set_is_not_told_to_use_the_runtime_that_it_has() {
    let stderr = stderr("block-in-place-in-a-local-set");
    let words = "the runtime has one thread, or the task is one of a `LocalSet`";
    let advice = stderr.explains("can call blocking only when", words, "SD0009");
    assert!(advice.contains("not in a `LocalSet`"), "{advice}");
}

#[test]
fn the_abort_is_explained_whatever_the_second_panic_was() {
    let stderr = stderr("another-destructor-fails-too");
    assert!(stderr.0.contains("PoisonError"), "{}", stderr.0);
    let codes: Vec<_> = stderr.explanations().into_iter().skip(2).step_by(3).collect();
    let [first, second] = codes[..] else { panic!("{}", stderr.0) };
    assert!(first.contains("SD0001") && second.contains("SD0002"), "{}", stderr.0);
}

#[test]
fn words_that_a_program_may_have_of_its_own_are_said_to_be_so() {
    let doubt = "unless the program has an error of its own in the same words";
    stderr("error-of-its-own").explains("background task failed", doubt, "SD0004");
    let certain = stderr("socket-of-a-dead-runtime");
    assert!(!certain.0.contains(doubt), "{}", certain.0);
}

#[test]
fn a_second_panic_is_explained_after_the_first() {
    let stderr = stderr("two-dropped-outside");
    let explanations = stderr.explanations();
    assert_eq!(explanations.len(), 6, "{}", stderr.0);
    assert!(explanations[2].contains("SD0001"), "{}", stderr.0);
    let words = "(in `Client`) was being dropped on thread `hook::child` when a second destructor";
    assert!(explanations[3].contains(words), "{}", stderr.0);
    assert!(explanations[5].contains("SD0002"), "{}", stderr.0);
    assert!(stderr.0.contains("panic in a destructor during cleanup"), "{}", stderr.0);
}

#[test]
fn a_cancellation_that_was_not_expected_is_explained() {
    let words = "work that thread `hook::child` awaited was cancelled";
    for (situation, original) in [
        ("cancelled-unwrapped", "JoinError::Cancelled"),
        ("cancelled-taken-for-a-panic", "`JoinError` reason is not a panic"),
        ("join-all-cancelled", "was cancelled"),
    ] {
        stderr(situation).explains(original, words, "SD0007");
    }
}

#[test]
fn a_thread_local_that_is_destroyed_too_late_is_explained() {
    let words = "was dropped while thread `late` ended";
    stderr("thread-local").explains("variable has been destroyed", words, "SD0003");
    let words = "was dropped while an unnamed thread ended";
    stderr("local-set-too-late").explains("cannot create LocalSet", words, "SD0003");
}

#[test]
fn a_runtime_that_has_gone_is_explained_whatever_was_asked_of_it() {
    for (situation, original) in [
        ("timer-of-a-dead-runtime", "it is being shutdown"),
        ("socket-of-a-dead-runtime", "it is being shutdown"),
    ] {
        let words = "on thread `hook::child` used a timer, a socket or a file of a runtime that ";
        stderr(situation).explains(original, words, "SD0004");
    }
}

#[test]
fn a_runtime_without_a_driver_is_explained() {
    let words = "the runtime of thread `hook::child` was built without the driver";
    stderr("no-timers").explains("timers are disabled", words, "SD0010");
    stderr("no-io").explains("IO is disabled", words, "SD0010");
}

#[test]
fn a_local_task_without_a_place_is_explained() {
    let words = "needed a place for tasks that stay on one thread";
    let call = stderr("spawn-local-outside");
    let advice = call.explains("`spawn_local` called from outside", words, "SD0012");
    assert!(!advice.contains("drop the value"), "{advice}");
}

#[test]
fn a_destructor_that_spawns_a_local_task_is_named_and_told_where_to_drop_the_value() {
    let words = "`Document` was dropped on thread `hook::child`, its destructor spawned a task ";
    let dropped = stderr("spawn-local-in-a-drop");
    let advice = dropped.explains("`spawn_local` called from outside", words, "SD0012");
    assert!(advice.contains("`local.run_until(async { drop(value) }).await`"), "{advice}");
    assert!(!advice.contains(TEARDOWN), "it is not `Send`: {advice}");
}

#[cfg(unix)]
#[test]
fn a_thread_that_a_forked_child_does_not_have_is_explained() {
    let words = "this process is a forked child";
    stderr("join-in-a-forked-child").explains("threads should not terminate", words, "SD0015");
}

#[test]
fn the_panic_of_a_task_is_explained_once_and_not_again_where_it_is_unwrapped() {
    let stderr = stderr("a-task-that-panicked");
    assert!(stderr.0.contains("JoinError::Panic(Id("), "{}", stderr.0);
    stderr.explains("Cannot start a runtime from within", "drives tasks", "SD0006");
}

#[test]
fn on_other_panics_the_hook_is_silent() {
    for situation in ["unrelated", "two-unrelated"] {
        let stderr = stderr(situation);
        assert!(stderr.0.contains("no luck"), "{}", stderr.0);
        assert!(!stderr.0.contains("sundown: "), "{}", stderr.0);
    }
}

#[test]
fn one_mistake_is_explained_once() {
    let stderr = stderr("many-outside");
    assert_eq!(stderr.0.matches(NO_REACTOR).count(), 3, "{}", stderr.0);
    stderr.explains(NO_REACTOR, "an unnamed thread has no runtime context", "SD0001");
}

#[test]
fn a_hook_that_was_there_before_is_still_called() {
    let stderr = stderr("own-hook");
    stderr.explains("a hook of our own", "thread `hook::child` has no", "SD0001");
    assert!(stderr.0.contains(NO_REACTOR), "{}", stderr.0);
}
