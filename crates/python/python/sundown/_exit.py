"""The end of the process, and its copies: what ``atexit`` and ``fork`` have to do with a runtime."""

from __future__ import annotations

import atexit
import logging
import os
from typing import Optional

from . import _native
from ._errors import Ended

logger = logging.getLogger("sundown")

#: Every runtime of this process that has not been seen to end, oldest first. The program's objects are
#: not in here, and go when nobody has them: this is what their threads are known by.
_runtimes: list[_native.Runtime] = []
_timeout: Optional[float] = 5.0
_exiting = False


def set_exit_timeout(seconds: Optional[float]) -> None:
    """How long the runtimes may take to end at exit, all together: 5 s unless set, ``None`` is no limit.

    What has not ended by then is reported to the logger ``sundown``, and left: the interpreter goes
    on to its end, and the process with it.

    Raises ``ValueError`` for less than 0, and for what is not a number.
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
    """Raises ``Ended`` when runtimes are being taken down, or have been."""
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
    _native.after_fork()
    # Those of the parent: their threads are not here, and nothing of them may be waited for. They stay
    # referred to, because letting go of one is not for a child either.
    global _runtimes
    _parents.append(_runtimes)
    _runtimes = []


_parents: list[list[_native.Runtime]] = []
atexit.register(_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_native.before_fork, after_in_parent=_native.after_fork, after_in_child=_forked
    )
