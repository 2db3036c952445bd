"""The handle of spawned work."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any, Callable, Generator, Optional, TypeVar

from . import _exit
from ._errors import Ended, Forked

if TYPE_CHECKING:
    from . import _native
    from ._runtime import Runtime

T = TypeVar("T")


class Task(Future[T]):
    """Work on a runtime: a ``concurrent.futures.Future`` that can also be awaited.

    ``result(timeout)`` waits on the calling thread, ``await task`` waits in asyncio. If the awaiting task
    is cancelled, this one is too. ``cancel()`` succeeds until the callable is called. If the runtime
    drops the work, it raises ``Ended``. An exception that nobody asks for goes to
    ``sys.unraisablehook``.

    It refers to its runtime, so a runtime that nobody else refers to lives until its work has ended.
    """

    def __init__(
        self, runtime: Runtime, name: str, function: Callable[..., T], args: Any, kwargs: Any
    ) -> None:
        self._process = self._lock_process = os.getpid()
        #: Its name in reports.
        self.name = name
        self._runtime = runtime
        super().__init__()
        self._work: Optional[tuple[Callable[..., T], Any, Any]] = (function, args, kwargs)
        self._job: Optional[_native.Job] = None
        self._asked_for = False

    # The lock of a future, under the name that `concurrent.futures` uses for it.

    @property
    def _condition(self) -> threading.Condition:
        if os.getpid() != self._lock_process:
            self._adopt()
        return self._lock

    @_condition.setter
    def _condition(self, lock: threading.Condition) -> None:
        self._lock = lock

    def _adopt(self) -> None:
        """Ends it in a forked child, where a thread that does not exist may hold its lock."""
        if self._state not in ("FINISHED", "CANCELLED_AND_NOTIFIED"):
            # The callbacks are not called: they are the parent's.
            self._exception = self._forked()
            self._state = "FINISHED"
        self._waiters: list[Any] = []
        # Last, because another thread may do the same; both find it ended.
        self._lock = threading.Condition()
        self._lock_process = os.getpid()

    # Called by the runtime, on a thread of the runtime. These do not raise.

    def _run(self) -> None:
        # Under the lock, because an exit may end it at the same time.
        with self._condition:
            work, self._work = self._work, None
            begins = work is not None and self.set_running_or_notify_cancel()
        if work is None or not begins:
            _exit._tasks.discard(self)
            return
        function, args, kwargs = work
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            self._end(error)
            # Breaks the cycle: the traceback refers to this frame, and this frame to the task.
            self = None  # type: ignore[assignment]
        else:
            try:
                self.set_result(result)
            except InvalidStateError:
                # An exit did not wait for it.
                pass
            _exit._tasks.discard(self)

    def _dropped(self) -> None:
        why = f"{self.name} was dropped: {self._runtime.name} was shut down before it was done"
        with self._condition:
            self._work = None
            # An exit may have ended it. If it was cancelled, who waits for it is notified.
            begins = self._state != "FINISHED" and self.set_running_or_notify_cancel()
        if begins:
            self._end(Ended(why, component=self._runtime.name))
        _exit._tasks.discard(self)

    def _left(self) -> None:
        """Ends it at exit, after the runtimes. If its callable is still being called, nobody waits for that."""
        why = f"{self.name} was left behind: the interpreter exits"
        with self._condition:
            self._work = None
            if self._state == "CANCELLED":
                self.set_running_or_notify_cancel()
        if not self.done():
            self._end(Ended(why, component=self._runtime.name))
        _exit._tasks.discard(self)

    def _end(self, error: BaseException) -> None:
        try:
            self.set_exception(error)
        except InvalidStateError:
            # An exit did not wait for it.
            pass
        _exit._tasks.discard(self)

    # Called by the program.

    def cancel(self) -> bool:
        """Drops the work, unless it has ended or is being called. Does not wait."""
        cancelled = super().cancel()
        if cancelled and self._job is not None:
            self._job.cancel()
        return cancelled

    def result(self, timeout: Optional[float] = None) -> T:
        """Waits for the result of the callable, up to a limit in seconds. Raises what it raised.

        Also raises ``concurrent.futures.TimeoutError`` at the limit, ``CancelledError``, ``Ended`` if the
        work was dropped or did not end in time at exit, and ``Forked`` in a forked child, where the work does not run.
        """
        self._check_process()
        self._asked_for = True
        return super().result(timeout)

    def exception(self, timeout: Optional[float] = None) -> Optional[BaseException]:
        """The exception of the callable, or ``None``. Waits and raises like ``result``."""
        self._check_process()
        self._asked_for = True
        return super().exception(timeout)

    def __await__(self) -> Generator[Any, None, T]:
        if not self.done():
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()

            def wake(_: Any) -> None:
                try:
                    loop.call_soon_threadsafe(_wake, waiter)
                except RuntimeError:
                    # The loop is closed, so nobody awaits this any more.
                    pass

            self.add_done_callback(wake)
            try:
                yield from waiter
            except asyncio.CancelledError:
                self.cancel()
                raise
        self._asked_for = True
        if self.cancelled():
            raise asyncio.CancelledError
        return super().result()

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise self._forked()

    def _forked(self) -> Forked:
        return Forked(
            f"{self.name} runs in process {self._process}, which this one was forked from; "
            "start another Runtime in this process",
            component=self._runtime.name,
        )

    def __repr__(self) -> str:
        return f"<sundown.{type(self).__name__} {self.name!r} {self._state.lower()}>"

    # What it uses is bound here: while the interpreter is finalized, a module's names are gone.
    def __del__(
        self,
        getattr: Callable[..., Any] = getattr,
        isinstance: Callable[..., bool] = isinstance,
        ended: type[Ended] = Ended,
    ) -> None:
        # Not `exception()`, which may wait. Nobody else refers to this any more.
        error: Optional[BaseException] = getattr(self, "_exception", None)
        if error is not None and not self._asked_for and not isinstance(error, ended):
            # What a destructor raises goes to `sys.unraisablehook`.
            raise error


class Repetition(Task[None]):
    """Work that is repeated. It never ends by itself: it is cancelled, or raises ``Ended`` after a
    shutdown."""

    def _run(self) -> None:
        work = self._work
        if work is not None and not self.cancelled():
            function, args, kwargs = work
            # What it raises goes to `sys.unraisablehook`, and the repetition goes on.
            function(*args, **kwargs)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
