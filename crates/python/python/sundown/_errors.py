"""What can go wrong. Every class here is a ``RuntimeError``."""

from __future__ import annotations

from typing import Any, NamedTuple, Optional


class StillRunning(NamedTuple):
    """Work that has not ended."""

    name: str
    #: The file and the line where it was spawned.
    spawned_at: str
    #: Whether its callable was being called at that moment.
    inside: bool

    def __str__(self) -> str:
        return f"{self.name} (spawned at {self.spawned_at})"


class StartError(RuntimeError):
    """The runtime could not be started. What was made of it has been taken down again."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class Ended(RuntimeError):
    """The runtime takes no work, or has dropped this one: it was shut down, or the interpreter exits."""

    #: The runtime's name.
    component: str

    def __init__(self, message: str, *, component: str = "") -> None:
        super().__init__(message)
        self.component = component


class Forked(Ended):
    """This is a forked child: the runtime's threads are its parent's. Start another one here."""


class ShutdownError(RuntimeError):
    """A shutdown that did not come to its end, or that found something gone wrong."""

    #: The runtime's name.
    component: str
    #: Work that had not ended, oldest first.
    still_running: tuple[StillRunning, ...]
    #: How many tasks were alive, by Tokio's count.
    tasks: int
    #: The threads that an end waits for, by name.
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
    """The limit passed, and something has not ended. Shutting it down again waits on."""

    #: How long it was waited for, in seconds.
    elapsed: float

    def __init__(self, message: str, *, elapsed: float = 0.0, **left: Any) -> None:
        super().__init__(message, **left)
        self.elapsed = elapsed


class Panicked(ShutdownError):
    """Everything has ended, some of it by a panic of Rust code."""

    #: The name of each, and what its panic said.
    panicked: tuple[tuple[str, str], ...]

    def __init__(self, message: str, *, panicked: Any = (), **left: Any) -> None:
        super().__init__(message, **left)
        self.panicked = tuple((name, said) for name, said in panicked)


class ThreadPanicked(ShutdownError):
    """The runtime's own thread panicked; all that was on the runtime was dropped."""

    #: What the panic said.
    panic: str

    def __init__(self, message: str, *, panic: str = "", **left: Any) -> None:
        super().__init__(message, **left)
        self.panic = panic


class FromInside(ShutdownError):
    """A callable of the runtime asked for its own end. The runtime has been told to stop."""


class SignalLost(ShutdownError):
    """Nobody was there to be told: in a forked child, or where the runtime's thread was ended."""

    #: The process that has the runtime's threads, where this is a forked child of it.
    owner: Optional[int]

    def __init__(self, message: str, *, owner: Optional[int] = None, **left: Any) -> None:
        super().__init__(message, **left)
        self.owner = owner
