//! Drops one live value in one place, and says what happened.
//!
//! A program of cases calls [`run`]. It lists its cases as JSON lines, or runs one case in one place: a process drops one
//! value. `cargo sundown check` reads the same program, so the prediction and the trial are about the same code.

use std::{
    any,
    future::Future,
    io::Write as _,
    mem,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    process::ExitCode,
    sync::Mutex,
    thread,
};

use serde_json::json;
use tokio::runtime::{Builder, Runtime};

/// A type, and how a live value of it is made.
pub struct Case {
    of_crate: &'static str,
    of_type: String,
    when: &'static str,
    drop_one: Box<DropOne>,
}

/// Makes a value on the runtime, and drops it in the place.
type DropOne = dyn Fn(&Runtime, Place);

/// Where the value is dropped.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// On a thread with a runtime context, outside async code. The control: nothing panics here.
    Control,
    /// On a thread without a runtime context. The runtime of the value is alive.
    OffContext,
    /// In async code, on a runtime with one thread. The runtime of the value is another one, and alive.
    InAsync,
}

impl Case {
    /// `make` is awaited on a runtime with several threads. What must outlive the value it gives to [`mem::forget`].
    pub fn of<T: 'static, F: Future<Output = T> + 'static>(
        of_crate: &'static str,
        make: impl Fn() -> F + 'static,
    ) -> Self {
        let drop_one = move |runtime: &Runtime, place| {
            // On the heap, because some futures of constructors are larger than a stack without optimization.
            let future: Pin<Box<dyn Future<Output = T>>> = Box::pin(make());
            let value = runtime.block_on(future);
            println!("{}", json!({ "made": name::<T>() }));
            let one_thread = Builder::new_current_thread().enable_all().build().expect("a runtime");
            let dropped = panic::catch_unwind(AssertUnwindSafe(|| match place {
                Place::Control => {
                    let _context = runtime.enter();
                    drop(value);
                }
                Place::OffContext => drop(value),
                Place::InAsync => one_thread.block_on(async { drop(value) }),
            }));
            mem::forget(one_thread);
            let panics = PANICS.lock().map(|panics| panics.clone()).unwrap_or_default();
            println!("{}", json!({ "unwound": dropped.is_err(), "panics": panics }));
        };
        Self { of_crate, of_type: name::<T>(), when: "", drop_one: Box::new(drop_one) }
    }

    /// The state of the value, if there are cases of the type in several.
    pub fn when(mut self, when: &'static str) -> Self {
        self.when = when;
        self
    }
}

/// The name of a type as the check has it: without lifetimes.
fn name<T>() -> String {
    any::type_name::<T>().replace("'_, ", "").replace("<'_>", "")
}

/// The panics of the thread that drops, in their order: message and place.
static PANICS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Runs what the command line asks for: nothing lists the cases, `NUMBER PLACE` runs one.
pub fn run(cases: &[Case]) -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (number, place) = match words[..] {
        [] => {
            for (number, case) in cases.iter().enumerate() {
                println!(
                    "{}",
                    json!({ "number": number, "crate": case.of_crate, "type": case.of_type, "when": case.when })
                );
            }
            return ExitCode::SUCCESS;
        }
        [number, "control"] => (number, Place::Control),
        [number, "off-context"] => (number, Place::OffContext),
        [number, "in-async"] => (number, Place::InAsync),
        _ => return usage(),
    };
    let Some(case) = number.parse().ok().and_then(|number: usize| cases.get(number)) else {
        return usage();
    };
    let dropping = thread::current().id();
    panic::set_hook(Box::new(move |panic| {
        if thread::current().id() != dropping {
            return;
        }
        let message = panic.payload_as_str().unwrap_or("?").to_owned();
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        // At once: a second panic may abort the process.
        println!("{}", json!({ "panic": message, "at": at }));
        if let Ok(mut panics) = PANICS.lock() {
            panics.push((message, at));
        }
    }));
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    (case.drop_one)(&runtime.expect("a runtime"), place);
    // The runtimes are not part of the trial.
    let _ = std::io::stdout().flush();
    std::process::exit(0)
}

fn usage() -> ExitCode {
    eprintln!("usage: [NUMBER (control | off-context | in-async)]");
    ExitCode::from(2)
}
