// sundown: a runtime that ends, and a gate, for every language that can call C.
//
// Rules that hold for all functions, unless one says otherwise:
//
// - Each may be called on any thread, and on several at the same time, also inside a job.
// - What a function fails with is named without SUNDOWN_CODE_.
// - A null pointer is answered with NULL_POINTER, unless the parameter may be null. Any other pointer must be
//   valid: a handle from this library that was not freed, or a place for what is written.
// - Handles belong to you until you free them. A call that is under way keeps what it needs, so another
//   thread may free a handle meanwhile, but no call may begin after that.
// - Text that you pass is copied. Text that you get stands in a buffer of yours. Nothing else is yours to free.
// - No function throws or exits. Nor may your functions: a job or a destructor must not throw, `longjmp` out,
//   call `pthread_exit` or be cancelled. The process is aborted if it does.
// - Before you close the library (dlclose), `sundown_may_unload` must return SUNDOWN_CODE_OK, and no thread
//   may be inside a function of the library.
//
// Generated from crates/ffi/src by cbindgen. Do not edit.

#ifndef SUNDOWN_H
#define SUNDOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The size of the text of an answer, with its zero byte.
#define SUNDOWN_TEXT_SIZE 1024

// What a function returns. Zero is success.
enum SundownCode
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // What was asked for has happened. After a stop: everything has ended.
  SUNDOWN_CODE_OK = 0,
  // A pointer that must not be null is null.
  SUNDOWN_CODE_NULL_POINTER = 1,
  // The operating system refused a thread or a descriptor.
  SUNDOWN_CODE_NO_THREAD = 2,
  // The runtime is stopping or has stopped.
  SUNDOWN_CODE_SHUT_DOWN = 3,
  // This process is a forked child of the one that has the runtime's threads. Restart it here.
  SUNDOWN_CODE_FORKED = 4,
  // The limit has passed. What is left is still ending; call again to keep waiting.
  SUNDOWN_CODE_TIMED_OUT = 5,
  // The call was made inside a job of the runtime, and would wait for its own end. The runtime has been
  // asked to stop.
  SUNDOWN_CODE_FROM_INSIDE = 6,
  // Everything has ended, and a job that was written in Rust had panicked.
  SUNDOWN_CODE_JOB_PANICKED = 7,
  // Something other than this library ended the runtime's own thread.
  SUNDOWN_CODE_THREAD_ENDED = 8,
  // The runtime has not ended. Stop it first.
  SUNDOWN_CODE_NOT_ENDED = 9,
  // The gate is closed.
  SUNDOWN_CODE_CLOSED = 10,
  // The limit has passed, and threads are still inside the gate.
  SUNDOWN_CODE_STILL_INSIDE = 11,
  // This entry is not inside a gate: it has left already.
  SUNDOWN_CODE_NOT_INSIDE = 12,
  // Something of the library is still in use.
  SUNDOWN_CODE_IN_USE = 13,
  // A panic inside the library, which is a bug.
  SUNDOWN_CODE_PANICKED = 14,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum SundownCode SundownCode;
#else
typedef int32_t SundownCode;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The state of a runtime.
enum SundownState
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // It runs.
  SUNDOWN_STATE_RUNNING = 0,
  // It is stopping.
  SUNDOWN_STATE_STOPPING = 1,
  // It has ended, and was not started again.
  SUNDOWN_STATE_ENDED = 2,
  // It belongs to the process that this one was forked from.
  SUNDOWN_STATE_FORKED = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum SundownState SundownState;
#else
typedef int32_t SundownState;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A gate in front of something that will go away, such as an interpreter or a library. A thread that calls into
// it enters before and leaves after. To take the thing away, close the gate and wait until nobody is inside.
//
// In a forked child nobody is inside, and an entry from before the fork does not count. A gate that was closed stays
// closed.
typedef struct SundownGate SundownGate;

// What a job can ask. It belongs to the library, and is valid until the job's function returns.
typedef struct SundownJob SundownJob;

// A runtime. It runs jobs on threads of its own until it is stopped.
typedef struct SundownRuntime SundownRuntime;

