//! The place in the program's own code that a stack leads to.

use std::{env, path::Path};

use backtrace::{Backtrace, BacktraceFrame, BacktraceSymbol};

/// Where the kit's own functions are.
const KIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");

/// Where cargo keeps the code of others, and rustc that of the standard library.
const ELSEWHERE: [&str; 3] = ["/rustc/", "/rustlib/src/rust/library/", "/git/checkouts/"];

/// Where there is no name to be found.
const UNKNOWN: &str = "a place without a name: the program has no symbols";

/// Where the search for a name has panicked.
pub(super) const UNREADABLE: &str = "a place without a name: the symbols cannot be read";

/// Where there are names of the kit only.
const INLINED: &str =
    "a place without a name: no function of the program is on the stack, or it was inlined";

/// Crates whose functions are between the program and the waker. Without debug information they are known by name only.
const LIBRARIES: [&str; 10] = [
    "alloc",
    "backtrace",
    "cooked_waker",
    "core",
    "futures_channel",
    "futures_core",
    "futures_util",
    "std",
    "sundown_core",
    "tokio",
];

/// Those between a task's waker and the stack.
const WAKER: [&str; 3] = ["backtrace", "cooked_waker", "sundown_core"];

/// The places where these stacks were taken, each once. What they have in common with `here` is outside of the task.
pub(super) fn of(stacks: Vec<Backtrace>, here: &Backtrace) -> Vec<String> {
    let mut places = Vec::new();
    for mut stack in stacks {
        stack.resolve();
        let place = place(&functions(inside(stack.frames(), here.frames())));
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

/// The frames that are not outside, and the one that called what is inside.
fn inside<'a>(stack: &'a [BacktraceFrame], outside: &[BacktraceFrame]) -> &'a [BacktraceFrame] {
    let both = stack.iter().rev().zip(outside.iter().rev());
    let common = both.take_while(|(frame, other)| frame.ip() == other.ip()).count();
    stack.get(..stack.len() - common).unwrap_or(stack)
}

/// Whether a file is what cargo or rustc keeps of others, or below a folder `vendor` of the project.
fn is_elsewhere(file: &str) -> bool {
    let folders: Vec<_> = file.split('/').collect();
    ELSEWHERE.iter().any(|folder| file.contains(folder))
        || folders.windows(3).any(|it| it[0] == "vendor" && it[2] == "src")
        // With the version, because the program may have a folder `registry`.
        || folders.windows(4).any(|it| it[..2] == ["registry", "src"] && has_version(it[3]))
}

/// Whether a file is in a folder with a crate's name and version. So are all of others where paths were made short
/// (`trim-paths`, and what Bazel and Nix do), but also a program that was built from an archive of its release.
fn is_of_a_release(file: &str) -> bool {
    let folders: Vec<_> = file.split('/').collect();
    folders.windows(2).any(|it| it[1] == "src" && has_version(it[0]))
}

/// Whether this is a name with a version of three numbers: `tokio-1.54.0`.
fn has_version(folder: &str) -> bool {
    folder.match_indices('-').any(|(at, _)| {
        let numbers: Vec<_> = folder[at + 1..].splitn(3, '.').collect();
        let begins_with_digit = |it: &&str| it.starts_with(|it: char| it.is_ascii_digit());
        numbers.len() == 3 && numbers.iter().all(begins_with_digit)
    })
}

/// A function on a stack, or one that was inlined there.
#[derive(Debug, Default)]
struct Function {
    /// Its path, or without that a bare name such as `poll<…>`: what was inlined may have no other.
    name: String,
    /// Its file and the line and the column there, where the program has debug information.
    place: Option<(String, String)>,
}

fn functions(frames: &[BacktraceFrame]) -> Vec<Function> {
    let symbols = frames.iter().flat_map(|frame| frame.symbols());
    symbols.map(Function::of).filter(|function| !function.name.is_empty()).collect()
}

impl Function {
    fn of(symbol: &BacktraceSymbol) -> Self {
        // Without the hash at its end.
        let name = symbol.name().map(|name| format!("{name:#}")).unwrap_or_default();
        let place = symbol.filename().zip(symbol.lineno()).map(|(file, line)| {
            let column = symbol.colno().map(|column| format!(":{column}")).unwrap_or_default();
            (file.display().to_string(), format!("{line}{column}"))
        });
        Self { name, place }
    }

    /// The crate that it is in: `app` of `<app::Job as Trait>::run`.
    fn package(&self) -> &str {
        let path = self.name.trim_start_matches(['<', '&']);
        let (package, _) = path.split_once("::").unwrap_or_default();
        let is_name = package.chars().all(|it| it.is_alphanumeric() || it == '_');
        if is_name { package } else { "" }
    }

    /// Its file, if it may be of the program's own code.
    fn own_file(&self) -> Option<String> {
        let (file, _) = self.place.as_ref()?;
        // Where paths were made short, the kit's are not those that it was built from.
        if file.starts_with(KIT) || WAKER.contains(&self.package()) {
            return None;
        }
        let file = file.replace('\\', "/");
        (!is_elsewhere(&file)).then_some(file)
    }
}

