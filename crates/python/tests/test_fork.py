"""In a forked child a runtime is inert, and the child has runtimes of its own."""

import os
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

#: Forks while the runtime is busy. The code of the child replaces `CHILD`, and its exit code is that of
#: the program.
FORKS = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on, of threads and forks
runtime = sundown.Runtime("parent", workers=1)
tasks = [runtime.call_every(0, talk, 10) for _ in range(10)]
unfinished = runtime.sleep(3600)
until(lambda: runtime.stats().inside > 0)
sys.stdout.flush()
child = os.fork()
if child == 0:
    CHILD
else:
    status = os.waitpid(child, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    print("child", code)
    last_line()
    sys.exit(code)
"""


def forks(run, child):
    return run(FORKS.replace("CHILD", "\n    ".join(child.strip().splitlines())))


@pytest.mark.parametrize(
    "answered",
    [
        "runtime.spawn(print)",
        "runtime.sleep(0)",
        "runtime.call_every(1, print)",
        "unfinished.result()",
        "unfinished.exception()",
        "asyncio.run(awaits())",
    ],
)
def test_a_child_is_answered_at_once(run, answered):
    program = forks(
        run,
        f"""
async def awaits():
    await unfinished
try:
    {answered}
except sundown.Forked as error:
    assert isinstance(error, RuntimeError)
    assert error.component == "parent", error.component
else:
    sys.exit("not refused")
assert runtime.stats().state == "forked"
""",
    )
    program.must_be_clean()


def test_whatever_a_child_asks_an_unfinished_task_is_answered(run):
    program = forks(
        run,
        """
import concurrent.futures
signal = __import__("signal")
signal.alarm(20)
called = []
assert concurrent.futures.wait([unfinished] + tasks).not_done == set()
assert list(concurrent.futures.as_completed([unfinished])) == [unfinished]
unfinished.add_done_callback(called.append)
assert called == [unfinished]
assert unfinished.done() and not unfinished.cancel() and not unfinished.cancelled()
""",
    )
    program.must_be_clean()


@pytest.mark.parametrize("is_finished", [False, True])
def test_a_lock_of_a_task_that_a_thread_of_the_parent_has_is_none_in_a_child(run, is_finished):
    program = run(
        f"""
        import signal, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        runtime = sundown.Runtime("parent", workers=1)
        task = runtime.spawn(pow, 2, 3) if {is_finished} else runtime.sleep(3600)
        until(lambda: task.done() == {is_finished})
        told = []
        task.add_done_callback(told.append)
        has_it, let_go = threading.Event(), threading.Event()
        def has():
            with task._condition:
                has_it.set()
                let_go.wait()
        thread = threading.Thread(target=has)
        thread.start()
        has_it.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            assert task.done() and not task.cancel()
            # The callbacks of the parent are the parent's.
            assert len(told) == {int(is_finished)}, told
            task.add_done_callback(told.append)
            assert len(told) == {int(is_finished)} + 1
            os._exit(0)
        let_go.set()
        thread.join()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        # The parent's own is as it was.
        assert task.done() == {is_finished}
        last_line()
        """
    )
    program.must_be_clean()


def test_a_shutdown_in_a_child_names_the_process_that_can_do_it(run):
    program = forks(
        run,
        """
try:
    runtime.shutdown()
except sundown.SignalLost as error:
    assert error.owner == os.getppid(), error.owner
else:
    sys.exit("not refused")
""",
    )
    program.must_be_clean()


@pytest.mark.parametrize("code", [0, 6])
def test_a_child_exits_cleanly_and_its_parent_too(run, code):
    for _ in range(5):
        program = forks(run, f"sys.exit({code})")
        program.must_be_clean(code)


def test_a_child_leaves_a_block_without_an_error(run):
    program = run(
        """
        with sundown.Runtime("parent", workers=1) as runtime:
            child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0
            last_line()
        """
    )
    program.must_be_clean()


def test_a_child_has_a_runtime_of_its_own_whose_limits_are_kept(run):
    program = forks(
        run,
        """
sundown.set_exit_timeout(0.1)
own = sundown.Runtime("child", workers=1)
assert own.spawn(pow, 2, 3).result(30) == 8
own.spawn(time.sleep, 3600)
until(lambda: own.stats().inside == 1)
try:
    own.shutdown(0.1)
except sundown.TimedOut as error:
    print(error)
else:
    sys.exit("did not time out")
""",
    )
    program.must_be_clean()
    assert "child has not ended after" in program.out


@pytest.mark.skipif(sys.platform == "darwin", reason="forking is not the way of its frameworks")
def test_multiprocessing_by_fork_works_beside_a_runtime(run):
    program = run(
        """
        import multiprocessing, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        with sundown.Runtime("parent") as runtime:
            tasks = [runtime.spawn(talk, 200) for _ in range(5)]
            with multiprocessing.get_context("fork").Pool(2) as pool:
                print(pool.map(abs, range(-3, 0)))
        last_line()
        """
    )
    program.must_be_clean()
    assert program.out.startswith("[3, 2, 1]")
