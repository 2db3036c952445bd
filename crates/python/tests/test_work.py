"""Work on a runtime: its result, its errors, its time, and its cancellation."""

import asyncio
import concurrent.futures
import sys
import threading
import time

import pytest
import sundown

#: Longer than anything here takes, in seconds.
PLENTY = 60


@pytest.fixture(name="runtime")
def _runtime():
    with sundown.Runtime("work", workers=1, timeout=PLENTY) as runtime:
        yield runtime


@pytest.fixture(name="unraisable")
def _unraisable(monkeypatch):
    """The calls of `sys.unraisablehook`, and an event that it was called."""
    told, was_told = [], threading.Event()

    def hook(unraisable):
        told.append(unraisable.exc_value)
        was_told.set()

    monkeypatch.setattr(sys, "unraisablehook", hook)
    return told, was_told


def test_a_task_has_what_its_callable_returned(runtime):
    assert runtime.spawn(pow, 6, 3).result(PLENTY) == 216
    assert runtime.spawn(int, "ff", base=16).result(PLENTY) == 255


def test_callables_run_on_threads_of_the_runtime(runtime):
    names = {runtime.spawn(threading.get_ident).result(PLENTY) for _ in range(5)}
    assert threading.get_ident() not in names


def test_a_task_raises_what_its_callable_raised(runtime):
    task = runtime.spawn(lambda: {}["missing"])
    with pytest.raises(KeyError, match="missing"):
        task.result(PLENTY)
    assert isinstance(task.exception(), KeyError)


def test_a_task_can_be_awaited_by_many_and_after_it_is_done(runtime):
    async def main():
        task = runtime.spawn(pow, 2, 5)

        async def awaits():
            return await task

        assert await asyncio.gather(awaits(), awaits()) == [32, 32]
        assert await task == 32
        with pytest.raises(ZeroDivisionError):
            await runtime.spawn(lambda: 1 / 0)

    asyncio.run(main())


def test_cancelling_what_awaits_a_task_cancels_the_task(runtime):
    async def main():
        task = runtime.sleep(3600)

        async def awaits():
            await task

        waiter = asyncio.ensure_future(awaits())
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert task.cancelled()
        while runtime.stats().unfinished:
            await asyncio.sleep(0.001)

    asyncio.run(main())


def test_cancelling_a_task_cancels_what_awaits_it(runtime):
    async def main():
        task = runtime.sleep(3600)

        async def awaits():
            await task

        waiter = asyncio.ensure_future(awaits())
        await asyncio.sleep(0)
        assert task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        with pytest.raises(concurrent.futures.CancelledError):
            task.result(PLENTY)

    asyncio.run(main())


def test_a_callable_that_is_being_called_cannot_be_cancelled(runtime):
    inside, go_on = threading.Event(), threading.Event()

    def holds():
        inside.set()
        assert go_on.wait(PLENTY)
        return "done"

    task = runtime.spawn(holds)
    assert inside.wait(PLENTY)
    assert not task.cancel()
    assert runtime.stats().inside == 1
    go_on.set()
    assert task.result(PLENTY) == "done"


def test_a_loop_that_was_closed_meanwhile_is_no_error(runtime, unraisable):
    begun, go_on = threading.Event(), threading.Event()
    tasks = []

    def work():
        begun.set()
        return go_on.wait(PLENTY)

    async def main():
        task = runtime.spawn(work)
        tasks.append(task)

        async def awaits():
            await task

        # Not awaited: the loop is closed while the callable is being called.
        asyncio.ensure_future(awaits())
        while not begun.is_set():
            await asyncio.sleep(0.001)

    asyncio.run(main())
    go_on.set()
    assert tasks[0].result(PLENTY) is True
    assert unraisable[0] == []


def test_a_timer_comes_no_sooner_than_it_should(runtime):
    began = time.monotonic()
    timers = [runtime.call_later(delay, time.monotonic) for delay in (0.05, 0.01, 0)]
    for delay, timer in zip((0.05, 0.01, 0), timers):
        assert timer.result(PLENTY) - began >= delay
    runtime.sleep(0.01).result(PLENTY)
    assert time.monotonic() - began >= 0.06


def test_a_repetition_goes_on_until_it_is_cancelled_whatever_it_raises(runtime, unraisable):
    came, enough = [], threading.Event()

    def comes():
        came.append(len(came))
        if len(came) >= 3:
            enough.set()
        raise ValueError("every time")

    task = runtime.call_every(0.001, comes)
    assert enough.wait(PLENTY)
    assert task.cancel()
    told, _ = unraisable
    assert len(told) >= 2
    assert all(isinstance(error, ValueError) for error in told)
    with pytest.raises(concurrent.futures.CancelledError):
        task.result(PLENTY)


def test_an_exception_that_nobody_asks_for_is_reported(runtime, unraisable):
    told, was_told = unraisable
    runtime.spawn(lambda: 1 / 0)
    assert was_told.wait(PLENTY)
    assert isinstance(told[0], ZeroDivisionError)


def test_an_exception_that_somebody_asked_for_is_not_reported(runtime, unraisable):
    told, _ = unraisable
    for asks in (lambda task: task.exception(PLENTY), lambda task: asyncio.run(_ignored(task))):
        asks(runtime.spawn(lambda: 1 / 0))
    assert told == []


async def _ignored(task):
    with pytest.raises(ZeroDivisionError):
        await task


def test_a_thousand_callables_at_once_are_all_called(runtime):
    tasks = [runtime.spawn(pow, number, 2) for number in range(1000)]
    assert [task.result(PLENTY) for task in tasks] == [number * number for number in range(1000)]


def test_a_callable_can_spawn_and_wait(runtime):
    def outer():
        return runtime.spawn(pow, 2, 10).result(PLENTY)

    assert runtime.spawn(outer).result(PLENTY) == 1024


def test_a_runtime_that_only_its_work_refers_to_goes_on_until_that_is_done():
    task = sundown.Runtime("anonymous").call_later(0.01, pow, 2, 3)
    with pytest.warns(ResourceWarning, match="'anonymous'"):
        assert task.result(PLENTY) == 8
        runtime = task._runtime
        del task
        del runtime


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: sundown.Runtime("none", workers=0),
        lambda: sundown.Runtime("none", blocking_threads=0),
    ],
)
def test_a_runtime_without_threads_is_refused(wrong):
    with pytest.raises(ValueError, match="`none` cannot start with 0"):
        wrong()


def test_bad_times_are_refused(runtime):
    for wrong in (-1, float("nan")):
        for call in (
            lambda: runtime.sleep(wrong),
            lambda: runtime.call_later(wrong, print),
            lambda: runtime.call_every(wrong, print),
            lambda: runtime.shutdown(wrong),
        ):
            with pytest.raises(ValueError, match="give 0 or more"):
                call()
    assert runtime.spawn(pow, 2, 2).result(PLENTY) == 4
