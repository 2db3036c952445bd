"""A shutdown reports its result and what still runs."""

import asyncio
import concurrent.futures
import logging
import os
import threading
import time

import pytest
import sundown
from sundown import _exit, _native

#: Longer than anything here takes, in seconds.
PLENTY = 60


class Stuck:
    """A callable that blocks until it is released."""

    def __init__(self):
        self.inside, self._released = threading.Event(), threading.Event()

    def __call__(self):
        self.inside.set()
        assert self._released.wait(PLENTY)
        return "released"

    def release(self):
        self._released.set()


def test_a_shutdown_waits_for_spawned_callables_and_drops_timers():
    runtime = sundown.Runtime("orderly")
    stuck = Stuck()
    work, timer, repeated = runtime.spawn(stuck), runtime.sleep(3600), runtime.call_every(3600, print)
    assert stuck.inside.wait(PLENTY)
    threading.Timer(0.05, stuck.release).start()
    report = runtime.shutdown(PLENTY)
    assert (report.component, report.aborted) == ("orderly", 0)
    assert work.result(0) == "released"
    for dropped in (timer, repeated):
        with pytest.raises(sundown.Ended, match="orderly was shut down before it was done"):
            dropped.result(PLENTY)
    assert runtime.stats().state == "ended"


def test_a_shutdown_that_times_out_says_what_still_runs_and_another_waits_on():
    runtime = sundown.Runtime("slow", workers=1)
    stuck = Stuck()
    task = runtime.spawn(stuck, name="poll")
    assert stuck.inside.wait(PLENTY)
    with pytest.raises(sundown.TimedOut) as caught:
        runtime.shutdown(0.1)
    error = caught.value
    assert isinstance(error, (sundown.ShutdownError, RuntimeError))
    assert (error.component, len(error.threads)) == ("slow", 1)
    assert 0.1 <= error.elapsed < PLENTY
    [left] = error.still_running
    assert (left.name, left.inside) == ("poll", True)
    assert left.spawned_at.startswith(__file__ + ":")
    assert f"poll (spawned at {left.spawned_at})" in str(error)
    assert runtime.stats().state == "stopping"
    stuck.release()
    assert runtime.shutdown(PLENTY).component == "slow"
    assert task.result(0) == "released"


def test_a_shutdown_without_a_limit_waits_as_long_as_it_takes():
    runtime = sundown.Runtime("patient")
    runtime.call_later(0, pow, 2, 2).result(PLENTY)
    assert runtime.shutdown(None).aborted == 0


def test_many_shutdowns_at_once_and_later_get_the_same_answer():
    runtime = sundown.Runtime("popular")
    stuck = Stuck()
    runtime.spawn(stuck)
    assert stuck.inside.wait(PLENTY)
    told = []
    callers = [
        threading.Thread(target=lambda: told.append(runtime.shutdown(PLENTY).component))
        for _ in range(5)
    ]
    for caller in callers:
        caller.start()
    stuck.release()
    for caller in callers:
        caller.join(PLENTY)
    assert told == ["popular"] * 5
    assert runtime.shutdown().component == "popular"


def test_work_is_refused_after_a_shutdown():
    runtime = sundown.Runtime("over")
    runtime.shutdown()
    for refused in (runtime.spawn, lambda f: runtime.call_every(1, f), lambda f: runtime.sleep(1)):
        with pytest.raises(sundown.Ended, match="over has been shut down") as caught:
            refused(print)
        assert caught.value.component == "over"


def test_a_callable_that_shuts_its_runtime_down_gets_an_error_and_the_runtime_stops():
    runtime = sundown.Runtime("inside")
    error = runtime.spawn(runtime.shutdown).exception(PLENTY)
    assert isinstance(error, sundown.FromInside)
    assert error.component == "inside"
    with pytest.raises(sundown.Ended):
        runtime.spawn(print)
    assert runtime.shutdown(PLENTY).component == "inside"