// What a call says besides its code: numbers, and a sentence for a person. It holds no memory of the library.
// What a function does not speak of is zero.
typedef struct SundownAnswer {
  // How long the call took, in nanoseconds.
  uint64_t elapsed_ns;
  // How many jobs have run to their end so far: since the start, and also before a restart.
  uint64_t ran;
  // How many jobs were dropped so far without being run, because the runtime was stopped.
  uint64_t not_run;
  // How many jobs panicked so far. Only a job that is written in Rust can.
  uint64_t panicked;
  // How many jobs had not ended when the call gave up.
  uint64_t still_running;
  // How many threads of the library had not ended when the call gave up.
  uint64_t threads;
  // The same as a sentence, in UTF-8, with what the library cannot see. It ends with a zero byte, and is cut
  // if it is longer.
  char text[SUNDOWN_TEXT_SIZE];
} SundownAnswer;

// The function of a job. It runs on a thread of the runtime, and may block.
typedef void (*SundownRun)(void *data, const struct SundownJob *job);

// The destructor of a job's data. It may be called on any thread, also before `sundown_submit` returns.
typedef void (*SundownDestroy)(void *data);

// A runtime in numbers. They may be out of date when you look at them.
typedef struct SundownStats {
  // Its state.
  SundownState state;
  // How often it was started in this process.
  uint64_t generation;
  // How many jobs wait or run.
  uint64_t jobs;
  // How many threads run jobs, or wait for one.
  uint64_t threads;
  // As in an answer.
  uint64_t ran;
  // As in an answer.
  uint64_t not_run;
} SundownStats;

// An entry into a gate. Keep it until you leave; it must not be copied. Another thread may leave with it.
typedef struct SundownEntry {
  // Not for you. All zero after leaving.
  uint64_t opaque[3];
} SundownEntry;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The name of a code, which is never freed: `"timed out"`. `"unknown"` for a number that is no code.
const char *sundown_error_name(int32_t code);

// Tells the library that this process is a forked child. The library does this by itself in each child that `fork`
// makes, with a handler that it registers when the first runtime or gate is made. So call this only in a child that
// was made in another way, such as with `_Fork` or `clone`, and before anything else in it. It takes no lock. The
// library tells 1,023 generations of children that have the same id apart.
//
// Do not pass this to `pthread_atfork`. It would become a handler of yours, which stays when the library is unloaded,
// and the next `fork` would call what is gone.
void sundown_forked_child(void);

// Whether the job should return, because the runtime is being stopped. Costs one atomic load. A job that
// takes long asks now and then. `false` for null.
//
// # Safety
//
// `job` is null, or the pointer that the job's function was given, and that function has not returned.
bool sundown_job_should_stop(const struct SundownJob *job);

// Starts a runtime. Its threads have this name, which is cut after 15 bytes where a system shows it.
//
// `workers` is how many jobs run at the same time, each on a thread; 0 means as many as there are processors. `answer` may be
// null.
//
// Stop the runtime and then free it. Otherwise it runs until the process exits.
//
// Fails with NULL_POINTER or NO_THREAD. Then `*runtime` is not written.
//
// # Safety
//
// `name` ends with a zero byte. `runtime` and `answer` are null or can be written.
SundownCode sundown_start(const char *name,
                          uint32_t workers,
                          struct SundownRuntime **runtime,
                          struct SundownAnswer *answer);

// Submits a job: `run(data, job)` is called on a thread of the runtime. Jobs begin in about the order in which
// they are submitted. A job may submit others, and wait for them as long as a worker is free. If the operating system
// refuses a thread, the job waits until another job has returned or a thread can be started.
//
// `destroy(data)` is called exactly once, whatever this returns: after the job has run, when it is dropped
// without being run, or before this returns an error. It may be null, and so may `data`. `name` may be null;
// answers name the job by it.
//
// Fails with NULL_POINTER, SHUT_DOWN or FORKED.
//
// # Safety
//
// `runtime` is null or was not freed. `name` is null or ends with a zero byte. `run` and `destroy` may be
// called with `data` on another thread.
SundownCode sundown_submit(const struct SundownRuntime *runtime,
                           const char *name,
                           SundownRun run,
                           void *data,
                           SundownDestroy destroy);

