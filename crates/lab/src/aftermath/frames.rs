//! The stacks that gdb prints: for each thread the function of the program that it is in.

/// Makes gdb print whole paths. Without it, the path of a dependency's function begins at the dependency's folder, as
/// those of the program do: `src/condvar.rs`.
pub(super) const WHOLE_PATHS: &str = "set filename-display absolute";

/// What is not the program: these crates. An idle worker of Tokio waits in the last three.
const NOT_THE_PROGRAM: [&str; 9] = [
    "std",
    "core",
    "alloc",
    "test",
    "tokio",
    "sundown_core",
    "mio",
    "parking_lot",
    "parking_lot_core",
];

/// The folders of Tokio and of the last three, without their versions. With line tables only, a function's name does not
/// say its crate.
const NOT_THE_FOLDER: [&str; 4] = ["tokio", "mio", "parking_lot", "parking_lot_core"];

/// Where the sources of the standard library and of dependencies from git are.
const ELSEWHERE: [&str; 3] = ["/rustc/", "/rustlib/src/", "/git/checkouts/"];

/// For each thread, by its id, the innermost function that is the program's own, with its place:
/// `server::load (src/main.rs:7)`. If all are those of dependencies, the innermost that is neither of the standard
/// library, nor of Tokio, nor of the kit. A place below `root`, which ends with a slash, is shown without it.
///
/// A program without debug information has names only. Its own are those of the crate with `main`, else those of the
/// crate that a shared library or the program is called by.
pub(super) fn of_the_program(stacks: &str, root: &str) -> Vec<(i32, String)> {
    stacks.split("\nprocess ").flat_map(|process| of_a_process(process, root)).collect()
}

/// The same, of what follows `process `: `28470, by gdb:`.
fn of_a_process(text: &str, root: &str) -> Vec<(i32, String)> {
    let threads = || {
        text.split("\nThread ").skip(1).filter_map(|stack| {
            let (id, rest) = stack.split_once("(LWP ")?.1.split_once(')')?;
            let frames: Vec<_> = stack.lines().filter_map(Frame::parse).collect();
            Some((id, rest.split('"').nth(1).unwrap_or_default(), frames))
        })
    };
    // The first thread has the process's number, and mostly its name.
    let first = threads().find(|(id, ..)| text.starts_with(&format!("{id},")));
    let (called, main) = first.map_or(("", None), |(_, called, frames)| {
        (called, frames.iter().find_map(Frame::package_of_main).map(str::to_owned))
    });
    let innermost = |frames: &[Frame<'_>]| {
        let of = |package: &str| frames.iter().position(|it| it.package() == package);
        let placed = |is: fn(&str) -> bool| frames.iter().position(|it| it.place.is_some_and(is));
        placed(|place| !is_elsewhere(place))
            .or_else(|| main.as_deref().and_then(of))
            .or_else(|| frames.iter().position(|it| it.file.is_some_and(|file| it.is_called(file))))
            .or_else(|| frames.iter().position(|it| it.place.is_none() && it.is_called(called)))
            .or_else(|| placed(is_of_a_dependency))
            .or_else(|| of(frames.iter().rev().find(|it| it.place.is_none())?.package()))
    };
    let shown = |(id, _, frames): (&str, &str, Vec<Frame<'_>>)| {
        Some((id.parse().ok()?, frames.get(innermost(&frames)?)?.shown(root)))
    };
    threads().filter_map(shown).collect()
}

/// A frame that is not of [`NOT_THE_PROGRAM`].
struct Frame<'a> {
    name: String,
    /// Its Rust file and its line, if the program has debug information.
    place: Option<&'a str>,
    /// If it has none: the shared library that it is in.
    file: Option<&'a str>,
}

impl<'a> Frame<'a> {
    /// Reads `#13 0x0000560761ad5578 in hang::store::load (rx=...) at src/store.rs:12`, or without debug information
    /// `#4  0x00005615c3d0af89 in hang::store::load::hb95d7ba9bcf7fe29 ()`.
    fn parse(line: &'a str) -> Option<Self> {
        let (_, rest) = line.strip_prefix('#')?.split_once(' ')?;
        let rest = rest.trim_start();
        let rest = match rest.starts_with("0x") {
            true => rest.split_once(" in ")?.1,
            false => rest,
        };
        let name = without_hashes(without_arguments(rest)?);
        let place = rest.rsplit_once(" at ").map(|(_, place)| place);
        let file = rest.rsplit_once(") from ").and_then(|(_, path)| path.rsplit('/').next());
        let is_rust = place.map_or(name.contains("::"), |place| place.contains(".rs:"));
        // A name without a path may be of any crate.
        let is_of_the_program = packages(&name).next().is_none()
            || packages(&name).any(|it| !NOT_THE_PROGRAM.contains(&it));
        (is_rust && is_of_the_program).then_some(Self { name, place, file })
    }

