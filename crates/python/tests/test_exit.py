"""However a program ends, its runtimes are taken down before the interpreter is finalized."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest
from conftest import BEGIN, FATAL, PLENTY

#: More than a busy machine needs to end a process, in seconds.
SLACK = 20.0

LOAD = """
runtime = sundown.Runtime("load", workers=2)
"""

#: How each program ends, and its exit code. The load is tasks that release the interpreter's lock.
ENDS = {
    "by leaving its with block": (
        0,
        """
        async def main():
            async with runtime:
                await asyncio.gather(*[runtime.spawn(talk, 20) for _ in range(50)])
            last_line()
        asyncio.run(main())
        """,
    ),
    "with work that nobody awaits": (
        0,
        """
        async def main():
            async def awaits(task):
                await task
            asyncio.ensure_future(awaits(runtime.spawn(talk, 300)))
            tasks = [runtime.spawn(talk, 300) for _ in range(50)]
            await runtime.sleep(0.01)
            last_line()
        asyncio.run(main())
        """,
    ),
    "by returning": (
        0,
        """
        tasks = [runtime.spawn(talk, 300) for _ in range(50)]
        until(lambda: runtime.stats().inside > 0)
        last_line()
        """,
    ),
    "by sys.exit in a coroutine": (
        3,
        """
        async def main():
            tasks = [runtime.spawn(talk, 300) for _ in range(50)]
            await runtime.sleep(0.01)
            last_line()
            sys.exit(3)
        asyncio.run(main())
        """,
    ),
    "by an exception that nobody catches": (
        1,
        """
        async def main():
            tasks = [runtime.spawn(talk, 300) for _ in range(50)]
            await runtime.sleep(0.01)
            last_line()
            raise KeyError("on purpose")
        asyncio.run(main())
        """,
    ),
    "with a thousand operations in flight": (
        0,
        """
        tasks = [runtime.spawn(talk, 100) for _ in range(1000)]
        until(lambda: runtime.stats().inside > 0)
        last_line()
        """,
    ),
    "by os._exit": (
        4,
        """
        tasks = [runtime.spawn(talk, 300) for _ in range(50)]
        until(lambda: runtime.stats().inside > 0)
        last_line()
        os._exit(4)
        """,
    ),
    "with timers and repetitions set": (
        0,
        """
        timers = [runtime.call_every(0.001, talk, 1) for _ in range(20)]
        timers += [runtime.call_later(0.02, talk, 1) for _ in range(50)]
        until(lambda: runtime.stats().inside > 0)
        last_line()
        """,
    ),
    "while other threads wait for results": (
        0,
        """
        def waits():
            while True:
                try:
                    runtime.spawn(talk, 20).result()
                except sundown.Ended:
                    return
        for _ in range(5):
            threading.Thread(target=waits, daemon=True).start()
        until(lambda: runtime.stats().inside > 0)
        last_line()
        """,
    ),
    "while other threads shut it down": (
        0,
        """
        tasks = [runtime.spawn(talk, 300) for _ in range(20)]
        for _ in range(3):
            threading.Thread(target=runtime.shutdown, daemon=True).start()
        last_line()
        """,
    ),
    "with a reference in a module that goes last": (
        0,
        """
        sys.modules["builtins"].kept = [runtime.spawn(talk, 300) for _ in range(50)]
        sys.kept = runtime
        until(lambda: runtime.stats().inside > 0)
        last_line()
        """,
    ),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_program_that_ends_with_work_in_flight_exits_cleanly(run, how):
    code, source = ENDS[how]
    for _ in range(3):
        program = run(LOAD + textwrap.dedent(source))
        program.must_be_clean(code)
        assert ("KeyError: 'on purpose'" in program.err) == (code == 1)


@pytest.mark.parametrize(
    "broken",
    [
        "last_line(); os.abort()",
        "last_line(); sys.exit(1)",
        "last_line(); print(\"thread 'x' panicked at src/lib.rs\", file=sys.stderr)",
        "last_line(); print('Fatal Python error: PyGILState_Release', file=sys.stderr)",
        "pass",
    ],
)
def test_an_exit_that_is_not_clean_is_noticed(run, broken):
    assert run(broken).failures() != []


@pytest.mark.parametrize(
    "stuck", ["lambda: time.sleep(3600)", "lambda: threading.Event().wait()"]
)
def test_a_stuck_callable_does_not_keep_the_process_beyond_the_limit(run, stuck):
    program = run(
        f"""
        sundown.set_exit_timeout(0.5)
        runtime = sundown.Runtime("stuck")
        runtime.spawn({stuck}, name="poll")
        until(lambda: runtime.stats().inside == 1)
        last_line()
        """
    )
    program.must_be_clean()
    assert 0.5 <= program.left_after < 0.5 + SLACK
    assert "stuck has not ended after" in program.err
    assert "poll (spawned at <string>:" in program.err


@pytest.mark.parametrize(
    ("outlives", "number"),
    [
        # Asks for the interpreter's lock once, shortly before or during the finalization.
        ("lambda: (exiting.wait(), time.sleep(0.25))", 10),
        # Asks for it all the time, in C and in Python's own loop. Only a few of the latter, because each
        # of them has its turn whenever the end needs the lock.
        ("talk", 10),
        ("lambda: [None for _ in iter(int, 1)]", 3),
    ],
)
@pytest.mark.parametrize("code", [0, 7])
def test_callables_that_outlive_the_limit_are_left_without_an_abort(run, outlives, number, code):
    for _ in range(3):
        program = run(
            f"""
            sundown.set_exit_timeout(0.2)
            runtime = sundown.Runtime("late", workers=1)
            exiting = threading.Event()
            atexit.register(exiting.set)
            for _ in range({number}):
                runtime.spawn({outlives})
            until(lambda: runtime.stats().inside == {number})
            last_line()
            sys.exit({code})
            """
        )
        program.must_be_clean(code)
        assert program.left_after < 0.2 + SLACK
        # The one that ends may have ended in time.
        assert "has not ended after" in program.err or "sleep" in outlives


def test_a_limit_of_zero_waits_for_nothing_and_aborts_nothing(run):
    program = run(
        """
        sundown.set_exit_timeout(0)
        runtime = sundown.Runtime("late")
        for _ in range(20):
            runtime.spawn(talk)
        until(lambda: runtime.stats().inside == 20)
        last_line()
        """
    )
    program.must_be_clean()


def test_what_has_begun_is_finished_at_exit_and_what_has_not_is_dropped(run):
    program = run(
        """
        runtime = sundown.Runtime("one at a time", blocking_threads=1)
        inside, go_on = threading.Event(), threading.Event()
        def first():
            inside.set()
            go_on.wait()
            print("first done", flush=True)
        runtime.spawn(first)
        inside.wait()
        runtime.spawn(print, "never", flush=True)
        def lets_go():
            # The gate is closed right after the program begins to exit.
            until(lambda: sundown._exit._exiting)
            time.sleep(0.2)
            go_on.set()
        threading.Thread(target=lets_go, daemon=True).start()
        last_line()
        """
    )
    assert program.failures() == ["its last line is missing"]
    assert program.out.splitlines()[-1] == "first done"
    assert "never" not in program.out


def test_a_handler_registered_before_the_import_finds_work_refused(run):
    program = run(
        """
        atexit.unregister(sundown._exit._exit)
        @atexit.register
        def late():
            for refused in (lambda: runtime.spawn(print), lambda: sundown.Runtime("another")):
                try:
                    refused()
                except sundown.Ended as error:
                    print(isinstance(error, RuntimeError), error)
            last_line()
        atexit.register(sundown._exit._exit)
        runtime = sundown.Runtime("done")
        runtime.spawn(pow, 2, 3).result()
        """
    )
    program.must_be_clean()
    assert program.out.count("True done cannot be used any more: the interpreter exits") == 1
    assert program.out.count("True another cannot be used any more: the interpreter exits") == 1


def test_a_handler_registered_after_the_import_still_has_its_runtime(run):
    program = run(
        """
        runtime = sundown.Runtime("alive")
        @atexit.register
        def early():
            print(runtime.spawn(pow, 2, 3).result(10))
            last_line()
        """
    )
    program.must_be_clean()
    assert program.out.splitlines()[0] == "8"


def test_runtimes_go_in_reverse_order_within_one_limit_for_all(run):
    program = run(
        """
        sundown.set_exit_timeout(0.4)
        runtimes = [sundown.Runtime(f"number {at}") for at in range(3)]
        for runtime in runtimes:
            runtime.spawn(time.sleep, 3600)
        until(lambda: all(runtime.stats().inside for runtime in runtimes))
        last_line()
        """
    )
    program.must_be_clean()
    assert program.left_after < 0.4 + SLACK
    said = [line.split(" has not")[0] for line in program.err.splitlines()]
    assert said == [f"at exit: number {at}" for at in (2, 1, 0)]


def test_an_exception_that_nobody_asked_for_is_reported_and_keeps_the_exit_code(run):
    program = run(
        """
        runtime = sundown.Runtime("raises")
        runtime.spawn(lambda: 1 / 0)
        runtime.shutdown()
        last_line()
        """
    )
    program.must_be_clean()
    assert "ZeroDivisionError" in program.err


def test_a_callable_that_shuts_down_or_exits_is_an_error_and_no_deadlock(run):
    program = run(
        """
        runtime = sundown.Runtime("inside")
        for function in (runtime.shutdown, lambda: sys.exit(5)):
            print(repr(runtime.spawn(function).exception(10)))
            if function != runtime.shutdown:
                break
            runtime.shutdown()
            runtime = sundown.Runtime("inside")
        last_line()
        """
    )
    program.must_be_clean()
    assert program.out.startswith("FromInside(")
    assert "SystemExit(5)" in program.out


def test_exit_handlers_that_a_callable_runs_do_not_wait_for_it(run):
    program = run(
        """
        sundown.set_exit_timeout(1)
        runtime = sundown.Runtime("inside")
        runtime.spawn(atexit._run_exitfuncs).exception(20)
        last_line()
        """
    )
    program.must_be_clean()
    assert "`inside` cannot wait for its own end" in program.err


#: Registers a handler that runs after the package's own, and ends a program that hangs.
LATE = """
import concurrent.futures, faulthandler, functools, signal, _thread
faulthandler.dump_traceback_later(20, exit=True)
signal.signal(signal.SIGINT, signal.default_int_handler)

