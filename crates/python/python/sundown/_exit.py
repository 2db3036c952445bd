"""The end of the process and its forks: what runtimes do at ``atexit`` and at ``fork``."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, Optional

from . import _native
from ._errors import Ended

if TYPE_CHECKING:
    from ._task import Task

logger = logging.getLogger("sundown")

#: Every runtime of this process that may not have ended, oldest first. These are the native runtimes:
#: the program's objects are not in here, so that they go when nobody refers to them.
_runtimes: list[_native.Runtime] = []
#: Every task that has not ended. The runtime refers to each of them as long.
_tasks: set[Task[Any]] = set()
_timeout: Optional[float] = 5.0
_exiting = False


def set_exit_timeout(seconds: Optional[float]) -> None:
    """Sets the limit at exit for all runtimes together. Default: 5 s; ``None`` means no limit.

    What has not ended by then is reported to the logger ``sundown`` and left behind: the interpreter
    and the process end.

    Raises ``ValueError`` for a negative number, and for what is not a number.
    """
    global _timeout
    if seconds is not None:
        seconds = float(seconds)
        if not seconds >= 0:
            raise ValueError(f"the limit at exit is {seconds} s; give 0 or more, or None")
    _timeout = seconds


def start(name: str, workers: Optional[int], blocking_threads: Optional[int]) -> _native.Runtime:
    """Starts a runtime that is taken down at exit."""
    refuse_at_exit(name)
    native = _native.Runtime(name, workers, blocking_threads)
    # Only steps that no other thread, fork or signal handler can be in the middle of.
    _runtimes.append(native)
    for runtime in list(_runtimes):
        if runtime.ended:
            try:
                _runtimes.remove(runtime)
            except ValueError:
                # Another thread has removed it.
                pass
    # The exit may not have seen it.
    refuse_at_exit(name)
    return native


def refuse_at_exit(name: str) -> None:
    """Raises ``Ended`` once runtimes are being taken down at exit."""
    if _exiting:
        raise Ended(
            f"{name} cannot be used any more: the interpreter exits; "
            "do this before, or register the atexit handler that does it after sundown is imported",
            component=name,
        )


def _forked() -> None:
    # The threads of the parent's runtimes are not here, so nothing may wait for them. The runtimes and tasks
    # stay referenced, because a child must not drop one either.
    global _runtimes, _tasks
    _parents.append((_runtimes, _tasks))
    _runtimes, _tasks = [], set()


_parents: list[tuple[list[_native.Runtime], set[Task[Any]]]] = []
#: No function in Python: if Ctrl-C is pending, that would raise before it does anything.
_exit = functools.partial(_native.exit, sys.modules[__name__])
atexit.register(_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
