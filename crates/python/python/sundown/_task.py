"""What a program has of the work that it spawned."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Callable, Generator, Optional, TypeVar

from ._errors import Ended, Forked

if TYPE_CHECKING:
    from . import _native
    from ._runtime import Runtime

T = TypeVar("T")


class Task(Future[T]):
    """Work that runs on a runtime: a ``concurrent.futures.Future`` that can be awaited as well.

    ``result(timeout)`` waits on this thread, ``await task`` in asyncio; where what is awaited is
    cancelled, so is the task. ``cancel()`` succeeds until the callable is being called. Work that the
    runtime drops raises ``Ended``. An exception that nobody asks for goes to ``sys.unraisablehook``.

    It keeps its runtime: one that nobody else refers to goes when its work has ended.
    """

    def __init__(
        self, runtime: Runtime, name: str, function: Callable[..., T], args: Any, kwargs: Any
    ) -> None:
        super().__init__()
        #: Its name, in reports.
        self.name = name
        self._runtime = runtime
        self._work: Optional[tuple[Callable[..., T], Any, Any]] = (function, args, kwargs)
        self._job: Optional[_native.Job] = None
        self._process = os.getpid()
        self._asked_for = False

    # What the runtime calls, on a thread of its own. Nothing of this raises.

    def _run(self) -> None:
        work, self._work = self._work, None
        if work is None or not self.set_running_or_notify_cancel():
            return
        function, args, kwargs = work
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            self.set_exception(error)
            # Its traceback refers to this frame, and this frame to the task.
            self = None  # type: ignore[assignment]
        else:
            self.set_result(result)

    def _dropped(self) -> None:
        self._work = None
        if self.set_running_or_notify_cancel():
            self.set_exception(
                Ended(
                    f"{self.name} was dropped: {self._runtime.name} was shut down before it was done",
                    component=self._runtime.name,
                )
            )

    # What the program calls.

    def cancel(self) -> bool:
        """Drops the work, unless it has ended or its callable is being called. Does not wait."""
        cancelled = super().cancel()
        if cancelled and self._job is not None:
            self._job.cancel()
        return cancelled

    def result(self, timeout: Optional[float] = None) -> T:
        """What the callable returned, or raises what it raised; waits for at most so many seconds.

        Raises ``concurrent.futures.TimeoutError`` after that, ``CancelledError``, ``Ended`` where the
        work was dropped, and ``Forked`` in a forked child, where it is not done.
        """
        self._must_be_here()
        self._asked_for = True
        return super().result(timeout)

    def exception(self, timeout: Optional[float] = None) -> Optional[BaseException]:
        """What the callable raised, or ``None``. Waits and raises as ``result`` does."""
        self._must_be_here()
        self._asked_for = True
        return super().exception(timeout)

    def __await__(self) -> Generator[Any, None, T]:
        if not self.done():
            self._must_be_here()
            loop = asyncio.get_running_loop()
            waiter = loop.create_future()

            def wake(_: Any) -> None:
                try:
                    loop.call_soon_threadsafe(_wake, waiter)
                except RuntimeError:
                    # The loop is closed: nobody awaits it any more.
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

    def _must_be_here(self) -> None:
        # Its locks may be held by a thread that is not in the child.
        if os.getpid() != self._process:
            raise Forked(
                f"{self.name} is done in process {self._process}, which this one was forked from; "
                "start a Runtime of this process's own",
                component=self._runtime.name,
            )

    def __repr__(self) -> str:
        return f"<sundown.{type(self).__name__} {self.name!r} {self._state.lower()}>"

    def __del__(self) -> None:
        # Not `exception()`: by now nobody else has it, and nothing is to be waited for.
        error: Optional[BaseException] = getattr(self, "_exception", None)
        if error is not None and not self._asked_for and not isinstance(error, Ended):
            # Where a destructor raises, `sys.unraisablehook` is told, and nobody else.
            raise error


class Repetition(Task[None]):
    """Work that is done again and again. It does not end by itself, so that its result is an end:
    it was cancelled, or the runtime was shut down (``Ended``)."""

    def _run(self) -> None:
        work = self._work
        if work is not None and not self.cancelled():
            function, args, kwargs = work
            # What it raises is told to `sys.unraisablehook`, and it goes on.
            function(*args, **kwargs)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
