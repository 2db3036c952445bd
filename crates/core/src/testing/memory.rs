//! What this process' own memory says of its threads and of Tokio's tasks: which functions they are in.
//!
//! Only a test that has failed looks here. It is a reading of memory and no unwinding: `/proc/self/mem` is read as a file,
//! and every word on a stack that can be a return address is taken for one. So it needs neither a debugger nor debug
//! information, and what it says is a help to find the cause, and never what a test fails by.

use std::{
    collections::HashSet,
    fs::{self, File},
    os::unix::fs::FileExt as _,
    ptr,
};

/// How much of a stack is read.
const STACK: u64 = 256 << 10;

/// How much memory is searched for tasks.
const MOST_SEARCHED: u64 = 512 << 20;

/// How many bytes of a function are read.
const FUNCTION: usize = 1024;

/// How many entries a table has, at most. The order of its entries is the compiler's.
const TABLE: usize = 10;

/// Functions with these names are nobody's own.
const LIBRARIES: [&str; 14] = [
    "std::",
    "core::",
    "alloc::",
    "tokio::",
    "test::",
    "sundown_core::",
    "sundown::",
    "mio::",
    "futures",
    "backtrace::",
    "parking_lot",
    "crossbeam",
    "rayon_core::",
    "__",
];

/// A part of the address space.
struct Region {
    begin: u64,
    end: u64,
    is_writable: bool,
    is_code: bool,
    /// The file that it is a part of, or empty.
    name: String,
}

struct Memory {
    file: File,
    regions: Vec<Region>,
}

/// A function.
#[derive(Clone, PartialEq, Eq)]
struct Function {
    name: String,
    /// The file and the line, where there is debug information.
    place: Option<String>,
    /// The name as the linker knows it, which no other function has.
    symbol: String,
}

impl Function {
    fn is_own(&self) -> bool {
        // `<app::Job as Trait>::run`
        let name = self.name.trim_start_matches(['<', '&']);
        let is_path = name
            .split_once("::")
            .is_some_and(|(begin, _)| begin.chars().all(|it| it.is_alphanumeric() || it == '_'));
        let is_elsewhere = |place: &String| {
            ["/rustc/", "/rustlib/src/rust/library/", "/registry/src/", "/git/checkouts/"]
                .iter()
                .any(|it| place.contains(it))
        };
        is_path
            && !LIBRARIES.iter().any(|library| name.starts_with(library))
            && !self.place.as_ref().is_some_and(is_elsewhere)
    }

    fn display(&self) -> String {
        let Self { name, place, .. } = self;
        // An `async` block and a closure have the name of the function that they are in.
        let name = name.trim_end_matches("::{{closure}}");
        match place {
            Some(place) => format!("`{name}` at {place}"),
            None => format!("`{name}`"),
        }
    }
}

impl Memory {
    fn open() -> Option<Self> {
        let maps = fs::read_to_string("/proc/self/maps").ok()?;
        let regions = maps.lines().filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (begin, end) = fields.next()?.split_once('-')?;
            let access = fields.next()?;
            Some(Region {
                begin: u64::from_str_radix(begin, 16).ok()?,
                end: u64::from_str_radix(end, 16).ok()?,
                is_writable: access.starts_with("rw"),
                is_code: access.contains('x'),
                name: fields.nth(3).unwrap_or_default().to_owned(),
            })
        });
        Some(Self { file: File::open("/proc/self/mem").ok()?, regions: regions.collect() })
    }

    fn region(&self, address: u64) -> Option<&Region> {
        let after = self.regions.partition_point(|region| region.begin <= address);
        self.regions.get(after.checked_sub(1)?).filter(|region| address < region.end)
    }

    /// As many bytes as can be read there.
    fn bytes(&self, address: u64, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        let mut read = 0;
        while let Some(rest @ [_, ..]) = bytes.get_mut(read..) {
            match self.file.read_at(rest, address.saturating_add(read as u64)) {
                Ok(0) | Err(_) => break,
                Ok(more) => read += more,
            }
        }
        bytes.truncate(read);
        bytes
    }

    fn words(&self, address: u64, most: usize) -> Vec<u64> {
        let words = self.bytes(address, most);
        words
            .chunks_exact(8)
            .filter_map(|word| Some(u64::from_ne_bytes(word.try_into().ok()?)))
            .collect()
    }

    /// Whether a call returns to this address.
    fn is_returned_to(&self, address: u64) -> bool {
        if !self.region(address).is_some_and(|region| region.is_code) {
            return false;
        }
        if cfg!(not(target_arch = "x86_64")) {
            return true;
        }
        let Ok(before) = <[u8; 7]>::try_from(&*self.bytes(address.saturating_sub(7), 7)) else {
            return false;
        };
        // `call` with a distance, or by way of a register or of memory.
        let is_by_way = |at: usize| before[at] == 0xff && before[at + 1] & 0x38 == 0x10;
        before[2] == 0xe8
            || [5, 4, 3, 1].into_iter().any(is_by_way)
            || (before[0] == 0xff && before[1] & 0x38 == 0x10)
    }

    /// The functions that a thread is in, the innermost first, as far as its stack shows them.
    fn stack(&self, thread: u32) -> Vec<Function> {
        // `number arguments… stack-pointer program-counter`, of a thread that waits.
        let state =
            fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap_or_default();
        let fields: Vec<_> = state.split_ascii_whitespace().collect();
        let [.., stack, _] = &*fields else { return Vec::new() };
        let Ok(stack) = u64::from_str_radix(stack.trim_start_matches("0x"), 16) else {
            return Vec::new();
        };
        let Some(region) = self.region(stack) else { return Vec::new() };
        let words = self.words(stack & !7, STACK.min(region.end - stack) as usize);
        let mut functions = Vec::new();
        for word in words.into_iter().filter(|word| self.is_returned_to(*word)) {
            // The call is before the address that it returns to. Inlined functions come with it.
            functions.extend(functions_at(word - 1));
        }
        functions.dedup();
        functions
    }
}