def registers_late(handler):
    atexit.unregister(sundown._exit._exit)
    atexit.register(handler)
    atexit.register(sundown._exit._exit)

def error_of(task):
    try:
        task.result()
    except BaseException as error:
        return type(error).__name__
"""


def test_a_late_handler_that_waits_for_a_task_is_told_that_it_ended(run):
    program = run(
        LATE
        + """
runtime = sundown.Runtime("one at a time", workers=1, blocking_threads=1)
tasks = [runtime.spawn(time.sleep, 0.1) for _ in range(3)] + [runtime.sleep(3600)]
until(lambda: runtime.stats().inside == 1)

@registers_late
def late():
    print([error_of(task) for task in tasks])
    last_line()
"""
    )
    program.must_be_clean()
    assert program.out.startswith("[None, 'Ended', 'Ended', 'Ended']")


def test_whatever_waits_for_what_was_left_behind_is_told_that_it_ended(run):
    program = run(
        LATE
        + """
sundown.set_exit_timeout(0.1)
runtime = sundown.Runtime("stuck", workers=1, blocking_threads=1)
go_on = threading.Event()
stuck = runtime.spawn(go_on.wait)
until(lambda: runtime.stats().inside == 1)
cancelled, repeated = runtime.spawn(print, "never"), runtime.call_every(3600, print)
cancelled.cancel()
told = []
stuck.add_done_callback(told.append)

