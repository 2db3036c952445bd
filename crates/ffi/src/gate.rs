//! A gate in front of something that will go away.

use std::{
    mem::ManuallyDrop,
    sync::{Arc, atomic::AtomicUsize},
};

use sundown::gate::{Entry, EntryGate};

use crate::{
    SundownCode,
    border::{Counted, guarded, limit, not_null, share, write_if_wanted},
    fork,
};

/// How many are not freed, or have somebody inside.
pub(crate) static GATES: AtomicUsize = AtomicUsize::new(0);

/// A gate in front of something that will go away, such as an interpreter or a library. A thread that calls into
/// it enters before and leaves after. To take the thing away, close the gate and wait until nobody is inside.
///
/// In a forked child nobody is inside, and an entry from before the fork does not count. A gate that was closed stays
/// closed.
pub struct SundownGate {
    gate: EntryGate,
    counted: Counted,
}

/// An entry into a gate. Keep it until you leave; it must not be copied. Another thread may leave with it.
#[repr(C)]
#[derive(Debug)]
pub struct SundownEntry {
    /// Not for you. All zero after leaving.
    pub opaque: [u64; 3],
}

/// What an entry holds.
#[repr(C)]
struct Inside {
    /// Never null. An entry that has left has a null here.
    gate: ManuallyDrop<Arc<SundownGate>>,
    /// Dropped before the gate. In truth it lives as long as the share beside it.
    entry: ManuallyDrop<Entry<'static>>,
}

const _: () = assert!(size_of::<Inside>() <= size_of::<SundownEntry>());
const _: () = assert!(align_of::<Inside>() <= align_of::<SundownEntry>());

/// Makes an open gate.
///
/// Fails with NULL_POINTER.
///
/// # Safety
///
/// `gate` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sundown_gate_new(gate: *mut *mut SundownGate) -> SundownCode {
    guarded(|| {
        not_null(gate)?;
        fork::watch();
        let made = SundownGate { gate: EntryGate::new(), counted: Counted::new(&GATES) };
        // SAFETY: it is not null, and the caller promises that it can be written.
        unsafe { gate.write(Arc::into_raw(Arc::new(made)).cast_mut()) };
        Ok(())
    })
}

/// Enters a gate, and writes the entry to `*entry`. Never blocks.
///
/// Fails with NULL_POINTER, or CLOSED. Then `*entry` is an entry that has left.
///
/// # Safety
///
/// `gate` is null or was not freed. `entry` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sundown_gate_enter(
    gate: *const SundownGate,
    entry: *mut SundownEntry,
) -> SundownCode {
    guarded(|| {
        not_null(entry)?;
        // SAFETY: it is not null, and the caller promises that it can be written.
        unsafe { entry.write(SundownEntry { opaque: [0; 3] }) };
        // SAFETY: the caller promises that it was not freed.
        let gate = unsafe { share(gate) }?;
        if !fork::is_watched() {
            // Lets the gate ask which process this is, which it does not when the thread that forked enters.
            let _ = gate.gate.inside();
        }
        let pointer = &raw const gate.gate;
        // SAFETY: the share stands beside the entry, and is dropped after it.
        let entered = unsafe { &*pointer }.enter()?;
        let inside = Inside { gate: ManuallyDrop::new(gate), entry: ManuallyDrop::new(entered) };
        // SAFETY: it can be written, and is large enough and aligned.
        unsafe { entry.cast::<Inside>().write(inside) };
        Ok(())
    })
}

/// Leaves a gate. Never blocks.
///
/// Fails with NULL_POINTER, or NOT_INSIDE for an entry that has left.
///
/// # Safety
///
/// `entry` is null or was written by `sundown_gate_enter`. No other thread uses it at the same time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sundown_gate_leave(entry: *mut SundownEntry) -> SundownCode {
    guarded(|| {
        not_null(entry)?;
        // SAFETY: it was written by `sundown_gate_enter`.
        let [gate, ..] = unsafe { entry.as_ref_unchecked() }.opaque;
        if gate == 0 {
            return Err(SundownCode::NotInside);
        }
        // SAFETY: its first word is not null, so it holds what was written there.
        let inside = unsafe { entry.cast::<Inside>().read() };
        // SAFETY: it can be written. It has left from now on.
        unsafe { entry.write(SundownEntry { opaque: [0; 3] }) };
        let Inside { gate, entry } = inside;
        drop(ManuallyDrop::into_inner(entry));
        drop(ManuallyDrop::into_inner(gate));
        Ok(())
    })
}

/// Closes a gate for good. Writes to `*inside` how many are inside, unless it is null. Never blocks. A second call
/// only writes the number.
///
/// Fails with NULL_POINTER.
///
/// # Safety
///
/// `gate` is null or was not freed. `inside` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sundown_gate_close(
    gate: *const SundownGate,
    inside: *mut usize,
) -> SundownCode {
    guarded(|| {
        // SAFETY: the caller promises that it was not freed.
        let gate = unsafe { share(gate) }?;
        let number = gate.gate.close();
        // SAFETY: the caller promises that it can be written.
        unsafe { write_if_wanted(inside, number) };
        Ok(())
    })
}

/// Waits until a gate is closed and nobody is inside, for `limit_ms` milliseconds at most. UINT64_MAX means no
/// limit. Writes to `*inside` how many are inside, unless it is null. Do not call this inside the gate.
///
/// Fails with NULL_POINTER, or STILL_INSIDE. You can wait again.
///
/// # Safety
///
/// `gate` is null or was not freed. `inside` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sundown_gate_wait(
    gate: *const SundownGate,
    limit_ms: u64,
    inside: *mut usize,
) -> SundownCode {
    guarded(|| {
        // SAFETY: the caller promises that it was not freed.
        let gate = unsafe { share(gate) }?;
        let waited = gate.gate.wait_empty_blocking(limit(limit_ms));
        let number = waited.map_or_else(|still| still.inside, |()| 0);
        // SAFETY: the caller promises that it can be written.
        unsafe { write_if_wanted(inside, number) };
        waited.map_err(|_| SundownCode::StillInside)
    })
}

/// Closes a gate and frees it. No call with it may begin after that, except that those who are inside may leave.
/// Null is fine.
///
/// # Safety
///
/// `gate` is null or was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sundown_gate_free(gate: *mut SundownGate) -> SundownCode {
    if gate.is_null() {
        return SundownCode::Ok;
    }
    guarded(|| {
        // SAFETY: this is the share that the handle has, which the caller gives back.
        let gate = unsafe { Arc::from_raw(gate.cast_const()) };
        // In a child, this is how many have entered there.
        if gate.gate.close() == 0 {
            gate.counted.give_up_in_child();
        }
        Ok(())
    })
}
