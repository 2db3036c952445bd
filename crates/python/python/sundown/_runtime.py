"""The runtime that a program sees."""

from __future__ import annotations

import asyncio
import os
import sys
import warnings
from types import TracebackType
from typing import Any, Callable, NamedTuple, Optional, TypeVar

from . import _exit
from ._errors import ShutdownError
from ._task import Repetition, Task, _wake

T = TypeVar("T")

#: The default limit of a ``with`` block and of ``shutdown``, in seconds.
TIMEOUT = 5.0


class ShutdownReport(NamedTuple):
    """A shutdown that succeeded."""

    #: The runtime's name.
    component: str
    #: How long this call took, in seconds.
    elapsed: float
    #: The number of tasks that were dropped because the limit was near.
    aborted: int


class Stats(NamedTuple):
    """What a runtime was doing at some moment, in numbers."""

    #: ``running``, ``stopping``, ``ended`` or ``forked``.
    state: str
    #: The number of tasks that are alive, by Tokio's count.
    tasks: int
    #: The number of its threads except its own, idle or not.
    threads: int
    #: The number of spawned tasks that have not ended.
    unfinished: int
    #: The number of its threads that are inside the interpreter or wait for its lock.
    inside: int


class Runtime:
    """A Tokio runtime on threads of its own, for Python callables that block.

    ``workers`` threads poll its timers; by default, one for each processor. Callables run on at most
    ``blocking_threads`` other threads; by default, 512. ``timeout`` is the limit in seconds for the end
    of a ``with`` or ``async with`` block; ``None`` means no limit.

    Raises ``ValueError`` for a number of 0, ``StartError`` if the system has no thread for it, and
    ``Ended`` at exit.

    A runtime that is not shut down is taken down at exit. If nobody refers to it and it has no work
    left, it is taken down with a ``ResourceWarning``. In a forked child it is inert: it refuses work
    with ``Forked``, and leaving its ``with`` block does nothing.
    """

    def __init__(
        self,
        name: str,
        workers: Optional[int] = None,
        *,
        blocking_threads: Optional[int] = None,
        timeout: Optional[float] = TIMEOUT,
    ) -> None:
        #: The name of the runtime and its threads in reports and errors.
        self.name = name
        self.timeout = timeout
        self._process = os.getpid()
        self._native = _exit.start(name, workers, blocking_threads)

    def spawn(
        self, function: Callable[..., T], /, *args: Any, name: Optional[str] = None, **kwargs: Any
    ) -> Task[T]:
        """Calls a callable on a thread that may block.

        ``name`` is its name in reports; by default, that of the callable. Raises ``Ended`` if the
        runtime was shut down or the interpreter exits, and ``Forked`` in a forked child.
        """
        task = Task(self, name or _name_of(function), function, args, kwargs)
        return self._start(task)

    def call_later(
        self,
        delay: float,
        function: Callable[..., T],
        /,
        *args: Any,
        name: Optional[str] = None,
        **kwargs: Any,
    ) -> Task[T]:
        """Calls a callable after ``delay`` seconds. A shutdown before that drops it."""
        task = Task(self, name or _name_of(function), function, args, kwargs)
        return self._start(task, delay=delay)

    def call_every(
        self,
        interval: float,
        function: Callable[..., Any],
        /,
        *args: Any,
        name: Optional[str] = None,
        **kwargs: Any,
    ) -> Task[None]:
        """Calls a callable after ``interval`` seconds, and again this long after each call has ended,
        until it is cancelled or the runtime is shut down. What it raises goes to
        ``sys.unraisablehook``."""
        task = Repetition(self, name or _name_of(function), function, args, kwargs)
        return self._start(task, interval=interval)

    def sleep(self, seconds: float) -> Task[None]:
        """A task that ends after this many seconds, to be awaited."""
        task = Task(self, f"sleep({seconds})", _nothing, (), {})
        return self._start(task, delay=seconds)

    def _start(
        self,
        task: Task[T],
        delay: Optional[float] = None,
        interval: Optional[float] = None,
    ) -> Task[T]:
        _exit.refuse_at_exit(self.name)
        caller = sys._getframe(2)
        spawned_at = f"{caller.f_code.co_filename}:{caller.f_lineno}"
        _exit._tasks.add(task)
        try:
            job = self._native.start(task, task.name, spawned_at, delay, interval)
        except BaseException:
            _exit._tasks.discard(task)
            raise
        task._job = job
        if task.cancelled():
            job.cancel()
        return task

    def shutdown(self, timeout: Optional[float] = TIMEOUT) -> ShutdownReport:
        """Shuts the runtime down within a limit in seconds; ``None`` means no limit.

        It drops timers and waits for spawned callables. In the last tenth of the limit it drops what has
        not begun. It cannot drop a callable that is being called, and waits for it. It also waits for the
        thread that calls the done callbacks of dropped tasks.

        It may be called again, and by many threads at once; all get the same answer. After ``TimedOut``
        the runtime goes on ending, and another call waits on. Ctrl-C interrupts the wait.

        Raises ``TimedOut`` with what has not ended; ``FromInside`` in a callable of this runtime or
        a callback of a task that it dropped, because it would wait for itself; ``ThreadPanicked`` or ``Panicked`` if Rust code panicked; and
        ``SignalLost`` in a forked child. All are ``ShutdownError``.
        """
        return ShutdownReport(self.name, *self._native.shutdown(timeout))

    async def shutdown_async(self, timeout: Optional[float] = TIMEOUT) -> ShutdownReport:
        """The same in asyncio, without blocking the event loop, whatever its executor does.

        After the runtimes were taken down at exit, it blocks.
        """
        if _exit._exiting:
            # No thread can wake the loop any more.
            return self.shutdown(timeout)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(_wake, waiter)
            except RuntimeError:
                # The loop is closed, so nobody awaits this any more.
                pass

        ending = self._native.begin_shutdown(timeout, wake)
        result = ending.result()
        if result is None:
            await waiter
            result = ending.result()
        assert result is not None
        return ShutdownReport(self.name, *result)

    def stats(self) -> Stats:
        """What the runtime is doing. Never blocks, and works in every state."""
        return Stats(**self._native.stats())

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self._is_own_process():
            try:
                self.shutdown(self.timeout)
            except ShutdownError as failure:
                self._report(failure, error)

    async def __aenter__(self) -> Runtime:
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self._is_own_process():
            try:
                await self.shutdown_async(self.timeout)
            except ShutdownError as failure:
                self._report(failure, error)

    def _report(self, failure: ShutdownError, error: Optional[BaseException]) -> None:
        if error is None:
            raise failure
        # The exception that ends the block matters more.
        _exit.logger.warning("at the end of a block: %s", failure)

    def _is_own_process(self) -> bool:
        return os.getpid() == self._process

    # What it uses is bound here: while the interpreter is finalized, a module's names are gone.
    def __del__(
        self,
        getattr: Callable[..., Any] = getattr,
        warn: Callable[..., None] = warnings.warn,
        category: type[Warning] = ResourceWarning,
    ) -> None:
        native = getattr(self, "_native", None)
        if native is not None and native.abandon():
            message = f"{self!r} was not shut down; use it in a with block, or call shutdown()"
            warn(message, category, source=self)

    def __repr__(self) -> str:
        return f"<sundown.Runtime {self.name!r}>"


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


def _nothing() -> None:
    pass
