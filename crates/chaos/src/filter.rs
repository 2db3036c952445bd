//! The system calls at which the program stops: a filter of the kernel, so that all others run at full speed.

use std::{collections::BTreeMap, io};

use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use crate::place::Place;

/// The system calls, and the places that they stand for.
const CALLS: [(i64, Place); 47] = [
    (libc::SYS_exit_group, Place::Exit),
    (libc::SYS_futex, Place::Futex),
    (libc::SYS_close, Place::Close),
    (libc::SYS_close_range, Place::Close),
    (libc::SYS_shutdown, Place::Close),
    (libc::SYS_munmap, Place::Unmap),
    (libc::SYS_madvise, Place::Unmap),
    (libc::SYS_fsync, Place::File),
    (libc::SYS_fdatasync, Place::File),
    (libc::SYS_ftruncate, Place::File),
    (libc::SYS_unlink, Place::File),
    (libc::SYS_unlinkat, Place::File),
    (libc::SYS_rename, Place::File),
    (libc::SYS_renameat, Place::File),
    (libc::SYS_renameat2, Place::File),
    (libc::SYS_pwrite64, Place::File),
    (libc::SYS_pwritev, Place::File),
    (libc::SYS_flock, Place::File),
    (libc::SYS_fcntl, Place::File),
    (libc::SYS_write, Place::Message),
    (libc::SYS_writev, Place::Message),
    (libc::SYS_read, Place::Message),
    (libc::SYS_sendto, Place::Message),
    (libc::SYS_sendmsg, Place::Message),
    (libc::SYS_recvfrom, Place::Message),
    (libc::SYS_recvmsg, Place::Message),
    (libc::SYS_accept4, Place::Message),
    (libc::SYS_connect, Place::Message),
    (libc::SYS_epoll_wait, Place::Wait),
    (libc::SYS_epoll_pwait, Place::Wait),
    (libc::SYS_epoll_pwait2, Place::Wait),
    (libc::SYS_epoll_ctl, Place::Wait),
    (libc::SYS_poll, Place::Wait),
    (libc::SYS_ppoll, Place::Wait),
    (libc::SYS_select, Place::Wait),
    (libc::SYS_pselect6, Place::Wait),
    (libc::SYS_nanosleep, Place::Wait),
    (libc::SYS_clock_nanosleep, Place::Wait),
    (libc::SYS_sched_yield, Place::Wait),
    (libc::SYS_wait4, Place::Wait),
    (libc::SYS_waitid, Place::Wait),
    (libc::SYS_kill, Place::Signal),
    (libc::SYS_tkill, Place::Signal),
    (libc::SYS_tgkill, Place::Signal),
    (libc::SYS_rt_sigqueueinfo, Place::Signal),
    (libc::SYS_signalfd4, Place::Signal),
    (libc::SYS_pidfd_send_signal, Place::Signal),
];

/// Of fcntl(2), only what locks a file stops.
const LOCKS: [i32; 4] = [libc::F_SETLK, libc::F_SETLKW, libc::F_OFD_SETLK, libc::F_OFD_SETLKW];

/// The place of a system call that stops.
pub(crate) fn place(call: u64) -> Option<Place> {
    let known = CALLS.iter().find(|(number, _)| u64::try_from(*number) == Ok(call));
    known.map(|(_, place)| *place)
}

/// Makes this process, and all that come of it, stop for their tracer at these places. Without a tracer those
/// calls fail from then on. It also gives up the right to gain privileges, which needs none.
pub(crate) fn install(places: &[Place]) -> io::Result<()> {
    let calls = CALLS.iter().filter(|(_, place)| places.contains(place));
    let program = calls
        .map(|(number, _)| {
            Ok((*number, if *number == libc::SYS_fcntl { locks()? } else { Vec::new() }))
        })
        .collect::<Result<BTreeMap<_, _>, BackendError>>()
        .and_then(|rules| {
            let (allow, stop) = (SeccompAction::Allow, SeccompAction::Trace(0));
            SeccompFilter::new(rules, allow, stop, TargetArch::x86_64)
        });
    let program: BpfProgram = program.and_then(TryInto::try_into).map_err(io::Error::other)?;
    apply_filter(&program).map_err(io::Error::other)
}

fn locks() -> Result<Vec<SeccompRule>, BackendError> {
    let rule = |lock: i32| {
        let lock = u64::from(lock.unsigned_abs());
        let is = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, lock)?;
        SeccompRule::new(vec![is])
    };
    LOCKS.into_iter().map(rule).collect()
}
