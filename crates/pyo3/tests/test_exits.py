"""How programs end that use an extension: on this crate, and on the one that it stands in for.

`EXTENSIONS` names a folder that has `ours` and `bare`, the module of `extension/` built on each.
"""

import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import textwrap
import time

import pytest

EXTENSIONS = pathlib.Path(os.environ["EXTENSIONS"])

#: How often a program is run. `EXITS` sets another number.
EXITS = int(os.environ.get("EXITS", "20"))


def start(which, body, before=()):
    environment = dict(os.environ, PYTHONPATH=str(EXTENSIONS / which), RUST_BACKTRACE="0")
    body = "import asyncio, atexit, os, sys, threading, time\n" + textwrap.dedent(body)
    return subprocess.Popen(
        [*before, sys.executable, "-c", body],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(which, body, before=()):
    program = start(which, body, before)
    try:
        printed, errors = program.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        program.kill()
        program.communicate()
        return None, "", "it hangs"
    return program.returncode, printed, errors


def coroutine(body):
    return (
        "import extension\nasync def main():\n"
        + textwrap.indent(textwrap.dedent(body), "    ")
        + "\nasyncio.run(main())\nprint('the last line')\n"
    )


#: A way to end, the exit code, and whether it prints the last line.
ENDINGS = {
    "awaited": (
        coroutine("await asyncio.gather(*(extension.operation(i) for i in range(50)))"),
        0,
    ),
    "not awaited": (coroutine("o = [extension.operation(20 * i) for i in range(50)]"), 0),
    "one after another": (
        coroutine("for i in range(20): await extension.operation(i)"),
        0,
    ),
    "never": (coroutine("o = [extension.never() for _ in range(50)]"), 0),
    "sys.exit": (
        coroutine("o = [extension.operation(100 * i) for i in range(20)]\nsys.exit(3)"),
        3,
    ),
    "cancelled": (
        coroutine(
            """
            task = asyncio.ensure_future(extension.operation(10_000_000))
            await asyncio.sleep(0.001)
            task.cancel()
            """
        ),
        0,
    ),
    "cancelled by asyncio.run": (
        coroutine(
            """
            async def waits(): await extension.operation(10_000_000)
            tasks = [asyncio.create_task(waits()) for _ in range(20)]
            await asyncio.sleep(0.001)
            """
        ),
        0,
    ),
    "calls back": (
        coroutine(
            """
            o = [extension.calls_back(lambda: None) for _ in range(4)]
            await asyncio.sleep(0.005)
            """
        ),
        0,
    ),
    "awaits Python": (
        coroutine(
            """
            async def naps(): await asyncio.sleep(0.001)
            await asyncio.gather(*(extension.awaits(naps()) for _ in range(20)))
            """
        ),
        0,
    ),
    "logs on the runtime's threads": (
        coroutine(
            """
            import logging
            logging.basicConfig(stream=open(os.devnull, "w"), level=logging.INFO)
            log = logging.getLogger("operation")
            o = [extension.calls_back(lambda: log.info("at work")) for _ in range(4)]
            await asyncio.sleep(0.005)
            """
        ),
        0,
    ),
    "a later handler submits": (
        """
        import extension
        async def main(): o = [extension.operation(20 * i) for i in range(50)]
        atexit.register(lambda: asyncio.run(main()))
        print('the last line')
        """,
        0,
    ),
    "tasks in a loop that is left open": (
        """
        import extension
        async def waits(): await extension.operation(10_000_000)
        loop = asyncio.new_event_loop()
        tasks = [loop.create_task(waits()) for _ in range(20)]
        loop.run_until_complete(asyncio.sleep(0.001))
        print('the last line')
        """,
        0,
    ),
    "a daemon thread": (
        """
        import extension
        async def main():
            # As Python's own executors do, it raises at the end, wherever the call is made.
            try:
                while True: await asyncio.gather(*(extension.operation(i) for i in range(10)))
            except RuntimeError: pass
        threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
        time.sleep(0.05)
        print('the last line')
        """,
        0,
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_program_ends_as_it_would_without_the_extension(ending):
    body, code = ENDINGS[ending]
    for _ in range(EXITS):
        ended, printed, errors = run("ours", body)
        assert (ended, errors) == (code, "")
        assert code or printed == "the last line\n"


def test_the_other_crate_fails_in_the_same_programs():
    """So the zeros above say something. Which of these loses its race most often depends on the version of PyO3."""
    programs = [ENDINGS[it] for it in ("not awaited", "logs on the runtime's threads", "a daemon thread")]
    results = (run("bare", body) == (code, "the last line\n", "") for _ in range(100) for body, code in programs)
    assert not all(results)


#: An interpreter that ends other threads while it is finalized, by `pthread_exit`. 3.13.0 does, 3.13.18 does not.
needs_threads_to_be_ended = pytest.mark.skipif(
    sys.version_info >= (3, 13, 1), reason="this interpreter may end no thread"
)

#: With PyO3 0.25, Python may end a daemon thread in a Rust frame while that comes back to the interpreter.
needs_daemons_that_may_wait = pytest.mark.skipif(
    os.environ.get("PYO3_VERSION") == "0.25",
    reason="not yet so with PyO3 0.25: now and then such a thread is ended, and the exit aborts",
)

#: A task that calls back at the exit. The callback gives the lock up, as one that waits or writes does.
SPAWNS = """
    import extension
    for _ in range(4): extension.SPAWNS(lambda: time.sleep(0.0005))
    time.sleep(0.02)
    print('the last line')
    """


@pytest.mark.parametrize("spawns", ["spawns", "spawns_a_set"])
def test_a_task_that_the_extension_spawns_itself_ends_before_the_interpreter(spawns):
    for _ in range(EXITS):
        assert run("ours", SPAWNS.replace("SPAWNS", spawns)) == (0, "the last line\n", "")


def test_a_task_that_does_not_end_is_named_with_the_line_that_spawned_it():
    body = """
    import extension
    extension.limit(0.2)
    extension.spawns(lambda: time.sleep(1))
    time.sleep(0.1)
    """
    _, _, errors = run("ours", body)
    assert re.search(r"`spawn` \(spawned at \S*extension/src/lib\.rs:\d+:\d+\)", errors), errors


def test_a_wait_with_the_interpreters_lock_for_a_task_that_needs_no_python_ends():
    """Also in an extension that has not called `install`: no poll enters Python by itself."""
    ended = run("ours", "import extension\nextension.waits_with_the_lock()", before=["env", "WITHOUT_INSTALL=1"])
    assert ended == (0, "", "")


#: Results on their way at exit, whose destructors call Python and give the lock up.
RESULTS_IN_CALLS = coroutine(
    """
    o = [extension.results_in_a_call(20 * i, lambda: time.sleep(0.0005)) for i in range(300)]
    await asyncio.sleep(0.002)
    """
)


def test_a_result_on_its_way_at_exit_is_dropped_while_the_interpreter_is_there():
    for _ in range(EXITS):
        assert run("ours", RESULTS_IN_CALLS) == (0, "the last line\n", "")


@needs_threads_to_be_ended
def test_such_a_result_fails_with_the_other_crate():
    """How often depends on the load, so they are run one at a time and then six: 10 of 20, and 0 of 200 at rest."""
    ends_well = lambda _: run("bare", RESULTS_IN_CALLS) == (0, "the last line\n", "")
    for at_a_time in [1, 6] * 5:
        with concurrent.futures.ThreadPoolExecutor(at_a_time) as programs:
            if not all(programs.map(ends_well, range(40))):
                return
    assert False, "none of 400 has failed"


#: A handler that was registered before the import, and so runs after that of the extension.
FINISHES = """
    loop = asyncio.new_event_loop()
    def finish():
        try: print(loop.run_until_complete(pending))
        except RuntimeError as error: print(error)
        loop.close()
    atexit.register(finish)
    import extension
    async def begin(): return asyncio.ensure_future(extension.operation(300_000))
    pending = loop.run_until_complete(begin())
    """


def test_a_later_handler_that_waits_for_what_was_in_flight_gets_an_exception():
    told = "the runtime of this extension has been shut down, because the interpreter is about to exit\n"
    for _ in range(EXITS):
        assert run("ours", FINISHES) == (0, told, "")


#: An event loop in a daemon thread, and a handler that waits for what is in flight there.
FINISHES_IN_A_THREAD = """
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    def finish():
        try: print(pending.result())
        except BaseException as error: print(type(error).__name__)
    atexit.register(finish)
    import extension
    begun = threading.Event()
    async def begin():
        operation = extension.operation(MICROSECONDS)
        begun.set()
        return await operation
    pending = asyncio.run_coroutine_threadsafe(begin(), loop)
    begun.wait()
    """


def test_a_later_handler_that_waits_for_a_daemon_thread_gets_an_exception():
    for _ in range(EXITS):
        body = FINISHES_IN_A_THREAD.replace("MICROSECONDS", "300_000") + "time.sleep(0.01)"
        assert run("ours", body) == (0, "CancelledError\n", "")


def test_a_result_that_its_event_loop_has_not_taken_at_exit_is_not_lost():
    """The loop does something else until the gate is closed."""
    body = """
    loop, begun, released = asyncio.new_event_loop(), threading.Event(), threading.Event()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    def finish():
        released.set()
        print(pending.result())
    atexit.register(finish)
    import extension
    async def begin():
        operation = extension.operation(20_000)
        begun.set()
        return await operation
    pending = asyncio.run_coroutine_threadsafe(begin(), loop)
    begun.wait()
    loop.call_soon_threadsafe(released.wait)
    time.sleep(0.5)
    """
    for _ in range(max(1, EXITS // 4)):
        assert run("ours", body) == (0, "20000\n", "")


def test_a_result_that_is_scheduled_in_a_loop_which_a_daemon_thread_runs_later_is_not_lost():
    body = """
    go_on, ready, told = threading.Event(), threading.Event(), []
    def work():
        loop = asyncio.new_event_loop()
        async def begin(): return extension.operation(1000)
        operation = loop.run_until_complete(begin())
        ready.set()
        go_on.wait()
        told.append(loop.run_until_complete(operation))
    worker = threading.Thread(target=work, daemon=True)
    def finish():
        go_on.set()
        worker.join()
        print(told)
    atexit.register(finish)
    import extension
    worker.start()
    ready.wait()
    time.sleep(0.05)
    """
    for _ in range(max(1, EXITS // 4)):
        assert run("ours", body) == (0, "[1000]\n", "")


@pytest.mark.parametrize("operation", ["calls_once(lambda: time.sleep(60))", "is_converted(60)"])
@pytest.mark.parametrize("leaves, told", [("", "CancelledError"), ("loop.call_soon_threadsafe(loop.stop)", "InterpreterExits")])
def test_a_handler_that_waits_for_what_outlives_the_limit_goes_on(operation, leaves, told):
    body = FINISHES_IN_A_THREAD.replace("operation(MICROSECONDS)", operation)
    if leaves:
        body = body.replace("pending.result()", "loop.run_until_complete(asyncio.wrap_future(pending, loop=loop))")
    body += f"extension.limit(0.3)\n    time.sleep(0.1)\n    {leaves}\n"
    code, printed, errors = run("ours", body)
    assert (code, printed) == (0, told + "\n") and "has not returned" in errors


def test_a_signal_while_all_get_a_result_loses_none():
    """It raises in the first question that is put to the loop after the gate was closed."""
    body = FINISHES_IN_A_THREAD.replace("operation(MICROSECONDS)", "never()") + """
    import signal
    def raises(*_): raise KeyboardInterrupt
    signal.signal(signal.SIGUSR1, raises)
    def is_closed(ask=loop.is_closed, asked=[]):
        if atexit_has_begun and threading.current_thread() is threading.main_thread() and not asked:
            asked.append(1)
            signal.raise_signal(signal.SIGUSR1)
        return ask()
    atexit_has_begun = []
    loop.is_closed = is_closed
    atexit.register(atexit_has_begun.append, 1)
    time.sleep(0.05)
    """
    code, printed, errors = run("ours", body)
    assert (code, printed) == (0, "CancelledError\n") and errors.count("KeyboardInterrupt") == 1


@pytest.mark.parametrize("runs", [60, 0.01])
def test_a_handler_that_waits_for_a_future_which_stays_on_its_thread_goes_on(runs):
    """The exit waits for nothing, and says nothing: if nobody runs its `LocalSet` any more, nobody can drop it."""
    body = FINISHES_IN_A_THREAD.replace("operation(MICROSECONDS)", f"never_locally({runs})") + "time.sleep(0.05)"
    for _ in range(max(1, EXITS // 4)):
        assert run("ours", body) == (0, "CancelledError\n", "")


def test_many_operations_of_a_daemon_thread_all_end_at_exit():
    """Some are in flight, some have a result on its way, and some are cancelled by the program meanwhile."""
    body = """
    loop, begun = asyncio.new_event_loop(), threading.Event()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    def finish():
        for it in pending[::3]: it.cancel()
        for it in pending:
            try: it.result()
            except BaseException: pass
        print("all", flush=True)
    atexit.register(finish)
    import extension
    async def begin(number): return await asyncio.wait_for(extension.operation(number * 100), 60)
    pending = [asyncio.run_coroutine_threadsafe(begin(i), loop) for i in range(400)]
    time.sleep(0.02)
    """
    for _ in range(EXITS):
        assert run("ours", body) == (0, "all\n", "")


def test_a_later_handler_that_only_closes_the_loop_prints_nothing():
    closes = FINISHES.replace("print(loop.run_until_complete(pending))", "pass")
    for _ in range(EXITS):
        assert run("ours", closes) == (0, "", "")


@needs_threads_to_be_ended
@pytest.mark.parametrize("which, spawns", [("ours", "spawns_past_the_gate"), ("bare", "spawns_a_set")])
def test_a_task_past_the_gate_aborts_the_process(which, spawns):
    """The documented price of a bare `spawn`."""
    results = (run(which, SPAWNS.replace("SPAWNS", spawns)) for _ in range(20))
    assert any(code != 0 for code, _, _ in results)


def test_a_set_that_is_dropped_ends_its_tasks():
    body = """
    import extension
    extension.drops_a_set()
    while extension.dropped() < 4: time.sleep(0.001)
    """
    assert run("ours", body) == (0, "", "")


def test_a_wait_of_a_runtime_of_the_extensions_own_ends_when_the_exit_begins():
    body = """
    def later():
        print(extension.dropped())
        while extension.ended() < 1: time.sleep(0.001)
    atexit.register(later)  # it runs after that of the extension
    import extension
    begun = threading.Event()
    extension.waits_until_exit(begun.set)
    begun.wait()
    """
    assert run("ours", body) == (0, "1\n", "")


def test_an_exception_stays_what_it_is():
    body = coroutine("o = [extension.operation(100) for _ in range(20)]\nraise ValueError('mine')")
    for _ in range(EXITS):
        code, _, errors = run("ours", body)
        assert code == 1
        assert errors.startswith("Traceback (most recent call last):")
        assert errors.endswith("ValueError: mine\n")


def test_what_is_in_flight_is_dropped_before_the_interpreter_goes():
    body = """
    def count(): print(extension.dropped())
    atexit.register(count)  # it runs after that of the extension
    import extension
    async def main(): o = [extension.counted() for _ in range(20)]
    asyncio.run(main())
    """
    assert run("ours", body) == (0, "20\n", "")


#: Callables that wait, called by a few tasks of the runtime at once, or by more than it has workers.
WAITS_IN_CALLBACKS = """
    waits = lambda: WAITS
    answers = await asyncio.gather(*(extension.calls_once(waits) for _ in range(NUMBER)))
    print(sorted(set(answers), key=str))
    """


@pytest.mark.parametrize("number", [1, 2, 32])
def test_a_callback_that_a_task_calls_can_wait(number):
    waits = WAITS_IN_CALLBACKS.replace("NUMBER", str(number))
    for _ in range(EXITS):
        ended = run("ours", coroutine(waits.replace("WAITS", "extension.blocks(0.01)")))
        assert ended == (0, "[None]\nthe last line\n", "")


def test_a_callback_that_waits_without_this_crate_keeps_the_worker():
    waits = WAITS_IN_CALLBACKS.replace("NUMBER", "1").replace("WAITS", "extension.waits_for_a_task(0.01)")
    assert run("ours", coroutine(waits)) == (0, "[False]\nthe last line\n", "")


def test_a_child_that_a_callback_forks_can_wait():
    body = coroutine(
        """
        def forks():
            child = os.fork()
            if not child:
                extension.blocks(0.01)
                os._exit(len(os.listdir("/proc/self/task")) > 3)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(await extension.calls_once(forks))
        """
    )
    for _ in range(EXITS):
        code, printed, errors = run("ours", body, before=["env", "PYTHONWARNINGS=ignore", "TOKIO_WORKER_THREADS=2"])
        assert (code, printed, errors) == (0, "0\nthe last line\n", "")


def test_a_child_that_is_forked_while_a_callback_looks_for_a_thread_can_wait():
    """Three of four threads for blocking work sleep, so the parent's callback looks for a second. Nobody looks in the child."""
    body = """
    import extension
    extension.uses_few_threads(3)
    async def waits():
        try: return await extension.calls_once(lambda: extension.blocks(0.01))
        except RuntimeError: return 'no thread'
    told = []
    looks = threading.Thread(target=lambda: told.append(asyncio.run(waits())))
    looks.start()
    time.sleep(0.3)
    child = os.fork()
    if not child: os._exit(0 if asyncio.run(waits()) is None else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    looks.join()
    print(told)
    """
    ended = run("ours", body, before=["env", "PYTHONWARNINGS=ignore"])
    assert ended == (0, "0\n['no thread']\n", "")


ONE_THREAD = "import extension\nextension.uses_a_runtime_with_one_thread()\n"


def test_a_callback_cannot_wait_on_the_only_thread_of_the_runtime():
    body = ONE_THREAD + coroutine(
        """
        try: await extension.calls_once(lambda: extension.blocks(0.01))
        except RuntimeError as error: print(error)
        """
    )
    told = "this blocks, and was called in a task that has the only thread of its runtime: call it on another thread\n"
    code, printed, errors = run("ours", body)
    assert (code, printed) == (0, told + "the last line\n") and "panicked at" in errors


def test_callbacks_that_wait_leave_the_runtime_two_threads_for_blocking_work():
    """Each takes one, to hand the tasks of its worker over. One that finds none waited for ever, and so did all others."""
    body = """
    import extension
    extension.uses_few_threads(0)
    def waits(): extension.blocks(0.1)
    async def main():
        ended = await asyncio.gather(*(extension.calls_once(waits) for _ in range(12)), return_exceptions=True)
        print({type(it).__name__ for it in ended} <= {'NoneType', 'RuntimeError'}, None in ended)
        for error in ended:
            if error: assert 'no two threads' in str(error), error
    asyncio.run(main())
    """
    assert run("ours", body) == (0, "True True\n", "")


def test_a_result_waits_at_exit_for_no_thread_that_does_something_else():
    """Nor does a future that was cancelled. The message would come after the limit, 5 s."""
    body = """
    import extension
    extension.uses_few_threads(4)
    async def main():
        cancelled = asyncio.ensure_future(extension.never())
        ready = extension.ready()
        await asyncio.sleep(0.05)
        cancelled.cancel()
    asyncio.run(main())
    """
    assert run("ours", body) == (0, "", "")


#: A coroutine that is given to an event loop which is closed, or closed before it begins with it.
NEVER_BEGINS = """
    import extension
    async def nothing(): pass
    closed, left = asyncio.new_event_loop(), asyncio.new_event_loop()
    closed.close()
    print(extension.begins(closed, nothing()), extension.begins(left, nothing()))
    left.close()
    """


def test_a_coroutine_that_never_begins_is_closed():
    assert run("ours", NEVER_BEGINS) == (0, "False True\n", "")


def test_the_other_crate_leaves_it_to_the_warning():
    _, printed, errors = run("bare", NEVER_BEGINS)
    assert printed == "False True\n" and errors.count("was never awaited") == 2, errors


def test_a_callback_can_wait_on_a_blocking_thread_of_such_a_runtime():
    body = ONE_THREAD + """
print(extension.calls_on_a_blocking_thread(lambda: extension.blocks(0.01)))
"""
    assert run("ours", body) == (0, "True\n", "")


def test_a_call_after_the_end_raises():
    body = """
    async def late():
        try: await extension.operation(1)
        except RuntimeError as error: print(error)
        try: extension.blocks(1)
        except RuntimeError as error: print(error)
    atexit.register(lambda: asyncio.run(late()))
    import extension
    """
    told = (
        "the runtime of this extension has been shut down, because the interpreter is about to exit\n"
    )
    assert run("ours", body) == (0, 2 * told, "")


def test_a_handler_that_is_registered_later_can_use_it():
    body = """
    import extension
    async def main(): print(await extension.operation(1))
    atexit.register(lambda: asyncio.run(main()))
    """
    assert run("ours", body) == (0, "1\n", "")


def test_a_panic_arrives_as_an_exception():
    body = coroutine(
        """
        try: await extension.panics()
        except Exception as error: print(type(error).__name__, error)
        """
    )
    code, printed, errors = run("ours", body)
    assert (code, printed) == (0, "RustPanic rust future panicked: on purpose\nthe last line\n")
    assert "panicked at" in errors


@pytest.mark.parametrize("unlucky", ["cannot_be_converted", "panics_when_dropped"])
def test_a_panic_outside_of_the_future_arrives_too(unlucky):
    body = coroutine(
        f"""
        try: await extension.{unlucky}()
        except Exception as error: print(type(error).__name__, error)
        """
    )
    code, printed, _ = run("ours", body)
    assert (code, printed) == (0, "RustPanic rust future panicked: on purpose\nthe last line\n")


def test_what_is_no_awaitable_is_an_error_of_the_await():
    body = coroutine(
        """
        try: await extension.awaits(3)
        except TypeError as error: print(error)
        """
    )
    code, printed, errors = run("ours", body)
    assert (code, errors) == (0, "") and "awaitable" in printed and printed.endswith("the last line\n")


def test_a_stop_iteration_ends_no_await():
    body = coroutine(
        """
        try: await extension.calls_once(lambda: next(iter([])))
        except RuntimeError as error: print(error, repr(error.__cause__))
        """
    )
    told = "the future raised StopIteration StopIteration()\nthe last line\n"
    assert run("ours", body) == (0, told, "")


def test_a_panic_in_a_callable_is_an_error_of_the_call():
    body = """
    import extension
    told = []
    extension.calls_and_tells(extension.panics_at_once, told.append)
    while not told: time.sleep(0.001)
    print(told)
    """
    code, printed, _ = run("ours", body)
    assert code == 0 and "on purpose" in printed


def test_a_future_that_was_waited_for_is_dropped_without_the_interpreters_lock():
    assert run("ours", "import extension\nextension.blocks_and_joins()") == (0, "", "")


@pytest.mark.parametrize("which", ["ours", "bare"])
def test_what_a_cancelled_future_has_owned_is_released(which):
    body = """
    import extension, weakref
    class Callable:
        def __call__(self): pass
    async def main():
        callable = Callable()
        released = weakref.ref(callable)
        operation = asyncio.ensure_future(extension.calls_back(callable))
        del callable
        await asyncio.sleep(0.02)
        operation.cancel()
        del operation
        for _ in range(500):
            if released() is None: return 'released'
            await asyncio.sleep(0.01)
    print(asyncio.run(main()))
    """
    for _ in range(max(1, EXITS // 4)):
        assert run(which, body) == (0, "released\n", "")


def test_a_loop_that_takes_nothing_at_exit_is_no_message():
    body = """
    import extension
    loop = asyncio.new_event_loop()
    async def begin(): return [extension.never() for _ in range(5)]
    pending = loop.run_until_complete(begin())
    def refuses(*arguments, **options): raise RuntimeError('the loop is gone')
    loop.call_soon_threadsafe = refuses
    """
    assert run("ours", body) == (0, "", "")


def test_a_tracer_finds_no_file_that_is_not_there():
    """A tool that measures coverage fails for a file that it does not find, unless its name is in angle brackets."""
    body = """
    import extension
    files = set()
    def traces(frame, event, argument): files.add(frame.f_code.co_filename)
    sys.settrace(traces)
    threading.settrace(traces)
    async def main(): await extension.operation(1)
    asyncio.run(main())
    sys.settrace(None)
    print([it for it in files if not os.path.exists(it) and not it.startswith('<')], '<sundown>' in files)
    """
    assert run("ours", body) == (0, "[] True\n", "")


def test_the_exit_imports_no_asyncio():
    body = """
    for name in [name for name in sys.modules if name.split('.')[0] == 'asyncio']: del sys.modules[name]
    atexit.register(lambda: print('asyncio' in sys.modules))
    import extension
    extension.limit(5)
    """
    assert run("ours", body) == (0, "False\n", "")


def test_a_first_use_while_the_interpreter_exits_is_refused():
    """Python calls no handler that is registered while it calls them."""
    body = """
    def late():
        try: import extension
        except RuntimeError as error: print(error)
    atexit.register(late)
    """
    told = (
        "the runtime of this extension has been shut down, because the interpreter is about to exit\n"
    )
    assert run("ours", body) == (0, told, "")


def test_a_first_use_in_a_thread_while_a_handler_in_c_is_called_is_refused():
    body = """
    atexit.register(time.sleep, 0.4)
    def work():
        time.sleep(0.2)
        try: import extension
        except RuntimeError: os.write(1, b"refused\\n")
    threading.Thread(target=work, daemon=True).start()
    """
    assert run("ours", body) == (0, "refused\n", "")


@pytest.mark.parametrize("which", ["ours", "bare"])
@pytest.mark.parametrize("options", [[], ["-S"]])
def test_a_first_use_in_a_thread_that_python_waits_for_is_none_in_an_exit(which, options):
    """The main thread has ended by then, or was never known to `threading`."""
    waits = """
    import threading, time
    def work():
        time.sleep(0.1)
        import asyncio, extension
        async def main(): return await extension.operation(1000)
        print(asyncio.run(main()))
    threading.Thread(target=work).start()
    """
    never_known = """
    import _thread
    def first():
        import threading
        imported.release()
    imported = _thread.allocate_lock()
    imported.acquire()
    _thread.start_new_thread(first, ())
    imported.acquire()
    import time
    time.sleep(0.05)
    import asyncio, extension
    async def main(): return await extension.operation(1000)
    print(asyncio.run(main()))
    """
    for body in [waits, never_known]:
        program = [sys.executable, *options, "-c", textwrap.dedent(body)]
        environment = dict(os.environ, PYTHONPATH=str(EXTENSIONS / which))
        ended = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60)
        assert ended.stdout == "1000\n"
        assert which == "bare" or (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("which", ["ours", "bare"])
def test_a_future_that_is_always_busy_can_be_cancelled(which):
    body = """
    import extension
    async def main():
        task = asyncio.ensure_future(extension.busy())
        await asyncio.sleep(0.02)
        task.cancel()
        limit = time.monotonic() + 20
        while not extension.dropped() and time.monotonic() < limit: await asyncio.sleep(0.01)
        print(extension.dropped())
    asyncio.run(main())
    """
    assert run(which, body) == (0, "1\n", "")


@needs_daemons_that_may_wait
def test_a_future_that_is_always_busy_is_left_by_a_daemon_thread_at_exit():
    body = """
    import extension
    def work():
        try: extension.blocks_and_is_busy()
        except RuntimeError: pass
    threading.Thread(target=work, daemon=True).start()
    time.sleep(0.02)
    """
    for _ in range(EXITS):
        assert run("ours", body) == (0, "", "")


@needs_daemons_that_may_wait
@pytest.mark.parametrize("call", ["extension.blocks(60)", "asyncio.run(waits())", "asyncio.run(begins())"])
def test_a_daemon_thread_that_the_exit_ends_prints_nothing(call):
    """Without an extension, Python ends it where it is."""
    body = f"""
    import extension
    async def waits(): await extension.never()
    async def begins():
        while True: await extension.operation(1)
    threading.Thread(target=lambda: {call}, daemon=True).start()
    time.sleep(0.03)
    """
    for _ in range(EXITS):
        assert run("ours", body) == (0, "", "")


def test_what_goes_wrong_in_a_daemon_thread_at_exit_is_printed():
    body = """
    def raises():
        try: extension.blocks(60)
        finally: raise ValueError("why")
    thread = threading.Thread(target=raises, daemon=True)
    atexit.register(thread.join)
    import extension
    thread.start()
    time.sleep(0.03)
    """
    code, printed, errors = run("ours", body)
    assert (code, printed) == (0, "") and "ValueError: why" in errors, errors


def test_what_a_thread_had_is_released_when_it_has_ended():
    body = """
    import extension
    local, alive = threading.local(), [0]
    class Counts:
        def __init__(self): alive[0] += 1
        def __del__(self): alive[0] -= 1
    def call(): local.counts = Counts()
    for _ in range(200): extension.calls_on_a_thread_that_ends(call)
    limit = time.monotonic() + 20
    while alive[0] > 2 and time.monotonic() < limit: time.sleep(0.01)
    print(alive[0] <= 2)
    """
    assert run("ours", body) == (0, "True\n", "")


def test_a_blocking_call_after_the_threads_of_the_interpreter_are_gone_raises():
    """A thread ends so late that the interpreter has freed its state before. Up to 3.11, the state was freed twice."""
    body = """
    import extension
    class Client:
        def __del__(self):
            time.sleep(0.6)
            try: extension.blocks(0)
            except Exception as error: sys.stdout.write(type(error).__name__)
    client = Client()
    extension.ends_a_thread(0.4)
    time.sleep(0.1)
    """
    for _ in range(max(1, EXITS // 4)):
        assert run("ours", body) == (0, "InterpreterExits", "")


@pytest.mark.parametrize(
    "error, cause",
    [
        ("asyncio.CancelledError()", None),
        ("asyncio.CancelledError('why')", None),
        ("asyncio.CancelledError('why', 'else')", None),
        ("asyncio.CancelledError('why')", "KeyError('a key')"),
        ("Own('why')", None),
    ],
)
def test_a_future_that_raises_cancelled_error_keeps_what_it_says(error, cause):
    body = f"""
    import extension
    class Own(asyncio.CancelledError): pass
    def raises(): raise {error} from {cause}
    async def main():
        try: await extension.calls_once(raises)
        except asyncio.CancelledError as error: print(repr(error), repr(error.__cause__))
    asyncio.run(main())
    """
    said = error.removeprefix("asyncio.")
    assert run("ours", body) == (0, f"{said} {cause}\n", "")


def test_daemon_threads_that_begin_operations_are_not_ended_in_rust():
    body = """
    import extension
    async def naps(): await asyncio.sleep(0)
    async def main():
        try:
            while True: await asyncio.gather(*(extension.awaits(naps()) for _ in range(10)))
        except (RuntimeError, asyncio.CancelledError): pass
    for _ in range(3): threading.Thread(target=lambda: asyncio.run(main()), daemon=True).start()
    time.sleep(0.05)
    print('the last line', flush=True)
    """
    for _ in range(EXITS):
        code, printed, errors = run("ours", body)
        assert (code, printed) == (0, "the last line\n"), errors


#: The interpreter is finalized for a while, for a module has an object whose destructor gives the lock up.
SLOW_FINALIZATION = """
    import types, extension
    class Slow:
        def __del__(self, sleep=time.sleep, r=range):
            for _ in r(20): sleep(0.005)
    kept = types.ModuleType("kept"); kept.slow = Slow(); sys.modules["kept"] = kept; del kept
    """

#: An event loop in daemon threads, whose futures and tasks give the lock up while Rust has them called.
SLOW_LOOPS = SLOW_FINALIZATION + """
    def slowly(sleep=time.sleep):
        for _ in range(10): sleep(0.0005)
    class Future(asyncio.futures._PyFuture):
        def set_result(self, result):
            slowly()
            super().set_result(result)
    class Loop(asyncio.SelectorEventLoop):
        def create_future(self): return Future(loop=self)
        def create_task(self, coroutine, **options):
            slowly()
            return super().create_task(coroutine, **options)
    async def naps(): pass
    async def main():
        try:
            while True: await extension.OPERATION
        except (RuntimeError, asyncio.CancelledError): pass
    for _ in range(4): threading.Thread(target=lambda: Loop().run_until_complete(main()), daemon=True).start()
    time.sleep(0.05)
    print('the last line', flush=True)
    """


@pytest.mark.parametrize("operation", ["operation(1)", "awaits(naps())"])
def test_a_daemon_thread_is_not_ended_in_what_its_event_loop_has_rust_call(operation):
    for _ in range(EXITS):
        code, printed, errors = run("ours", SLOW_LOOPS.replace("OPERATION", operation))
        assert (code, printed) == (0, "the last line\n"), errors


#: Daemon threads whose loops are closed before they begin with what Rust was given to await. Its destructor gives the
#: lock up, as that of a coroutine does, which says that it was never awaited.
SLOW_DESTRUCTORS = SLOW_FINALIZATION + """
    class Awaitable:
        def __await__(self): yield
        def __del__(self, sleep=time.sleep, r=range):
            for _ in r(10): sleep(0.0005)
    def opens_and_closes():
        try:
            while True:
                loop = asyncio.new_event_loop()
                asyncio._set_running_loop(loop)
                extension.awaits(Awaitable())
                asyncio._set_running_loop(None)
                loop.close()
        except RuntimeError: pass
    for _ in range(4): threading.Thread(target=opens_and_closes, daemon=True).start()
    time.sleep(0.05)
    print('the last line', flush=True)
    """


def test_a_daemon_thread_is_not_ended_in_a_destructor_that_rust_calls():
    for _ in range(EXITS):
        code, printed, errors = run("ours", SLOW_DESTRUCTORS)
        assert (code, printed) == (0, "the last line\n"), errors


#: Daemon threads that wait in Rust for a future which calls back, while the interpreter is finalized, which takes a while.
WAITS = SLOW_FINALIZATION + """
    def calls(): time.sleep(0.0005)
    def waits():
        try: extension.blocks_and_calls(lambda: bool(calls()))
        except RuntimeError: pass
    for _ in range(4): threading.Thread(target=waits, daemon=True).start()
    time.sleep(0.05)
    print('the last line', flush=True)
    """


@needs_daemons_that_may_wait
def test_daemon_threads_that_wait_for_a_future_which_calls_back_are_not_ended_in_it():
    for _ in range(EXITS):
        assert run("ours", WAITS) == (0, "the last line\n", "")


def test_a_daemon_thread_that_waits_at_exit_is_told_and_can_be_joined_by_a_later_handler():
    body = """
    told = []
    def joins():
        thread.join()
        print(*told)
    atexit.register(joins)  # it runs after that of the extension
    import extension
    begun = threading.Event()
    def waits():
        try: extension.blocks_and_calls(lambda: bool(begun.set()))
        except RuntimeError as error: told.append(error)
    thread = threading.Thread(target=waits, daemon=True)
    thread.start()
    begun.wait()
    """
    told = (
        "the runtime of this extension has been shut down, because the interpreter is about to exit\n"
    )
    assert run("ours", body) == (0, told, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_handler_of_a_fork_that_lets_others_run_deadlocks_nobody():
    body = """
    import warnings, extension
    warnings.simplefilter("ignore")  # from 3.12 on, of threads and forks
    async def main(): return await extension.operation(1)
    forking, used = threading.Event(), []
    def lets_others_run():
        forking.set()
        time.sleep(0.1)
    # Handlers that are registered earlier run later.
    os.register_at_fork(before=lets_others_run)
    def first_use():
        forking.wait()
        used.append(asyncio.run(main()))
    thread = threading.Thread(target=first_use)
    thread.start()
    child = os.fork()
    if child == 0: os._exit(0)
    os.waitpid(child, 0)
    thread.join()
    print(used)
    """
    assert run("ours", body) == (0, "[1]\n", "")


def test_a_blocking_call_is_interrupted_by_ctrl_c():
    body = """
    import extension, signal
    # It is ignored where the tests run in the background of a shell.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print('begun', flush=True)
    try: extension.blocks(60)
    except KeyboardInterrupt: print('interrupted')
    """
    program = start("ours", body)
    assert program.stdout.readline() == "begun\n"
    time.sleep(0.2)  # it is not known from outside when the call has begun to wait
    program.send_signal(signal.SIGINT)
    printed, errors = program.communicate(timeout=30)
    assert (program.returncode, printed, errors) == (0, "interrupted\n", "")


def test_a_blocking_call_that_is_interrupted_drops_its_future_in_the_context_of_the_runtime():
    body = """
    import extension, signal
    def raises(*_): raise RuntimeError('a signal')
    signal.signal(signal.SIGALRM, raises)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try: extension.blocks_with_a_guard()
    except BaseException as error: print(repr(error))
    """
    assert run("ours", body) == (0, "RuntimeError('a signal')\n", "")


def test_a_blocking_call_that_is_always_busy_is_interrupted_by_ctrl_c():
    body = """
    import extension, signal
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    try: extension.blocks_and_is_busy()
    except KeyboardInterrupt: print('interrupted')
    """
    assert run("ours", body) == (0, "interrupted\n", "")


def test_a_call_that_outlives_the_limit_is_told():
    body = """
    import extension
    extension.limit(0.2)
    inside = threading.Event()
    def stays():
        inside.set()
        time.sleep(2)
    extension.calls_back_on_a_thread(stays)
    inside.wait()
    """
    code, _, errors = run("ours", body)
    assert re.search("sundown: after .*, 1 call or future of Rust that may enter Python has not returned", errors)


@pytest.mark.parametrize(
    "call, name", [("calls_back", "future_into_py"), ("calls_once", "calls once")]
)
def test_a_future_that_outlives_the_limit_is_named_with_its_place(call, name):
    body = f"""
    import extension
    extension.limit(0.2)
    inside = threading.Event()
    def stays():
        inside.set()
        time.sleep(2)
    async def main():
        o = extension.{call}(stays)
        await asyncio.to_thread(inside.wait)
    asyncio.run(main())
    """
    _, _, errors = run("ours", body)
    assert re.search(rf"not returned: `{name}` \(spawned at .*extension/src/lib.rs:\d+:\d+\)", errors)


#: A callable that goes on calling while the interpreter is finalized, and gives up the lock again and again.
OUTLIVES = """
    import socket, types, extension
    class Slow:
        def __del__(self, sleep=time.sleep, r=range):
            for _ in r(20): sleep(0.002)
    kept = types.ModuleType("kept"); kept.slow = Slow(); sys.modules["kept"] = kept; del kept
    a, b = socket.socketpair(); a.setblocking(False); b.setblocking(False)
    def calls():
        while True:
            try: a.send(b"x")
            except BlockingIOError: pass
            try: b.recv(4096)
            except BlockingIOError: pass
    extension.limit(0.2)
    for _ in range(4): extension.CALLS(calls)
    time.sleep(0.05)
    print('the last line', flush=True)
    """


def test_a_callable_that_outlives_the_limit_does_not_abort_the_process():
    for _ in range(EXITS):
        code, printed, _ = run("ours", OUTLIVES.replace("CALLS", "calls_and_stays"))
        assert (code, printed) == (0, "the last line\n")


@needs_threads_to_be_ended
def test_without_the_call_that_stays_it_does():
    results = (run("ours", OUTLIVES.replace("CALLS", "calls_back_on_a_thread")) for _ in range(20))
    assert any(code != 0 for code, _, _ in results)


#: The extension built with `panic = "abort"` in its profile.
needs_abort = pytest.mark.skipif(
    not (EXTENSIONS / "abort").exists(), reason="no extension was built with panic=abort"
)


@needs_abort
@pytest.mark.parametrize("ending", ["not awaited", "sys.exit", "calls back"])
def test_with_panic_abort_the_gate_is_the_same(ending):
    body, code = ENDINGS[ending]
    for _ in range(EXITS):
        ended, printed, errors = run("abort", body)
        assert (ended, errors) == (code, "")


@needs_abort
@needs_threads_to_be_ended
def test_with_panic_abort_no_thread_can_stay_in_a_call():
    """The documented price: such a build has no destructors that could stop an unwinding."""
    results = (run("abort", OUTLIVES.replace("CALLS", "calls_and_stays")) for _ in range(20))
    assert any(code == -signal.SIGABRT for code, _, _ in results)


def test_a_thread_of_ones_own_stops_at_the_gate():
    body = """
    import extension
    for _ in range(4): extension.calls_back_on_a_thread(lambda: None)
    time.sleep(0.02)
    """
    for _ in range(EXITS):
        assert run("ours", body) == (0, "", "")


def test_ctrl_c_ends_the_wait_for_a_future_at_exit_and_the_future_is_named():
    body = """
    import extension, signal
    signal.signal(signal.SIGINT, signal.default_int_handler)
    extension.limit(60)
    inside = threading.Event()
    def stays():
        inside.set()
        time.sleep(3600)
    async def main():
        global o
        o = extension.calls_once(stays)
        await asyncio.to_thread(inside.wait)
    asyncio.run(main())
    print('leaving', flush=True)
    """
    program = start("ours", body)
    assert program.stdout.readline() == "leaving\n"
    time.sleep(0.3)  # it is not known from outside when the handler has begun to wait
    program.send_signal(signal.SIGINT)
    printed, errors = program.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors and "`calls once` (spawned at " in errors


def test_ctrl_c_ends_the_wait_at_exit_and_the_gate_is_closed_all_the_same():
    body = """
    import extension, signal
    signal.signal(signal.SIGINT, signal.default_int_handler)
    extension.limit(60)
    inside = []
    def stays():
        inside.append(1)
        time.sleep(3600)
    for _ in range(4): extension.calls_and_stays(stays)
    while len(inside) < 4: time.sleep(0.001)
    print('leaving', flush=True)
    """
    program = start("ours", body)
    assert program.stdout.readline() == "leaving\n"
    time.sleep(0.3)  # it is not known from outside when the handler has begun to wait
    program.send_signal(signal.SIGINT)
    printed, errors = program.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors and "4 calls or futures of Rust" in errors
    assert (program.returncode, printed) == (0, "")


def test_a_signal_is_not_lost_while_results_wait_for_a_thread():
    """All threads for blocking work sleep, so the exit waits 200 ms before it delivers the result itself."""
    body = """
    import extension, signal
    extension.uses_few_threads(4)
    async def main():
        global ready
        ready = extension.ready()
        await asyncio.sleep(0.05)
    asyncio.run(main())
    def raises(*_): raise RuntimeError('a signal')
    signal.signal(signal.SIGALRM, raises)
    atexit.register(lambda: signal.setitimer(signal.ITIMER_REAL, 0.05))
    """
    code, printed, errors = run("ours", body)
    assert (code, printed) == (0, "") and "RuntimeError: a signal" in errors


def test_ctrl_c_ends_a_program_as_it_would_without_the_extension():
    body = """
    import extension, signal
    signal.signal(signal.SIGINT, signal.default_int_handler)
    async def main():
        o = [extension.operation(1_000 * i) for i in range(50)]
        print('begun', flush=True)
        await extension.never()
    asyncio.run(main())
    """
    for _ in range(EXITS):
        program = start("ours", body)
        assert program.stdout.readline() == "begun\n"
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=30)
        # Python ends by the signal.
        assert program.returncode == -signal.SIGINT, errors
        assert errors.startswith("Traceback") and errors.endswith("KeyboardInterrupt\n")


#: Forks while threads enter Python. A child waits inside `os.fork()` for ever if a thread was being made known to
#: Python at that moment, before 3.12.
FORKS = """
    import warnings, extension
    warnings.simplefilter("ignore")  # from 3.12 on, of threads and forks
    for _ in range(3): extension.CALLS(lambda: None)
    time.sleep(0.02)
    hung = 0
    for _ in range(100):
        child = os.fork()
        if child == 0: os._exit(0)
        limit = time.monotonic() + LIMIT
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > limit:
                hung += 1
                os.kill(child, 9)
                os.waitpid(child, 0)
                break
            time.sleep(0.0005)
        if hung: break
    print(hung, flush=True)
    os._exit(0)
    """


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_meets_no_thread_half_way_into_python():
    forks = FORKS.replace("LIMIT", "20")
    assert run("ours", forks.replace("CALLS", "calls_back_on_a_thread")) == (0, "0\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_waits_for_no_thread_that_waits_for_the_interpreter():
    """`tracemalloc` takes the interpreter's lock in each allocation. It has a lock of its own, too, in which a child may
    hang, with any extension that has threads: only the parent counts here."""
    body = """
    import extension, tracemalloc, warnings
    warnings.simplefilter("ignore")  # from 3.12 on, of threads and forks
    tracemalloc.start()
    for _ in range(3): extension.calls_back_on_a_thread(lambda: None)
    time.sleep(0.02)
    for _ in range(60):
        child = os.fork()
        if child == 0: os._exit(0)
        time.sleep(0.005)
        os.kill(child, 9)
        os.waitpid(child, 0)
    print("forked", flush=True)
    os._exit(0)
    """
    assert run("ours", body) == (0, "forked\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_handler_of_a_fork_may_fork():
    begin = """
    import subprocess
    has_begun = []
    def subprocess_ends():
        if has_begun: return
        has_begun.append(True)
        subprocess.run(["true"], preexec_fn=lambda: None)
    os.register_at_fork(before=subprocess_ends)
    """
    forks = FORKS.replace("LIMIT", "20").replace("CALLS", "calls_back_on_a_thread")
    assert run("ours", begin + forks) == (0, "0\n", "")


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this interpreter makes a new lock first")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_without_the_gate_it_does():
    forks = FORKS.replace("LIMIT", "2").replace("CALLS", "attaches_on_a_thread")
    assert any(run("ours", forks)[1] != "0\n" for _ in range(100))


def test_a_method_is_called_and_its_object_released_on_the_thread_that_calls():
    body = """
    import extension
    done = []
    class Callback:
        def method(self): done.append("called"); 1 / 0
        def __del__(self): done.append("released")
    sys.unraisablehook = lambda told: done.append(told.exc_type.__name__)
    extension.calls_method_on_a_thread(Callback())
    while len(done) < 3: time.sleep(0.001)
    print(done)
    """
    assert run("ours", body) == (0, "['called', 'ZeroDivisionError', 'released']\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("first", ["pass", "asyncio.run(main())"])
def test_prefork_workers_end_as_their_parent_does(first):
    """As servers do: one process imports the application, and its children serve."""
    body = f"""
    import extension
    async def main(): await asyncio.gather(*(extension.operation(i) for i in range(20)))
    {first}
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            asyncio.run(main())
            async def leaves(): o = [extension.operation(20 * i) for i in range(50)]
            asyncio.run(leaves())
            sys.exit(5)
        children.append(child)
    print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
    """
    for _ in range(EXITS):
        code, printed, errors = run("ours", body)
        # From 3.12 on, Python warns of the fork itself.
        errors = [line for line in errors.splitlines() if "fork" not in line]
        assert (code, printed, errors) == (0, "[5, 5, 5, 5]\n", [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_has_a_runtime_of_its_own():
    body = """
    import extension
    async def main(): return await extension.operation(1)
    asyncio.run(main())
    child = os.fork()
    if child == 0:
        print(asyncio.run(main()), flush=True)
        sys.exit(5)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), asyncio.run(main()))
    """
    for _ in range(EXITS):
        code, printed, errors = run("ours", body)
        # From 3.12 on, Python warns of the fork itself.
        errors = [line for line in errors.splitlines() if "fork" not in line]
        assert (code, printed, errors) == (0, "1\n5 1\n", [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("by", ["the future", "a signal handler"])
def test_a_child_that_is_forked_inside_a_blocking_call_leaves_it(by):
    """It has no thread that could end the future."""
    body = f"""
    import extension, signal, warnings
    warnings.simplefilter("ignore")
    child = None
    def forks():
        global child
        if child is None: child = os.fork()
        return child != 0
    def by_a_signal_handler():
        signal.signal(signal.SIGALRM, lambda *_: forks())
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        extension.blocks(0.5)
    try:
        if {by == "the future"}: extension.blocks_and_calls(forks)
        else: by_a_signal_handler()
        print('the parent has waited', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    except RuntimeError as error:
        assert child == 0
        assert 'forked' in str(error), error
        extension.blocks(0.01)
        os._exit(5)
    """
    assert run("ours", body) == (0, "the parent has waited 5\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_future_of_the_parents_gets_no_result_in_a_child_and_a_new_one_does():
    """As the README says. The task that would deliver it runs in the parent only."""
    body = """
    import extension, warnings
    warnings.simplefilter("ignore")
    loop = asyncio.new_event_loop()
    async def begins(): return extension.operation(300_000)
    async def ends(future, limit): return await asyncio.wait_for(asyncio.shield(future), limit)
    async def again(): return await extension.operation(1)
    future = loop.run_until_complete(begins())
    child = os.fork()
    if child == 0:
        try: loop.run_until_complete(ends(future, 2))
        except asyncio.TimeoutError: os._exit(asyncio.run(again()) + 4)
        finally: os._exit(9)
    # Both have the same descriptors, so one loop runs after the other.
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(ended, loop.run_until_complete(ends(future, 30)))
    """
    assert run("ours", body) == (0, "5 300000\n", "")


#: With the same id as its parent's: only in a namespace, in which the parent is the first process as well.
SAME_ID = """
    import ctypes, warnings, extension
    warnings.simplefilter("ignore")
    async def main(): return await extension.operation(1)
    used = asyncio.run(main())
    unshared = ctypes.CDLL(None).unshare(0x20000000)  # CLONE_NEWPID
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        assert os.getpid() == parent, (os.getpid(), parent)
        try: os._exit(asyncio.run(asyncio.wait_for(main(), 20)) + 4)
        finally: os._exit(9)
    print(used, unshared, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    os._exit(0)
    """


def namespaces_can_be_made():
    try:
        made = ["unshare", "--pid", "--fork", "unshare", "--pid", "true"]
        return subprocess.run(made, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not namespaces_can_be_made(), reason="this user makes no PID namespaces")
def test_a_child_with_the_process_id_of_its_parent_has_a_runtime_of_its_own():
    in_a_namespace = ("unshare", "--pid", "--fork", "--kill-child")
    assert run("ours", SAME_ID, before=in_a_namespace) == (0, "1 0 5\n", "")


def test_futures_on_a_runtime_that_nobody_runs_are_told_of_and_nothing_aborts():
    body = """
    import extension
    assert extension.uses_a_runtime_that_nobody_runs()
    extension.limit(0.2)
    async def main(): o = [extension.operation(1) for _ in range(2)]
    asyncio.run(main())
    """
    code, printed, errors = run("ours", body)
    assert (code, printed) == (0, "")
    told = r"sundown: after .*, 2 futures have not been dropped: `future_into_py` \(.*, `future_into_py` \(.*\)\. No thread .*\n"
    assert re.fullmatch(told, errors), errors


def test_a_pool_of_forked_processes_ends():
    body = """
    import concurrent.futures, multiprocessing, extension
    async def main(n): return await extension.operation(n)
    def work(n): return asyncio.run(main(n))
    work(1)
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        print(sum(pool.map(work, range(20))))
    """
    for _ in range(max(1, EXITS // 4)):
        code, printed, errors = run("ours", body)
        errors = [line for line in errors.splitlines() if "fork" not in line]
        assert (code, printed, errors) == (0, "190\n", [])


def test_the_extension_of_the_readme_works():
    body = """
    import guide
    async def main(): print(await guide.get_async('key'))
    asyncio.run(main())
    print(guide.get_blocking('key'))
    """
    assert run("ours", body) == (0, "the value of key\n" * 2, "")


def test_a_callback_of_the_readme_goes_on_until_the_exit():
    body = """
    import guide, time
    calls = []
    guide.call_every(0, lambda: calls.append(time.sleep(0.0005)))
    time.sleep(0.05)
    print(len(calls) > 0)
    """
    for _ in range(max(1, EXITS // 2)):
        assert run("ours", body) == (0, "True\n", "")


def test_the_client_of_the_readme_works():
    body = """
    import guide
    async def answers(reader, writer):
        while line := await reader.readline(): writer.write(line.upper())
        writer.close()
    async def main():
        server = await asyncio.start_server(answers, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = await guide.Client.connect(f"127.0.0.1:{port}")
        print(await client.ask("a question"), end="")
        async def listens(answer): return answer.strip() + "!"
        print(await client.tell("another", listens))
        await client.close()
        try: await client.ask("a third")
        except RuntimeError as error: print(error)
        left_open = await guide.Client.connect(f"127.0.0.1:{port}")
        server.close()
    asyncio.run(main())
    """
    printed = "A QUESTION\nANOTHER!\nthe client is closed\n"
    code, said, errors = run("ours", body)
    # Before 3.12, the server of `asyncio` says that it was cancelled.
    assert (code, said) == (0, printed), errors
    assert "guide" not in errors and "sundown" not in errors, errors