/// The function at an address, with those that were inlined there.
fn functions_at(address: u64) -> Vec<Function> {
    let mut functions = Vec::new();
    // It looks at the byte before, because it expects an address that a call returns to.
    backtrace::resolve(ptr::without_provenance_mut(address.saturating_add(1) as usize), |symbol| {
        let Some(name) = symbol.name() else { return };
        // Without the hash at its end.
        let name = format!("{name:#}");
        let file = symbol.filename().map(|file| file.display().to_string());
        let place = file.zip(symbol.lineno()).map(|(file, line)| format!("{file}:{line}"));
        let symbol = symbol.name().and_then(|name| name.as_str()).unwrap_or_default().to_owned();
        functions.push(Function { name, place, symbol });
    });
    functions
}

/// The function that has this address, and not one that was inlined there.
fn function_at(address: u64) -> Option<Function> {
    functions_at(address).pop()
}

/// What a thread runs and where it is: `` runs `app::index`, and is in `app::wait` ``.
pub(super) fn thread(thread: u32) -> String {
    let functions = Memory::open().map(|memory| memory.stack(thread)).unwrap_or_default();
    if functions.is_empty() {
        return "still runs, and its stack could not be read: that takes a thread that waits"
            .to_owned();
    }
    let own: Vec<_> = functions.iter().filter(|function| function.is_own()).collect();
    // What a library runs for the program.
    let known = |name: &str| functions.iter().any(|function| function.name.contains(name));
    match (&*own, own.first(), own.last()) {
        ([], ..) if known("tokio::runtime::scheduler::multi_thread::worker") => {
            "a worker of a Tokio runtime that was not shut down".to_owned()
        }
        ([], ..) if known("tokio::runtime::blocking::pool") => {
            "a thread for blocking work of a Tokio runtime that was not shut down".to_owned()
        }
        ([], ..) => "still runs, and no function of the program is on its stack".to_owned(),
        (_, Some(inner), Some(outer)) if inner.display() != outer.display() => {
            format!("runs {}, and is in {}", outer.display(), inner.display())
        }
        (_, Some(inner), _) => format!("runs {}", inner.display()),
        _ => String::new(),
    }
}

