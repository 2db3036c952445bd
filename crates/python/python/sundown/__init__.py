"""A Tokio runtime inside a Python interpreter that exits cleanly.

    import sundown

    with sundown.Runtime("worker") as runtime:
        task = runtime.spawn(pow, 6, 7)
        print(task.result(timeout=5))

Callables run on threads of the runtime. However the program ends, by returning, by ``sys.exit``, by
an exception that nobody catches, with work in flight or a ``with`` block never left: at exit every
runtime is taken down before the interpreter goes, within one limit (see ``set_exit_timeout``), and
the program's exit code stays what it was.
"""

from ._errors import (
    Ended,
    Forked,
    FromInside,
    Panicked,
    ShutdownError,
    SignalLost,
    StartError,
    StillRunning,
    ThreadPanicked,
    TimedOut,
)
from ._exit import set_exit_timeout
from ._runtime import Runtime, ShutdownReport, Stats
from ._task import Task

__all__ = [
    "Ended",
    "Forked",
    "FromInside",
    "Panicked",
    "Runtime",
    "ShutdownError",
    "ShutdownReport",
    "SignalLost",
    "StartError",
    "Stats",
    "StillRunning",
    "Task",
    "ThreadPanicked",
    "TimedOut",
    "set_exit_timeout",
]