    /// Its crate, if it is that crate's `main`.
    fn package_of_main(&self) -> Option<&str> {
        self.name.strip_suffix("::main").filter(|package| !package.contains("::"))
    }

    /// Whether a file or a process has its crate's name: `libext.so`, `ext.abi3.so`, and of a test `ext-1f3a9c02d5`.
    fn is_called(&self, file: &str) -> bool {
        let stem = file.split('.').next().unwrap_or(file).replace('-', "_");
        let stem = stem.strip_prefix("lib").unwrap_or(&stem);
        let rest = stem.strip_prefix(self.package());
        let is_hash = |it: &str| it.bytes().all(|it| it.is_ascii_hexdigit());
        rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('_').is_some_and(is_hash))
    }

    /// The crate that it is in: `app` of `<app::Job as Trait>::run`, and of `<String as app::Job>::run`.
    fn package(&self) -> &str {
        packages(&self.name).find(|it| !NOT_THE_PROGRAM.contains(it)).unwrap_or(&self.name)
    }

    fn shown(&self, root: &str) -> String {
        let name = &self.name;
        self.place.map_or_else(|| name.clone(), |it| format!("{name} ({})", shortened(it, root)))
    }
}

/// The crates of a function's type and trait, or of the function.
fn packages(name: &str) -> impl Iterator<Item = &str> {
    let (of_type, of_trait) = match name.strip_prefix('<').and_then(|it| it.split_once(" as ")) {
        Some((of_type, of_trait)) => (of_type, Some(of_trait)),
        None => (name, None),
    };
    [Some(of_type), of_trait].into_iter().flatten().filter_map(|path| {
        let path = path.trim_start_matches(['<', '&', '(', '[', '*']);
        let path =
            ["mut ", "const ", "dyn "].iter().fold(path, |path, it| path.trim_start_matches(it));
        let (package, _) = path.split_once("::")?;
        package.chars().all(|it| it.is_alphanumeric() || it == '_').then_some(package)
    })
}

/// The name before ` (rx=…) at src/store.rs:12`. It may have parentheses of its own: `wait<(u8, (u8, u8))>`.
fn without_arguments(frame: &str) -> Option<&str> {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, character) in frame.char_indices() {
        match character {
            '(' if depth == 0 && before == ' ' => return Some(frame[..at].trim_end()),
            '<' | '(' | '[' | '{' => depth += 1,
            '>' if before == '-' => {}
            '>' | ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = character;
    }
    None
}

