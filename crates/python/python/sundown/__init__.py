"""A Tokio runtime inside a Python interpreter that exits cleanly.

    import sundown

    with sundown.Runtime("worker") as runtime:
        task = runtime.spawn(pow, 6, 7)
        print(task.result(timeout=5))

Callables run on threads of the runtime. At exit, every runtime is taken down before the interpreter is
finalized, within one limit (see ``set_exit_timeout``). This holds however the program ends: it returns,
calls ``sys.exit`` or raises, with work in flight or a ``with`` block that it never left. The exit code
stays the program's own.
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
