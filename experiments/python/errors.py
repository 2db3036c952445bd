"""Shuts something down that may not end as it should, and checks that somebody is told.

    python3 errors.py HANDLE CASE

The handles are that of cloacina's Python bindings, that of the plan to repair it (both reconstructed in
crates/python/designs/src/handle.rs), and sundown.Runtime.
"""

import os
import sys
import threading
import time

import lab

lab.print_last_line_at_exit()

import sundown  # noqa: E402
from sundown_designs import CarefulHandle, Handle  # noqa: E402

# The limit of a shutdown that does not end, in seconds; and of one that does, on a busy machine too.
LIMIT = 0.2
PLENTY = 20


def ignoring(case):
    """Every error is ignored, and the join has no limit."""
    told = raised(Handle(case).shutdown)
    lab.check(f"the caller was told, of a thread that {case}", (told is None) == (case == "ends"))


def planned(case):
    """The join has a limit, and errors are returned."""
    expected = {"ends": None, "panics": RuntimeError, "stays": TimeoutError}[case]
    limit = LIMIT if case == "stays" else PLENTY
    told = raised(lambda: CarefulHandle(case).shutdown(limit))
    lab.check(f"the caller was told: {told!r}", type(told) is (expected or type(None)))


def dropped(case):
    """The same, but only the destructor calls `shutdown`."""
    heard = []
    sys.unraisablehook = heard.append
    told = raised(lambda: CarefulHandle(case))
    is_told = told is not None or bool(heard)
    lab.check(f"somebody was told, of a thread that {case}", is_told == (case != "ends"))


def kit(case):
    """sundown.Runtime."""
    CASES[case]()


def raised(does):
    """Returns what a call raises."""
    try:
        does()
    except Exception as error:
        return error
    return None


def never_ends():
    threading.Event().wait()


def begun_on(runtime, function):
    """Spawns a callable, and waits until it is running."""
    begun = threading.Event()

    def called():
        begun.set()
        function()

    runtime.spawn(called, name=function.__name__)
    begun.wait()


def ends():
    runtime = sundown.Runtime("errors")
    report = runtime.shutdown(PLENTY)
    lab.check("the report says how long it took", report.elapsed < PLENTY)
    lab.check("a second shutdown is told the same", raised(runtime.shutdown) is None)


def times_out(error):
    lab.check(f"it is a TimedOut: {error!r}", isinstance(error, sundown.TimedOut))
    lab.check("it can be caught as a ShutdownError", isinstance(error, sundown.ShutdownError))
    names = [work.name for work in getattr(error, "still_running", ())]
    lab.check(f"it says what has not ended: {names}", names == ["never_ends"])
    lab.check(f"so does its text: {error}", "never_ends" in str(error))


def stays():
    runtime = sundown.Runtime("errors")
    begun_on(runtime, never_ends)
    began = time.monotonic()
    times_out(raised(lambda: runtime.shutdown(LIMIT)))
    lab.record_seconds("shutdown_took", time.monotonic() - began)


def in_a_block():
    def block():
        with sundown.Runtime("errors", timeout=LIMIT) as runtime:
            begun_on(runtime, never_ends)

    times_out(raised(block))


def in_a_block_that_raises():
    def block():
        with sundown.Runtime("errors", timeout=LIMIT) as runtime:
            begun_on(runtime, never_ends)
            raise KeyError("the program's own")

    error = raised(block)
    lab.check(f"the program's own error is not hidden: {error!r}", isinstance(error, KeyError))


def at_exit():
    begun_on(sundown.Runtime("errors"), never_ends)


def from_inside():
    runtime = sundown.Runtime("errors")
    error = raised(runtime.spawn(runtime.shutdown).result)
    lab.check(f"it is a FromInside: {error!r}", isinstance(error, sundown.FromInside))


def after_fork():
    runtime = sundown.Runtime("errors")
    child = os.fork()
    if child == 0:
        error = raised(runtime.shutdown)
        right = isinstance(error, sundown.SignalLost) and error.owner == os.getppid()
        os._exit(0 if right else 1)
    _, status = os.waitpid(child, 0)
    lab.check("the child was told whose threads they are", os.waitstatus_to_exitcode(status) == 0)
    lab.check("the parent's runtime ends", raised(runtime.shutdown) is None)


CASES = {
    "ends": ends,
    "stays": stays,
    "in-a-block": in_a_block,
    "in-a-block-that-raises": in_a_block_that_raises,
    "at-exit": at_exit,
    "from-inside": from_inside,
    "after-fork": after_fork,
}

if __name__ == "__main__":
    handle, case = sys.argv[1:]
    # What `stays` is still there at exit.
    sundown.set_exit_timeout(LIMIT)
    {"ignoring": ignoring, "planned": planned, "dropped": dropped, "kit": kit}[handle](case)
    lab.leaving()
