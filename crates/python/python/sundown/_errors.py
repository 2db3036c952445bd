"""The errors. Every class here is a ``RuntimeError``."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional


class StillRunning(NamedTuple):
    """Work that has not ended."""

    name: str
    #: The file and line where it was spawned.
    spawned_at: str
    #: Whether its callable was being called at that moment.
    inside: bool

    def __str__(self) -> str:
        return f"{self.name} (spawned at {self.spawned_at})"


class StartError(RuntimeError):
    """The runtime could not be started. Nothing of it is left."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class Ended(RuntimeError):
    """The runtime takes no work, or dropped this work: it was shut down, or the interpreter exits."""

    #: The runtime's name.
    component: str

    def __init__(self, message: str, *, component: str = "") -> None:
        super().__init__(message)
        self.component = component


class Forked(Ended):
    """This is a forked child, and the runtime's threads are in the parent. Start another runtime here."""


class ShutdownError(RuntimeError):
    """A shutdown that failed, or that found a failure."""

    #: The runtime's name.
    component: str
    #: Work that had not ended, oldest first.
    still_running: tuple[StillRunning, ...]
    #: The number of tasks that were alive, by Tokio's count.
    tasks: int
    #: The names of the threads that the shutdown waits for.
    threads: tuple[str, ...]

    def __init__(
        self,
        message: str,
        *,
        component: str = "",
        tasks: int = 0,
        threads: Any = (),
        still_running: Any = (),
    ) -> None:
        self.component = component
        self.tasks = tasks
        self.threads = tuple(threads)
        self.still_running = tuple(StillRunning(**one) for one in still_running)
        if self.still_running:
            message += ": " + ", ".join(map(str, self.still_running))
        super().__init__(message)


class TimedOut(ShutdownError):
    """The limit passed, and something has not ended. Another shutdown waits on."""

    #: How long the call waited, in seconds.
    elapsed: float

    def __init__(self, message: str, *, elapsed: float = 0.0, **left: Any) -> None:
        super().__init__(message, **left)
        self.elapsed = elapsed


class Panicked(ShutdownError):
    """Everything has ended, some of it through a panic of Rust code."""

    #: The name of each panicked task, and the message of its panic.
    panicked: tuple[tuple[str, str], ...]

    def __init__(self, message: str, *, panicked: Any = (), **left: Any) -> None:
        super().__init__(message, **left)
        self.panicked = tuple((name, said) for name, said in panicked)


class ThreadPanicked(ShutdownError):
    """The runtime's own thread panicked, and everything on the runtime was dropped."""

    #: The message of the panic.
    panic: str

    def __init__(self, message: str, *, panic: str = "", **left: Any) -> None:
        super().__init__(message, **left)
        self.panic = panic


class FromInside(ShutdownError):
    """A callable of the runtime shut it down, and would wait for itself. The runtime is stopping."""


class SignalLost(ShutdownError):
    """Nobody received the signal: this is a forked child, or the runtime's thread was ended."""

    #: In a forked child, the process that has the runtime's threads.
    owner: Optional[int]

    def __init__(self, message: str, *, owner: Optional[int] = None, **left: Any) -> None:
        super().__init__(message, **left)
        self.owner = owner