def test_asyncio_goes_on_while_a_shutdown_is_awaited():
    async def main():
        runtime, stuck = sundown.Runtime("awaited"), Stuck()
        runtime.spawn(stuck)
        ending = asyncio.ensure_future(runtime.shutdown_async(PLENTY))
        await asyncio.get_running_loop().run_in_executor(None, stuck.inside.wait, PLENTY)
        assert not ending.done()
        stuck.release()
        assert (await ending).component == "awaited"
        with pytest.raises(sundown.Ended):
            runtime.spawn(print)

    asyncio.run(main())


def test_a_shutdown_that_is_awaited_keeps_its_limit_whatever_the_executor_does():
    async def main():
        loop, busy = asyncio.get_running_loop(), Stuck()
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(1))
        blocked = loop.run_in_executor(None, busy)
        runtime, stuck = sundown.Runtime("awaited", workers=1, timeout=0.05), Stuck()
        ended = asyncio.ensure_future(runtime.shutdown_async(PLENTY))
        assert (await asyncio.wait_for(ended, 10)).component == "awaited"
        with pytest.raises(sundown.TimedOut):
            async with sundown.Runtime("stuck", workers=1, timeout=0.05) as runtime:
                runtime.spawn(stuck)
                while runtime.stats().inside == 0:
                    await asyncio.sleep(0.001)
        stuck.release()
        await runtime.shutdown_async(PLENTY)
        busy.release()
        await blocked

    # The executor is not released if it fails.
    thread = threading.Thread(target=lambda: told.append(asyncio.run(main())), daemon=True)
    told = []
    thread.start()
    thread.join(20)
    assert told == [None]


def test_a_shutdown_that_is_cancelled_while_it_is_awaited_goes_on():
    async def main():
        runtime, stuck = sundown.Runtime("cancelled", workers=1), Stuck()
        runtime.spawn(stuck)
        ending = asyncio.ensure_future(runtime.shutdown_async(PLENTY))
        while runtime.stats().state == "running":
            await asyncio.sleep(0.001)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        stuck.release()
        assert (await runtime.shutdown_async(PLENTY)).component == "cancelled"

    asyncio.run(main())


def test_nothing_of_the_package_calls_the_program_after_a_shutdown():
    runtime = sundown.Runtime("quiet", workers=1)
    is_over, late = threading.Event(), []

    def callback(_):
        if is_over.is_set():
            late.append(1)
        time.sleep(0.0005)

    tasks = [runtime.sleep(3600) for _ in range(100)]
    for task in tasks:
        task.add_done_callback(callback)
    runtime.shutdown(PLENTY)
    is_over.set()
    assert all(task.done() for task in tasks)
    time.sleep(0.1)
    assert late == []


@pytest.mark.parametrize("is_async", [False, True])
def test_a_shutdown_names_the_thread_that_still_calls_callbacks(is_async):
    runtime, stuck = sundown.Runtime("loud", workers=1), Stuck()
    runtime.sleep(3600).add_done_callback(lambda _: stuck())

    def ends(limit):
        return asyncio.run(runtime.shutdown_async(limit)) if is_async else runtime.shutdown(limit)

    with pytest.raises(sundown.TimedOut, match="sundown-notifier") as caught:
        ends(0.2)
    assert (caught.value.component, caught.value.threads) == ("loud", ("sundown-notifier",))
    assert 0.2 <= caught.value.elapsed < PLENTY
    stuck.release()
    assert ends(PLENTY).component == "loud"


def test_a_callback_of_a_dropped_task_that_shuts_its_runtime_down_gets_an_error():
    runtime, told = sundown.Runtime("inside", workers=1), []

    def callback(_):
        for ends in (runtime.shutdown, lambda: asyncio.run(runtime.shutdown_async())):
            try:
                told.append(ends())
            except sundown.ShutdownError as error:
                told.append((type(error), error.component))

    runtime.sleep(3600).add_done_callback(callback)
    assert runtime.shutdown(PLENTY).component == "inside"
    assert told == [(sundown.FromInside, "inside")] * 2


class Ends:
    """A runtime in the list of the exit, which another thread changes while it is looked at."""

    def __init__(self, meanwhile, ended):
        self._meanwhile, self._ended = meanwhile, ended

    @property
    def ended(self):
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:
            thread = threading.Thread(target=meanwhile)
            thread.start()
            thread.join(PLENTY)
        return self._ended


