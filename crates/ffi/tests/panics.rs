//! A job or a destructor that is written in Rust may panic. Then that is in the answer.
#![allow(clippy::panic, reason = "that is what it is about")]

use std::{
    ffi::{CStr, c_void},
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

use sundown_ffi::{
    SundownAnswer, SundownCode, SundownJob, SundownRun, sundown_free, sundown_may_unload,
    sundown_start, sundown_stop, sundown_submit,
};

static DESTROYED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C-unwind" fn panics(_: *mut c_void, _: *const SundownJob) {
    panic!("a bug of a job")
}

unsafe extern "C-unwind" fn fine(_: *mut c_void, _: *const SundownJob) {}

unsafe extern "C-unwind" fn destroy(data: *mut c_void) {
    DESTROYED.fetch_add(1, Ordering::Relaxed);
    assert!(data.is_null(), "a bug of a destructor");
}

#[test]
fn a_job_that_panics_is_named_in_the_answer_and_its_data_is_destroyed() {
    let mut runtime = ptr::null_mut();
    let data = (&raw const DESTROYED).cast_mut().cast();
    let jobs: [(SundownRun, _); 4] =
        [(Some(panics), ptr::null_mut()), (Some(panics), data), (Some(fine), data), (None, data)];
    // SAFETY: the name ends with a zero byte, and the handle can be written.
    let started =
        unsafe { sundown_start(c"panics".as_ptr(), 2, &raw mut runtime, ptr::null_mut()) };
    assert_eq!(started, SundownCode::Ok);
    for (run, data) in jobs {
        // SAFETY: the handle was not freed, and the functions do not use what `data` points to.
        let code = unsafe { sundown_submit(runtime, c"job".as_ptr(), run, data, Some(destroy)) };
        let expected = if run.is_some() { SundownCode::Ok } else { SundownCode::NullPointer };
        assert_eq!(code, expected);
    }
    while DESTROYED.load(Ordering::Relaxed) < jobs.len() {
        std::thread::yield_now();
    }
    let mut answer = SundownAnswer::default();
    // SAFETY: the handle was not freed, and the answer can be written.
    let stopped = unsafe { sundown_stop(runtime, u64::MAX, &raw mut answer) };
    assert_eq!((stopped, answer.panicked), (SundownCode::JobPanicked, 2));
    // SAFETY: the text of an answer ends with a zero byte.
    let text = unsafe { CStr::from_ptr(answer.text.as_ptr()) }.to_string_lossy();
    assert!(text.contains("`job` panicked: a bug of a job"), "{text}");
    // SAFETY: the handle was not freed.
    assert_eq!(unsafe { sundown_free(runtime) }, SundownCode::Ok);
    // SAFETY: null is allowed.
    assert_eq!(unsafe { sundown_may_unload(ptr::null_mut()) }, SundownCode::Ok);
    assert_eq!(DESTROYED.load(Ordering::Relaxed), jobs.len(), "each once");
}