/// A name without what tells two builds apart: `::hb95d7ba9bcf7fe29` at its end, or `[e28293b1aa0f68bd]` after a crate.
fn without_hashes(name: &str) -> String {
    let is_hash = |it: &str| it.len() > 8 && it.bytes().all(|it| it.is_ascii_hexdigit());
    let name = match name.rsplit_once("::h") {
        Some((name, hash)) if is_hash(hash) => name,
        _ => name,
    };
    let mut parts = name.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |name, part| match part.split_once(']') {
        Some((hash, rest)) if is_hash(hash) => name + rest,
        _ => name + "[" + part,
    })
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
    // `tokio-1.54.1/src/…`, and not a folder of the program that is called so.
    let has_version = |path: &str| {
        let folder = path.split('/').next().unwrap_or_default();
        folder.rsplit('-').any(|it| it.starts_with(char::is_numeric) && it.contains('.'))
    };
    let registry = registry.filter(|(_, path)| has_version(path));
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

    /// As gdb 13 prints it of a release build, with fewer frames.
    const NAMES: &str = "\nprocess 13916, by gdb:\n[New LWP 13954]\n\n\
        Thread 4 (Thread 0x7f68 (LWP 13957) \"stripped\"):\n\
        #0  syscall () at ../sysdeps/unix/sysv/linux/x86_64/syscall.S:38\n\
        #1  0x000055ad6260908f in ?? ()\n\n\
        Thread 3 (Thread 0x7f68 (LWP 13955) \"other\"):\n\
        #0  syscall () at ../sysdeps/unix/sysv/linux/x86_64/syscall.S:38\n\
        #1  0x00005615c3d07466 in flume::Receiver<T>::wait::h24fb4a1e157f1849 ()\n\
        #2  0x00005615c3d0af89 in rayon_core::sleep::wait::hb95d7ba9bcf7fe29 ()\n\
        #3  0x00005615c3d0af89 in rayon_core::main_loop::hb95d7ba9bcf7fe29 ()\n\n\
        Thread 2 (Thread 0x7fcdd21cf6c0 (LWP 13954) \"loader\"):\n\
        #0  syscall () at ../sysdeps/unix/sysv/linux/x86_64/syscall.S:38\n\
        #1  0x00005615c3d2b786 in <std[e28293b1aa0f68bd]::thread::thread::Thread>::park ()\n\
        #2  0x00005615c3d07466 in flume::Receiver<T>::recv::h24fb4a1e157f1849 ()\n\
        #3  0x00005615c3d0af89 in <hang[e28293b1aa0f68bd]::store::Load as hang::Work>::run ()\n\
        #4  0x00005615c3d0a5a3 in rayon_core::main_loop::hb95d7ba9bcf7fe29 ()\n\n\
        Thread 1 (Thread 0x7fcdd21d07c0 (LWP 13916) \"hang\"):\n\
        #5  0x00005615c3d0b8d5 in std::thread::lifecycle::JoinInner<T>::join::h02be8856ab218122 ()\n\
        #6  0x00005615c3d0ae38 in hang::main::hc662c61618493fd7 ()\n\
        #9  0x00005615c3d32804 in std[e28293b1aa0f68bd]::rt::lang_start_internal ()\n\
        #10 0x00005615c3d0b315 in main ()\n";

    /// Of a thread of a process, and what is shown.
    fn shown(process: &str, frames: &str) -> Option<String> {
        let text = format!(
            "\nprocess 7, by gdb:\n\nThread 1 (Thread 0x7f (LWP 7) \"{process}\"):\n{frames}"
        );
        of_the_program(&text, "/").pop().map(|(_, function)| function)
    }

    #[test]
    fn where_main_is_not_on_the_stack_the_file_or_the_process_has_the_crates_name() {
        let extension = "#1  0x01 in ext::wait::h24fb4a1e157f1849 () from /v/site-packages/ext.abi3.so\n\
            #2  0x01 in pyo3::impl_::trampoline::trampoline () from /v/site-packages/ext.abi3.so\n\
            #3  0x01 in PyEval_EvalCode () from /usr/lib/libpython3.11.so.1.0\n";
        assert_eq!(shown("python3", extension).as_deref(), Some("ext::wait"));
        let test = "#1  0x01 in flume::wait ()\n#2  0x01 in my_app::chan::wait ()\n\
            #3  0x01 in test::__rust_begin_short_backtrace::<core::result::Result<(), String>, fn() -> u8> ()\n";
        assert_eq!(shown("my_app-1f3a9c02", test).as_deref(), Some("my_app::chan::wait"));
        let deep =
            "#1  0x01 in deep::visit ()\n#2  0x01 in dep::walk ()\n#3  0x01 in dep::walk ()\n";
        assert_eq!(shown("deep", deep).as_deref(), Some("deep::visit"));
        assert_eq!(shown("other", deep).as_deref(), Some("dep::walk"));
    }

    #[test]
    fn a_frame_has_the_whole_name_and_the_crate_of_its_type_or_trait() {
        for (line, name, package) in [
            (
                "#1  0x01 in zoo::wait<(u8, (u8, u8))> (x=(1, (2, 3))) at src/a.rs:1",
                "zoo::wait<(u8, (u8, u8))>",
                "zoo",
            ),
            (
                "#1  0x01 in <alloc::string::String as zoo::Job>::run (self=0x1) at a.rs:1",
                "<alloc::string::String as zoo::Job>::run",
                "zoo",
            ),
            (
                "#1  0x01 in <fn(u8) -> (u8, u8) as zoo::Job>::run ()",
                "<fn(u8) -> (u8, u8) as zoo::Job>::run",
                "zoo",
            ),
            (
                "#1  <&mut zoo::Job as core::future::Future>::poll ()",
                "<&mut zoo::Job as core::future::Future>::poll",
                "zoo",
            ),
            (
                "#1  0x01 in <[u8] as zoo::Job>::run::h24fb4a1e157f1849 ()",
                "<[u8] as zoo::Job>::run",
                "zoo",
            ),
            ("#1  0x01 in core_app::main ()", "core_app::main", "core_app"),
        ] {
            let frame = Frame::parse(line).unwrap();
            assert_eq!((&*frame.name, frame.package()), (name, package));
        }
        for line in [
            "#1  0x01 in <alloc::vec::Vec<zoo::Job> as core::ops::drop::Drop>::drop ()",
            "#1  0x01 in <F as core::ops::function::FnOnce<()>>::call_once ()",
            "#1  0x01 in main ()",
            "#1  0x01 in ?? ()",
        ] {
            assert!(Frame::parse(line).is_none(), "{line}");
        }
    }

    #[test]
    fn a_folder_of_the_program_may_be_called_registry() {
        assert!(!is_elsewhere("/home/u/app/registry/src/store/lib.rs:7"));
        assert!(is_elsewhere(
            "/home/u/.cargo/registry/src/index.crates.io-6f17/flume-0.11.1/src/lib.rs:9"
        ));
        assert!(is_elsewhere("/r/registry/src/index-6f17/a-b-1.0.0-rc.1/src/lib.rs:9"));
    }

    #[test]
    fn without_debug_information_the_program_is_the_crate_with_main() {
        let expected = [
            (13955, "rayon_core::sleep::wait"),
            (13954, "<hang::store::Load as hang::Work>::run"),
            (13916, "hang::main"),
        ];
        assert_eq!(of_the_program(NAMES, "/"), expected.map(|(id, it)| (id, it.to_owned())));
    }
}