/// The innermost function of the program itself.
fn place(functions: &[Function]) -> String {
    let own = || functions.iter().filter_map(|it| Some((it, it.own_file()?)));
    if let Some((own, _)) = own().find(|(_, file)| !is_of_a_release(file)).or_else(|| own().next())
    {
        return own.to_string();
    }
    // There is no debug information of it. So its own is what is in the same crate as the outermost function.
    let is_named =
        |function: &&Function| function.place.is_none() && !function.package().is_empty();
    let is_own =
        |function: &&Function| is_named(function) && !LIBRARIES.contains(&function.package());
    if let Some(body) = functions.iter().rev().find(is_own) {
        let is_of_it =
            |function: &&Function| is_own(function) && function.package() == body.package();
        return functions.iter().find(is_of_it).unwrap_or(body).to_string();
    }
    // The task's body is a future of a library.
    let is_library = |function: &&Function| {
        !["alloc", "backtrace", "cooked_waker", "core", "std", "sundown_core", ""]
            .contains(&function.package())
    };
    match functions.iter().rev().find(is_library) {
        Some(library) => library.to_string(),
        None if functions.is_empty() => UNKNOWN.to_owned(),
        None => INLINED.to_owned(),
    }
}

/// `src/server.rs:12:34 (app::serve)`
impl std::fmt::Display for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut name = &*self.name;
        while let Some(outer) = name.strip_suffix("::{{closure}}") {
            name = outer;
        }
        let Some((file, line)) = &self.place else { return f.write_str(name) };
        let from_here = env::current_dir().ok();
        let path = from_here.as_ref().and_then(|here| Path::new(file).strip_prefix(here).ok());
        write!(f, "{}:{line}", path.unwrap_or(Path::new(file)).display())?;
        match self.package() {
            "" => Ok(()),
            _ => write!(f, " ({name})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name @ file @ line`, the innermost first.
    fn stack(lines: &[&str]) -> Vec<Function> {
        let function = |line: &&str| {
            let mut parts = line.split(" @ ").map(str::to_owned);
            let name = parts.next().unwrap();
            Function { name, place: parts.next().zip(parts.next()) }
        };
        lines.iter().map(function).collect()
    }

    const STACK: [&str; 6] = [
        "<sundown_core::stuck::Noting as core::clone::Clone>::clone @ /home/me/.cargo/registry/src/a/sundown-0.1.0/src/stuck.rs @ 1:1",
        "tokio::time::sleep::Sleep::poll_elapsed @ /home/me/.cargo/registry/src/a/tokio-1.54.0/src/time/sleep.rs @ 1:1",
        "poll<app::inner::{async_fn_env#0}> @ /rustc/abc/library/core/src/future/future.rs @ 1:1",
        "app::inner::{{closure}} @ /app/src/inner.rs @ 7:9",
        "app::outer::{{closure}}::{{closure}} @ /app/src/outer.rs @ 3:5",
        "sundown_core::stuck::poll @ /home/me/.cargo/registry/src/a/sundown-0.1.0/src/stuck.rs @ 1:1",
    ];

    fn without_lines(stack: &[&'static str]) -> Vec<&'static str> {
        stack.iter().map(|line| line.split(" @ ").next().unwrap()).collect()
    }

    #[test]
    fn the_place_is_the_innermost_of_the_programs_own_code() {
        assert_eq!(place(&stack(&STACK)), "/app/src/inner.rs:7:9 (app::inner)");
        assert_eq!(place(&stack(&without_lines(&STACK))), "app::inner");
    }

    #[test]
    fn code_of_others_is_known_in_whichever_folder_it_is() {
        for library in [
            "sleep::poll @ C:\\Users\\me\\.cargo\\registry\\src\\a\\tokio-1.54.0\\src\\sleep.rs @ 1:1",
            "poll_elapsed @ /app/vendor/tokio/src/time/sleep.rs @ 1:1",
            "poll_elapsed @ tokio-1.54.0/src/time/sleep.rs @ 1:1",
            "<sundown_core::stuck::Noting as core::clone::Clone>::clone @ ./kit/src/stuck.rs @ 1:1",
            "poll @ /build/external/crates__async-channel-2.3.1/src/lib.rs @ 1:1",
        ] {
            let stack = stack(&[library, STACK[3], STACK[5]]);
            assert_eq!(place(&stack), "/app/src/inner.rs:7:9 (app::inner)", "{library}");
        }
        for own in [
            "/app/src/job.rs",
            "/app-2/src/job.rs",
            "/app-1.2.3/src/job.rs",
            "/vendor/src/job.rs",
            "/registry/src/job.rs",
            "/app/registry/src/store/job.rs",
        ] {
            let expected = format!("{own}:1:1 (app::job)");
            let own = format!("app::job @ {own} @ 1:1");
            assert_eq!(place(&stack(&[STACK[1], &own, STACK[5]])), expected);
        }
    }

    #[test]
    fn a_function_without_a_path_has_a_line_only() {
        let inlined = ["poll<app::Job> @ /app/src/job.rs @ 7:9", STACK[5]];
        assert_eq!(place(&stack(&inlined)), "/app/src/job.rs:7:9");
    }

    #[test]
    fn the_kit_is_never_the_place() {
        let kit = format!("work<app::Job> @ {KIT}task_set/member.rs @ 7:9");
        assert_eq!(place(&stack(&[STACK[1], &kit, STACK[5]])), stack(&[STACK[1]])[0].to_string());
        assert_eq!(place(&stack(&[STACK[5]])), INLINED);
        assert_eq!(place(&[]), UNKNOWN);
    }
}
