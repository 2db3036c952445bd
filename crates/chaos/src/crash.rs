//! Where a thread was when it got a signal that ends its process.

use std::fs;

use nix::{
    libc,
    sys::{ptrace, signal::Signal},
    unistd::Pid,
};

/// What a processor raises: a wrong address, a wrong instruction.
const RAISED: [i32; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE];

/// Where a thread was.
#[derive(Debug)]
pub(crate) struct Crash {
    /// The processor raised the signal, and nobody sent it. A handler may send it again.
    pub(crate) is_raised: bool,
    pub(crate) text: String,
}

/// ``thread `loader` got SIGSEGV in libplugin.so``; `was sent` in place of `got`, if not the processor raised it. The thread
/// has stopped before the signal's delivery. `None` if it is another signal, or the thread has been killed meanwhile.
pub(crate) fn describe(process: i32, thread: i32, signal: i32) -> Option<Crash> {
    let signal = Signal::try_from(signal).ok().filter(|_| RAISED.contains(&signal))?;
    let at = ptrace::getregs(Pid::from_raw(thread)).ok()?.rip;
    // Positive if the kernel has a reason; from kill(2) and tgkill(2) it is not.
    let is_raised = ptrace::getsiginfo(Pid::from_raw(thread)).ok()?.si_code > 0;
    let got = if is_raised { "got" } else { "was sent" };
    let read = |file| fs::read_to_string(format!("/proc/{process}/{file}")).ok();
    let name = read(format!("task/{thread}/comm"))?;
    let place = mapped(&read("maps".to_owned())?, at).map_or_else(
        || "where nothing is mapped: its code is gone, or it called what is no function".to_owned(),
        |file| format!("in {file}"),
    );
    let text = format!("thread `{}` {got} {signal} {place}", name.trim_end().escape_debug());
    Some(Crash { is_raised, text })
}

/// The file, without its folder, in which an address is. The lines are as in
/// `7f59e0a00000-7f59e0c00000 r-xp 00026000 fe:00 1234   /usr/lib/libc.so.6`.
fn mapped(maps: &str, address: u64) -> Option<String> {
    let of_it = |line: &&str| {
        let bounds = line.split_once(' ').and_then(|(bounds, _)| bounds.split_once('-'));
        bounds.is_some_and(|(from, to)| {
            let number = |text| u64::from_str_radix(text, 16);
            number(from).is_ok_and(|it| it <= address) && number(to).is_ok_and(|it| address < it)
        })
    };
    let line = maps.lines().find(of_it)?;
    let path = line.split_ascii_whitespace().nth(5).unwrap_or("memory of no file");
    // A path may have blanks.
    let path = line.find(path).map_or(path, |at| &line[at..]);
    Some(path.rsplit('/').next().unwrap_or(path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_file_in_memory_of_no_file_or_nowhere() {
        let maps = "1000-2000 r-xp 00000000 fe:00 17                         /opt/a b/libplugin.so\n\
                    2000-3000 rwxp 00000000 00:00 0 \n\
                    7fff0000-7fff2000 r-xp 00000000 00:00 0                  [vdso]\n";
        let found = |address| mapped(maps, address);
        assert_eq!(found(0x1fff).as_deref(), Some("libplugin.so"));
        assert_eq!(found(0x2000).as_deref(), Some("memory of no file"));
        assert_eq!(found(0x7fff_0010).as_deref(), Some("[vdso]"));
        assert_eq!(found(0x3000), None);
        assert_eq!(found(0), None);
    }
}
