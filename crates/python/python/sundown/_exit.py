"""The end of the process and its forks: what runtimes do at ``atexit`` and at ``fork``."""

from __future__ import annotations

import atexit
import logging
import os
from typing import Optional

from . import _native
from ._errors import Ended

logger = logging.getLogger("sundown")

#: Every runtime of this process that may not have ended, oldest first. These are the native runtimes:
#: the program's objects are not in here, so that they go when nobody refers to them.
_runtimes: list[_native.Runtime] = []
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
    _runtimes[:] = [runtime for runtime in _runtimes if not runtime.ended]
    _runtimes.append(native)
    return native


def refuse_at_exit(name: str) -> None:
    """Raises ``Ended`` once runtimes are being taken down at exit."""
    if _exiting:
        raise Ended(
            f"{name} cannot be used any more: the interpreter exits; "
            "do this before, or register the atexit handler that does it after sundown is imported",
            component=name,
        )


def _exit() -> None:
    global _exiting
    _exiting = True
    for error in _native.exit(_runtimes, _timeout):
        logger.warning("at exit: %s", error)


def _forked() -> None:
    # The threads of the parent's runtimes are not here, so nothing may wait for them. The runtimes stay
    # referenced, because a child must not drop one either.
    global _runtimes
    _parents.append(_runtimes)
    _runtimes = []


_parents: list[list[_native.Runtime]] = []
atexit.register(_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