@registers_late
def late():
    tasks = [stuck, cancelled, repeated]
    print(len(concurrent.futures.wait(tasks).done), told == [stuck], [error_of(task) for task in tasks])
    # One that ends after all changes nothing, and prints nothing.
    go_on.set()
    until(lambda: runtime.stats().inside == 0)
    print(error_of(stuck))
    last_line()
"""
    )
    program.must_be_clean()
    assert program.out.startswith("3 True ['Ended', 'CancelledError', 'Ended']\nEnded\n")
    assert [line for line in program.err.splitlines() if not line.startswith("at exit: ")] == []


def test_an_interrupt_that_is_pending_at_exit_is_raised_after_the_runtimes_have_ended(run):
    program = run(
        LATE
        + """
runtime = sundown.Runtime("interrupted", workers=1, blocking_threads=1)
tasks = [runtime.spawn(time.sleep, 0.2) for _ in range(2)]
until(lambda: runtime.stats().inside == 1)

@registers_late
def late():
    print(runtime.stats().state, [error_of(task) for task in tasks])
    last_line()

# A function in C, after which the next instruction in Python would raise.
atexit.register(_thread.interrupt_main)
"""
    )
    program.must_be_clean()
    assert program.out.startswith("ended [None, 'Ended']")
    assert "KeyboardInterrupt" in program.err


@pytest.mark.skipif(sys.version_info < (3, 10), reason="interrupt_main takes no signal")
def test_what_a_pending_signal_handler_does_comes_before_the_end(run):
    program = run(
        LATE
        + """