// Stops a runtime, and waits until everything has ended: its jobs, and its threads.
//
// Jobs that have not begun are dropped, and their data is destroyed. Jobs that run may return:
// `sundown_job_should_stop` tells them. Nothing interrupts a job that does not. After `limit_ms` milliseconds
// this returns TIMED_OUT, and the answer names such jobs; call again to keep waiting. UINT64_MAX means no
// limit. `answer` may be null.
//
// A repeated call returns the same code. Of concurrent calls each has its own limit.
//
// Fails with NULL_POINTER, TIMED_OUT, FROM_INSIDE, FORKED or THREAD_ENDED. After JOB_PANICKED everything has
// ended.
//
// # Safety
//
// `runtime` is null or was not freed. `answer` is null or can be written.
SundownCode sundown_stop(const struct SundownRuntime *runtime,
                         uint64_t limit_ms,
                         struct SundownAnswer *answer);

// Starts a runtime again that has ended, or, in a forked child, one of the child's own with the same name and
// workers. In a child, call this before anything else with the runtime. The parent's is not touched. It works in
// seven children that were each forked from the one before. `answer` may be null.
//
// Fails with NULL_POINTER, NOT_ENDED or NO_THREAD, or with FORKED in the eighth child.
//
// # Safety
//
// `runtime` is null or was not freed. `answer` is null or can be written.
SundownCode sundown_restart(const struct SundownRuntime *runtime,
                            struct SundownAnswer *answer);

// Writes the state of a runtime to `*stats`. Never waits.
//
// Fails with NULL_POINTER.
//
// # Safety
//
// `runtime` is null or was not freed. `stats` is null or can be written.
SundownCode sundown_state(const struct SundownRuntime *runtime, struct SundownStats *stats);

// Frees a runtime that has ended. No call with it may begin after that. In a forked child this frees the child's
// copy. Null is fine.
//
// Fails with NOT_ENDED, or FROM_INSIDE in a job of the runtime. Then the runtime stays yours.
//
// # Safety
//
// `runtime` is null or was not freed.
SundownCode sundown_free(struct SundownRuntime *runtime);

// Makes an open gate.
//
// Fails with NULL_POINTER.
//
// # Safety
//
// `gate` is null or can be written.
SundownCode sundown_gate_new(struct SundownGate **gate);

// Enters a gate, and writes the entry to `*entry`. Never blocks.
//
// Fails with NULL_POINTER, or CLOSED. Then `*entry` is an entry that has left.
//
// # Safety
//
// `gate` is null or was not freed. `entry` is null or can be written.
SundownCode sundown_gate_enter(const struct SundownGate *gate, struct SundownEntry *entry);

// Leaves a gate. Never blocks.
//
// Fails with NULL_POINTER, or NOT_INSIDE for an entry that has left.
//
// # Safety
//
// `entry` is null or was written by `sundown_gate_enter`. No other thread uses it at the same time.
SundownCode sundown_gate_leave(struct SundownEntry *entry);

// Closes a gate for good. Writes to `*inside` how many are inside, unless it is null. Never blocks. A second call
// only writes the number.
//
// Fails with NULL_POINTER.
//
// # Safety
//
// `gate` is null or was not freed. `inside` is null or can be written.
SundownCode sundown_gate_close(const struct SundownGate *gate,
                               size_t *inside);

// Waits until a gate is closed and nobody is inside, for `limit_ms` milliseconds at most. UINT64_MAX means no
// limit. Writes to `*inside` how many are inside, unless it is null. Do not call this inside the gate.
//
// Fails with NULL_POINTER, or STILL_INSIDE. You can wait again.
//
// # Safety
//
// `gate` is null or was not freed. `inside` is null or can be written.
SundownCode sundown_gate_wait(const struct SundownGate *gate,
                              uint64_t limit_ms,
                              size_t *inside);

// Closes a gate and frees it. No call with it may begin after that, except that those who are inside may leave.
// Null is fine.
//
// # Safety
//
// `gate` is null or was not freed.
SundownCode sundown_gate_free(struct SundownGate *gate);

// Whether the library may be unloaded: every runtime and gate was freed, nobody is inside a gate, and no thread
// of the library exists. The answer says what is left; it may be null. Never waits.
//
// The library cannot see who is inside one of its functions. Call this on the thread that unloads it, when no
// other thread calls it any more.
//
// After OK, unloading is safe. It may not take the library out of memory at once: glibc keeps it until each
// thread that has used it has ended, the main thread included, and macOS and musl until the process ends. What
// is kept is neither run nor started again. To have it gone, use it on threads that end before you unload it.
//
// Fails with IN_USE.
//
// # Safety
//
// `answer` is null or can be written.
SundownCode sundown_may_unload(struct SundownAnswer *answer);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SUNDOWN_H */
