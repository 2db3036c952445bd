"""The runtime as a program sees it."""

from __future__ import annotations

import asyncio
import os
import sys
import warnings
from types import TracebackType
from typing import Any, Callable, NamedTuple, Optional, TypeVar

from . import _exit
from ._errors import ShutdownError
from ._task import Repetition, Task

T = TypeVar("T")

#: How long a ``with`` block waits for its runtime, in seconds, unless told otherwise.
TIMEOUT = 5.0


class ShutdownReport(NamedTuple):
    """A shutdown that came to its end."""

    #: The runtime's name.
    component: str
    #: How long this call took, in seconds.
    elapsed: float
    #: How much work was dropped because the limit was near.
    aborted: int


class Stats(NamedTuple):
    """What a runtime is doing, in numbers. All are of some moment that has passed."""

    #: ``running``, ``stopping``, ``ended`` or ``forked``.
    state: str
    #: How many tasks are alive, by Tokio's count.
    tasks: int
    #: How many threads it has besides its own, idle or not.
    threads: int
    #: How much spawned work has not ended.
    unfinished: int
    #: How many of its threads are inside the interpreter, or wait for its lock.
    inside: int


class Runtime:
    """A Tokio runtime on threads of its own, for Python callables that block.

    ``workers`` poll its timers, as many as there are processors unless told; callables run on at most
    ``blocking_threads`` others, 512 unless told. ``timeout`` is the limit in seconds that a ``with`` or
    ``async with`` block waits for at its end; ``None`` is no limit.

    Raises ``ValueError`` for a number of 0, ``StartError`` where the system has no thread for it, and
    ``Ended`` at exit.

    A runtime that is not shut down is taken down at exit. One that nobody refers to and that has no
    work left is taken down with a ``ResourceWarning``. In a forked child it is inert: work is refused
    by ``Forked``, and leaving its ``with`` block does nothing.
    """

    def __init__(
        self,
        name: str,
        workers: Optional[int] = None,
        *,
        blocking_threads: Optional[int] = None,
        timeout: Optional[float] = TIMEOUT,
    ) -> None:
        #: What reports and errors call it, and its threads.
        self.name = name
        self.timeout = timeout
        self._process = os.getpid()
        self._native = _exit.start(name, workers, blocking_threads)

    def spawn(
        self, function: Callable[..., T], /, *args: Any, name: Optional[str] = None, **kwargs: Any
    ) -> Task[T]:
        """Has a callable called, on a thread that may block.

        ``name`` is what reports call it, that of the callable unless told. Raises ``Ended`` where the
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
        """The same after ``delay`` seconds. A shutdown before that drops it."""
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
        """Has a callable called after ``interval`` seconds, and again so much after each end of it, until
        it is cancelled or the runtime is shut down. What it raises goes to ``sys.unraisablehook``."""
        task = Repetition(self, name or _name_of(function), function, args, kwargs)
        return self._start(task, interval=interval)

    def sleep(self, seconds: float) -> Task[None]:
        """Work that is done after so many seconds: to be awaited."""
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
        job = self._native.start(task, task.name, spawned_at, delay, interval)
        task._job = job
        if task.cancelled():
            job.cancel()
        return task

    def shutdown(self, timeout: Optional[float] = TIMEOUT) -> ShutdownReport:
        """Ends the runtime, and waits for at most so many seconds; ``None`` is no limit.

        Timers are dropped, callables that were spawned are waited for, and what has not ended by the
        last tenth of the limit is dropped. A callable that is being called cannot be: it is waited for.
        May be called again, and by many at once: all are told the same. After ``TimedOut`` the runtime
        goes on ending, and another call waits on. Ctrl-C interrupts the wait.

        Raises ``TimedOut`` with what has not ended; ``FromInside`` in a callable of this runtime, whose
        end it would wait for; ``ThreadPanicked`` and ``Panicked`` where Rust code panicked; and
        ``SignalLost`` in a forked child. All are ``ShutdownError``.
        """
        return ShutdownReport(self.name, *self._native.shutdown(timeout))

    async def shutdown_async(self, timeout: Optional[float] = TIMEOUT) -> ShutdownReport:
        """The same in asyncio, whose other tasks go on meanwhile."""
        return await asyncio.to_thread(self.shutdown, timeout)

    def stats(self) -> Stats:
        """What it is doing. Never blocks, works in every state."""
        return Stats(**self._native.stats())

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self._is_here():
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
        if self._is_here():
            try:
                await self.shutdown_async(self.timeout)
            except ShutdownError as failure:
                self._report(failure, error)

    def _report(self, failure: ShutdownError, error: Optional[BaseException]) -> None:
        if error is None:
            raise failure
        # The exception that ends the block is the one that matters.
        _exit.logger.warning("at the end of a block: %s", failure)

    def _is_here(self) -> bool:
        return os.getpid() == self._process

    def __del__(self) -> None:
        native = getattr(self, "_native", None)
        if native is None or not self._is_here() or _exit._exiting:
            return
        if native.stats()["state"] == "running":
            native.abandon()
            message = f"{self!r} was not shut down; use it in a with block, or call shutdown()"
            warnings.warn(message, ResourceWarning, source=self)

    def __repr__(self) -> str:
        return f"<sundown.Runtime {self.name!r}>"


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", None) or repr(function)


def _nothing() -> None:
    pass