runtime = sundown.Runtime("terminated", workers=1)

def handler(number, frame):
    print("handled", runtime.stats().state)
    sys.exit(3)

@registers_late
def late():
    print(runtime.stats().state)
    last_line()

signal.signal(signal.SIGTERM, handler)
atexit.register(functools.partial(_thread.interrupt_main, signal.SIGTERM))
"""
    )
    program.must_be_clean()
    assert program.out.splitlines()[:2] == ["handled running", "ended"]


def test_a_handler_registered_after_the_import_may_use_an_async_block(run):
    program = run(
        LATE
        + """
async def uses():
    async with sundown.Runtime("block", workers=1) as runtime:
        print(await runtime.spawn(pow, 2, 3))
    print(runtime.stats().state)

@atexit.register
def early():
    asyncio.run(uses())
    last_line()
"""
    )
    program.must_be_clean()
    assert program.out.splitlines()[:2] == ["8", "ended"]


def test_a_late_handler_may_await_a_shutdown(run):
    program = run(
        LATE
        + """
runtime = sundown.Runtime("awaited late", workers=1)

async def leaves():
    async with runtime:
        pass
    print(await runtime.shutdown_async(1))

@registers_late
def late():
    asyncio.run(leaves())
    last_line()
"""
    )
    program.must_be_clean()
    assert program.out.startswith("ShutdownReport(component='awaited late'")


@pytest.mark.parametrize(
    "kept",
    [
        "runtime",
        "runtime.spawn(talk, 1)",
        # It has the exception `Ended`.
        "(runtime.sleep(3600), runtime.shutdown())[0]",
    ],
)
@pytest.mark.parametrize("where", ["sys.excepthook", "sys.kept", "os.kept"])
def test_what_is_destroyed_while_the_interpreter_is_finalized_prints_nothing(run, kept, where):
    program = run(
        f"""
        class Reporter:
            def __init__(self, kept): self.kept = kept
            def report(self, *error): pass
        runtime = sundown.Runtime("kept", workers=1)
        {where} = Reporter({kept}).report
        del runtime
        last_line()
        """
    )
    program.must_be_clean()
    assert program.err == ""


def test_a_callback_that_outlives_the_limit_at_exit_is_reported(run):
    program = run(
        """
        sundown.set_exit_timeout(0.2)
        runtime = sundown.Runtime("stuck", workers=1)
        inside = threading.Event()
        def callback(_):
            inside.set()
            time.sleep(3600)
        runtime.sleep(3600).add_done_callback(callback)
        threading.Thread(target=runtime.shutdown, args=(0.1,), daemon=True).start()
        inside.wait()
        last_line()
        """
    )
    program.must_be_clean()
    assert "at exit: stuck has not ended after" in program.err
    assert "sundown-notifier" in program.err


def test_ctrl_c_at_exit_ends_the_wait():
    # A background process of a shell ignores the signal, and so do the processes that it starts.
    source = BEGIN + """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
sundown.set_exit_timeout(None)
runtime = sundown.Runtime("stuck")
runtime.spawn(time.sleep, 3600)
until(lambda: runtime.stats().inside == 1)
last_line()
"""
    child = subprocess.Popen(
        [sys.executable, "-c", source], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline().startswith("last line")
        deadline = time.monotonic() + PLENTY
        # If the handler does not wait yet, the signal interrupts something else, which is right too.
        while child.poll() is None and time.monotonic() < deadline:
            child.send_signal(signal.SIGINT)
            try:
                child.wait(0.2)
            except subprocess.TimeoutExpired:
                pass
        _, err = child.communicate(timeout=PLENTY)
    finally:
        child.kill()
        child.wait()
    assert child.returncode in (0, 1, 130, -signal.SIGINT), err
    assert "KeyboardInterrupt" in err
    assert not any(text in err for text in FATAL), err


@pytest.mark.parametrize("wrong", [-1, float("nan"), "soon"])
def test_a_bad_limit_at_exit_is_refused(wrong):
    import sundown

    with pytest.raises(ValueError):
        sundown.set_exit_timeout(wrong)
