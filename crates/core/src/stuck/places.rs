//! The place in the program's own code that a stack leads to.

use std::{env, path::Path};

use backtrace::{Backtrace, BacktraceFrame, BacktraceSymbol};

/// Where the kit's own functions are.
const KIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");

/// Where cargo keeps the code of others, and rustc that of the standard library.
const ELSEWHERE: [&str; 4] =
    ["/rustc/", "/rustlib/src/rust/library/", "/registry/src/", "/git/checkouts/"];

/// Where there is no name to be found.
pub(super) const UNKNOWN: &str = "a place without a name: the program has no symbols";

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

    /// Whether its line is in the program's own code.
    fn has_own_line(&self) -> bool {
        self.place.as_ref().is_some_and(|(file, _)| {
            !file.starts_with(KIT) && !ELSEWHERE.iter().any(|folder| file.contains(folder))
        })
    }
}

/// The innermost function of the program itself.
fn place(functions: &[Function]) -> String {
    if let Some(own) = functions.iter().find(|function| function.has_own_line()) {
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
        None => UNKNOWN.to_owned(),
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
        "<sundown_core::stuck::Noting as core::clone::Clone>::clone @ /home/me/.cargo/registry/src/a/sundown/src/stuck.rs @ 1:1",
        "tokio::time::sleep::Sleep::poll_elapsed @ /home/me/.cargo/registry/src/a/tokio/src/time/sleep.rs @ 1:1",
        "poll<app::inner::{async_fn_env#0}> @ /rustc/abc/library/core/src/future/future.rs @ 1:1",
        "app::inner::{{closure}} @ /app/src/inner.rs @ 7:9",
        "app::outer::{{closure}}::{{closure}} @ /app/src/outer.rs @ 3:5",
        "sundown_core::stuck::poll @ /home/me/.cargo/registry/src/a/sundown/src/stuck.rs @ 1:1",
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
    fn a_function_without_a_path_has_a_line_only() {
        let inlined = ["poll<app::Job> @ /app/src/job.rs @ 7:9", STACK[5]];
        assert_eq!(place(&stack(&inlined)), "/app/src/job.rs:7:9");
    }

    #[test]
    fn the_kit_is_never_the_place() {
        let kit = format!("work<app::Job> @ {KIT}task_set/member.rs @ 7:9");
        assert_eq!(place(&stack(&[STACK[1], &kit, STACK[5]])), stack(&[STACK[1]])[0].to_string());
        assert_eq!(place(&stack(&[STACK[5]])), UNKNOWN);
    }
}
