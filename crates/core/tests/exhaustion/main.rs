//! If the system gives no more threads or descriptors, a value that cannot be torn down is handed back,
//! and its destructor has not begun.
//!
//! Limits hold for a process, so this program starts itself again for each test.

#[cfg(all(target_os = "linux", not(loom)))]
mod exhausted;

fn main() {
    #[cfg(all(target_os = "linux", not(loom)))]
    exhausted::main();
    #[cfg(not(all(target_os = "linux", not(loom))))]
    println!("skipped: limits are set on Linux only");
}