/// The functions whose futures are tasks of Tokio, as far as this process' memory shows them.
///
/// Tokio keeps for every type of task a table of functions, and each task has its address. So this looks for words that
/// lead to such a table. The function there that frees the task calls its destructor, whose name has the future's type in
/// it. A task that has ended may still be found.
pub(super) fn functions_of_tasks() -> Vec<String> {
    let Some(memory) = Memory::open() else { return Vec::new() };
    // Tables are constants, next to the code of the program.
    let code: HashSet<_> =
        memory.regions.iter().filter(|it| it.is_code).map(|it| &*it.name).collect();
    let is_constant = |address: u64| {
        address % 8 == 0
            && memory.region(address).is_some_and(|it| {
                !it.is_writable && !it.is_code && !it.name.is_empty() && code.contains(&*it.name)
            })
    };
    let (mut seen, mut found, mut searched) = (HashSet::new(), Vec::new(), 0);
    for region in &memory.regions {
        let is_heap = region.is_writable && (region.name.is_empty() || region.name == "[heap]");
        searched += if is_heap { region.end - region.begin } else { 0 };
        if !is_heap || searched > MOST_SEARCHED {
            continue;
        }
        let mut at = region.begin;
        while at < region.end {
            let words = memory.words(at, (region.end - at).min(1 << 20) as usize);
            if words.is_empty() {
                break;
            }
            at += 8 * words.len() as u64;
            for word in words.into_iter().filter(|word| is_constant(*word)) {
                if seen.insert(word) {
                    found.extend(future_of(&memory, word));
                }
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The function whose future a table of Tokio's belongs to.
fn future_of(memory: &Memory, table: u64) -> Option<String> {
    let of_tokio = |address: u64| {
        memory.region(address).filter(|region| region.is_code)?;
        function_at(address)?.name.strip_prefix("tokio::runtime::task::raw::").map(str::to_owned)
    };
    let entries = memory.words(table, 8 * TABLE);
    // A table begins where the word leads to.
    of_tokio(*entries.first()?)?;
    let is_dealloc = |entry: &u64| of_tokio(*entry).is_some_and(|name| name.starts_with("dealloc"));
    let mut functions = vec![entries.into_iter().find(is_dealloc)?];
    // `dealloc`, which calls `Harness::dealloc`, which calls `drop`, which calls the destructor.
    for _ in 0..4 {
        functions = functions.iter().flat_map(|it| called_by(memory, *it)).collect();
        functions.truncate(64);
        let names = functions.iter().filter_map(|it| Some(function_at(*it)?.name));
        if let Some(future) = names.filter_map(|name| future_in(&name)).next() {
            return Some(future);
        }
    }
    None
}

/// `app::serve` of `core::ptr::drop_in_place<…tokio::runtime::task::core::Cell<app::serve::{{closure}},…>>`.
fn future_in(destructor: &str) -> Option<String> {
    const CELL: &str = "tokio::runtime::task::core::Cell<";
    /// A large future, as Tokio keeps it; the kit's own task; and its work, if that is large.
    const AROUND: [&str; 4] = [
        "core::pin::Pin<",
        "alloc::boxed::Box<",
        "sundown_core::task_set::member::Member<",
        "sundown_core::task_set::large::boxed<",
    ];
    if !destructor.starts_with("core::ptr::drop_in_place") {
        return None;
    }
    let (_, mut future) = destructor.split_once(CELL)?;
    // Of a task of a group this leads to the closure that made its future.
    for around in AROUND {
        future = future.strip_prefix(around).unwrap_or(future);
    }
    let mut depth = 0;
    let end = future.find(|it| {
        depth += i32::from("<([".contains(it)) - i32::from(">)]".contains(it));
        depth < 0 || (depth == 0 && it == ',')
    })?;
    let future = future.get(..end)?.trim_end_matches("::{{closure}}");
    (!future.starts_with("tokio::runtime::blocking::")).then(|| future.to_owned())
}

/// What a function calls, or takes the address of. Goes by the bytes of its instructions, and so may find more.
fn called_by(memory: &Memory, function: u64) -> Vec<u64> {
    if cfg!(not(target_arch = "x86_64")) {
        return Vec::new();
    }
    let Some(this) = function_at(function) else { return Vec::new() };
    let code = memory.bytes(function, FUNCTION);
    let mut called = Vec::new();
    for (at, bytes) in code.windows(7).enumerate() {
        // `call`, `jmp` and `lea` with a distance from the next instruction; and `call` by way of such a place.
        let (length, is_indirect) = match bytes {
            [0xe8 | 0xe9, ..] => (5, false),
            [0x48 | 0x4c, 0x8d, by, ..] if by & 0xc7 == 0x05 => (7, false),
            [0xff, 0x15 | 0x25, ..] => (6, true),
            _ => continue,
        };
        let distance =
            bytes.get(length - 4..length).and_then(|it| it.try_into().ok()).map(i32::from_le_bytes);
        let next = function + (at + length) as u64;
        let Some(target) = distance.and_then(|it| next.checked_add_signed(i64::from(it))) else {
            continue;
        };
        let target = match is_indirect {
            true => memory.words(target, 8).first().copied().unwrap_or(0),
            false => target,
        };
        if !memory.region(target).is_some_and(|region| region.is_code) {
            continue;
        }
        if function_at(function + at as u64).is_none_or(|it| it.symbol != this.symbol) {
            // This is the next function.
            break;
        }
        called.push(target);
    }
    called
}

#[cfg(test)]
mod tests {
    use super::future_in;

    #[test]
    fn the_destructor_of_a_task_has_the_name_of_its_future() {
        let of = |future: &str| {
            future_in(&format!(
                "core::ptr::drop_in_place<alloc::boxed::Box<tokio::runtime::task::core::Cell<{future},alloc::sync::Arc<a::B>>>>"
            ))
        };
        assert_eq!(of("app::main::{{closure}}::{{closure}}").as_deref(), Some("app::main"));
        assert_eq!(
            of("core::future::Pending<(a,b)>").as_deref(),
            Some("core::future::Pending<(a,b)>")
        );
        let member =
            "sundown_core::task_set::member::Member<app::main::{{closure}},app::work::{{closure}}>";
        assert_eq!(of(member).as_deref(), Some("app::main"));
        let large = "core::pin::Pin<alloc::boxed::Box<app::serve::{{closure}}>>";
        assert_eq!(of(large).as_deref(), Some("app::serve"));
        let member = "sundown_core::task_set::member::Member<sundown_core::task_set::large::boxed<\
            app::main::{{closure}},app::work::{{closure}}>::{{closure}},core::pin::Pin<a::B>>";
        assert_eq!(of(member).as_deref(), Some("app::main"));
        assert_eq!(of("tokio::runtime::blocking::task::BlockingTask<a::b>"), None);
        assert_eq!(future_in("core::ptr::drop_in_place<app::Job>"), None);
    }
}
