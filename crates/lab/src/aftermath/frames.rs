//! The stacks that gdb prints: for each thread the function of the program that it is in.

/// Makes gdb print whole paths. Without it, the path of a dependency's function begins at the dependency's folder, as
/// those of the program do: `src/condvar.rs`.
pub(super) const WHOLE_PATHS: &str = "set filename-display absolute";

/// What is not the program: the functions of these crates. An idle worker of Tokio waits in the last three.
const NOT_THE_PROGRAM: [&str; 8] = [
    "std::",
    "core::",
    "alloc::",
    "tokio::",
    "sundown_core::",
    "mio::",
    "parking_lot::",
    "parking_lot_core::",
];

/// The folders of Tokio and of the last three, without their versions. With line tables only, a function's name does not
/// say its crate.
const NOT_THE_FOLDER: [&str; 4] = ["tokio", "mio", "parking_lot", "parking_lot_core"];

/// Where the sources of the standard library and of dependencies are.
const ELSEWHERE: [&str; 4] = ["/rustc/", "/rustlib/src/", "/registry/src/", "/git/checkouts/"];

/// For each thread, by its id, the innermost function that is the program's own, with its place:
/// `server::load (src/main.rs:7)`. If all are those of dependencies, the innermost that is neither of the standard
/// library, nor of Tokio, nor of the kit. A place below `root`, which ends with a slash, is shown without it.
pub(super) fn of_the_program(stacks: &str, root: &str) -> Vec<(i32, String)> {
    let mut found = Vec::new();
    for stack in stacks.split("\nThread ").skip(1) {
        let thread = stack.split_once("(LWP ").and_then(|(_, rest)| rest.split_once(')'));
        let Some(id) = thread.and_then(|(id, _)| id.parse().ok()) else { continue };
        let frames = || stack.lines().filter_map(frame);
        let own = frames().find(|(_, place)| !is_elsewhere(place));
        let frame = own.or_else(|| frames().find(|(_, place)| is_of_a_dependency(place)));
        let shown = |(name, place)| (id, format!("{name} ({})", shortened(place, root)));
        found.extend(frame.map(shown));
    }
    found
}

/// The name and the place of a frame, if it has a place in a Rust file and is not of [`NOT_THE_PROGRAM`]:
/// `#13 0x0000560761ad5578 in hang::store::load (rx=...) at src/store.rs:12`.
fn frame(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.strip_prefix('#')?.split_once(' ')?;
    let rest = rest.trim_start();
    let rest = match rest.starts_with("0x") {
        true => rest.split_once(" in ")?.1,
        false => rest,
    };
    let (name, place) = (rest.split_once(" (")?.0, rest.rsplit_once(" at ")?.1);
    let path = name.trim_start_matches(['<', '&', '(']);
    let is_of_the_program = !NOT_THE_PROGRAM.iter().any(|it| path.starts_with(it));
    (place.contains(".rs:") && is_of_the_program).then_some((name, place))
}

fn is_elsewhere(place: &str) -> bool {
    ELSEWHERE.iter().any(|it| place.contains(it)) || in_a_dependency(place).is_some()
}

/// Whether this is of a dependency, and not of a crate in which idle workers wait.
fn is_of_a_dependency(place: &str) -> bool {
    let version =
        |it: &str| it.strip_prefix('-').is_some_and(|it| it.starts_with(char::is_numeric));
    let is_it = |rest: &str| rest.starts_with('/') || version(rest);
    in_a_dependency(place).is_some_and(|path| {
        !NOT_THE_FOLDER.iter().any(|it| path.strip_prefix(it).is_some_and(is_it))
    })
}

/// A file's path from its crate's folder on, if it is in the registry or in a folder `vendor`.
fn in_a_dependency(place: &str) -> Option<&str> {
    let registry = place.split_once("/registry/src/").and_then(|(_, rest)| rest.split_once('/'));
    let vendored =
        || place.split_once("/vendor/").filter(|(_, it)| it.split('/').nth(1) == Some("src"));
    registry.or_else(vendored).map(|(_, path)| path)
}

/// A file's path from its crate's folder on, if it is of a dependency, or from `root` on.
fn shortened<'place>(place: &'place str, root: &str) -> &'place str {
    in_a_dependency(place).or_else(|| place.strip_prefix(root)).unwrap_or(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As gdb 13 prints it, with fewer frames.
    const STACKS: &str = "\nprocess 28470, by gdb:\n[New LWP 28472]\n\n\
        Thread 3 (Thread 0x7f68 (LWP 28473) \"tokio-rt-worker\"):\n\
        #0  syscall () at ../sysdeps/unix/sysv/linux/x86_64/syscall.S:38\n\
        #1  0x0000560761af9726 in std::sys::pal::unix::futex::futex_wait () at library/std/src/sys/pal/unix/futex.rs:73\n\
        #2  0x0000560761af9726 in tokio::runtime::park::Inner::park (self=0x1) at /home/u/.cargo/registry/src/index.crates.io-6f17/tokio-1.54.1/src/runtime/park.rs:111\n\
        #3  0x0000560761af9726 in select () at /home/u/.cargo/registry/src/index.crates.io-6f17/mio-1.2.5/src/poll.rs:9\n\
        #4  0x0000560761af9726 in reqwest::blocking::wait::timeout<()> (f=...) at /home/u/.cargo/registry/src/index.crates.io-6f17/reqwest-0.12.9/src/blocking/wait.rs:7\n\n\
        Thread 2 (Thread 0x7f689cace6c0 (LWP 28472) \"loader\"):\n\
        #0  syscall () at ../sysdeps/unix/sysv/linux/x86_64/syscall.S:38\n\
        #12 0x0000560761ad0aaa in std::sync::mpsc::Receiver<()>::recv<()> (self=0x7f) at /rustc/5980/library/std/src/sync/mpsc.rs:849\n\
        #13 0x0000560761ad5578 in hang::store::load (rx=...) at /home/u/hang/src/store.rs:12\n\
        #14 hang::main::{closure#0} () at /home/u/hang/src/main.rs:4\n\n\
        Thread 1 (Thread 0x7f689cacf7c0 (LWP 28470) \"hang\"):\n\
        #0  __futex_abstimed_wait_common64 (private=128) at ./nptl/futex-internal.c:57\n\
        #6  0x0000560761ad660e in flume::Receiver::recv (self=0x5) at /home/u/.cargo/registry/src/index.crates.io-6f17/flume-0.11.1/src/lib.rs:9\n\
        #7  0x0000560761ad660e in wait () at /home/u/hang/vendor/tokio/src/park.rs:2\n\
        #8  0x0000560761ad660e in flume::wait (self=0x5) at /home/u/hang/vendor/flume/src/lib.rs:9\n\
        #20 0x0000560761ad660e in other::wait () at /home/u/other/src/lib.rs:3\n\
        #21 0x0000560761ad660e in main ()\n";

    #[test]
    fn each_thread_has_the_innermost_function_of_the_program_and_else_of_a_dependency() {
        let expected = [
            (28473, "reqwest::blocking::wait::timeout<()> (reqwest-0.12.9/src/blocking/wait.rs:7)"),
            (28472, "hang::store::load (src/store.rs:12)"),
            (28470, "other::wait (/home/u/other/src/lib.rs:3)"),
        ];
        assert_eq!(
            of_the_program(STACKS, "/home/u/hang/"),
            expected.map(|(id, it)| (id, it.to_owned()))
        );
    }
}