def test_a_start_that_removes_ended_runtimes_beside_another_loses_none(monkeypatch):
    started = []

    def starts():
        started.append(sundown.Runtime("other", workers=1))

    # When the first is removed, the others move up.
    kept = [Ends(starts, False), Ends(None, False), Ends(None, False)]
    monkeypatch.setattr(_exit, "_runtimes", [Ends(None, True), *kept])
    with sundown.Runtime("one", workers=1) as runtime, started[0]:
        assert set(_exit._runtimes) == {*kept, runtime._native, started[0]._native}


def test_a_runtime_that_another_thread_removes_from_the_list_is_no_error(monkeypatch):
    gone = Ends(lambda: _exit._runtimes.remove(gone), True)
    monkeypatch.setattr(_exit, "_runtimes", [gone])
    with sundown.Runtime("one", workers=1) as runtime:
        assert _exit._runtimes == [runtime._native]


def test_a_block_shuts_its_runtime_down_and_raises_its_error():
    with sundown.Runtime("block") as runtime:
        pass
    assert runtime.stats().state == "ended"
    stuck = Stuck()
    with pytest.raises(sundown.TimedOut):
        with sundown.Runtime("stuck", timeout=0.05) as runtime:
            runtime.spawn(stuck)
            assert stuck.inside.wait(PLENTY)
    stuck.release()
    runtime.shutdown(PLENTY)

    async def main():
        async with sundown.Runtime("block") as runtime:
            assert await runtime.spawn(pow, 2, 2) == 4
        assert runtime.stats().state == "ended"

    asyncio.run(main())


@pytest.mark.parametrize("is_async", [False, True])
def test_an_exception_of_the_block_is_not_hidden_by_an_error_of_its_runtime(is_async, caplog):
    stuck = Stuck()
    runtime = sundown.Runtime("stuck", timeout=0.05)

    async def with_async():
        async with runtime:
            runtime.spawn(stuck)
            assert stuck.inside.wait(PLENTY)
            raise KeyError("of the block")

    with caplog.at_level(logging.WARNING, "sundown"), pytest.raises(KeyError, match="of the block"):
        if is_async:
            asyncio.run(with_async())
        else:
            with runtime:
                runtime.spawn(stuck)
                assert stuck.inside.wait(PLENTY)
                raise KeyError("of the block")
    assert "stuck has not ended after" in caplog.text
    stuck.release()
    runtime.shutdown(PLENTY)


def test_a_runtime_that_nobody_refers_to_goes_with_a_warning():
    runtime = sundown.Runtime("forgotten")
    native = runtime._native
    with pytest.warns(ResourceWarning, match="'forgotten'> was not shut down"):
        del runtime
    assert native.shutdown(PLENTY)[1] == 0


@pytest.mark.skipif(
    not hasattr(_native, "failed"), reason="the package was built without --features faults"
)
@pytest.mark.parametrize(
    ("what", "kind", "says"),
    [
        ("task", sundown.Panicked, "a task that panics"),
        ("thread", sundown.ThreadPanicked, "a waker that panics"),
    ],
)
def test_a_panic_of_rust_code_is_raised(what, kind, says):
    native = _native.failed(what)
    for _ in range(2):
        with pytest.raises(kind, match=says) as caught:
            native.shutdown(PLENTY)
        assert caught.value.component == "failed"
    if what == "task":
        assert caught.value.panicked == (("unlucky", says),)
    else:
        assert (caught.value.panic, caught.value.tasks) == (says, 1)


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="the system does not list threads")
def test_after_an_awaited_shutdown_no_thread_of_the_runtime_is_left():
    def threads():
        folder = "/proc/self/task"
        return [open(f"{folder}/{it}/comm").read().strip() for it in os.listdir(folder)]

    async def shuts_down():
        runtime = sundown.Runtime("awaited")
        runtime.spawn(time.sleep, 0.01)
        ending = asyncio.ensure_future(runtime.shutdown_async(PLENTY))
        await asyncio.sleep(0.005)
        before = threads()
        await ending
        return before, threads()

    for _ in range(20):
        before, after = asyncio.run(shuts_down())
        assert "sundown-waiter" in before and "sundown-waiter" not in after
