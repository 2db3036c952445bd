"""Ends a program whose extension keeps its runtime in the cell of pyo3-async-runtimes.

    python3 cell.py MODULE ENDING

MODULE is `released`, `patched` (the runtime can be taken out of the cell) or `kit`. Tasks of the runtime
call into Python again and again, as in exit.py.
"""

import asyncio
import atexit
import importlib
import socket
import sys

import lab

# Handlers run in reverse order: this one, and those registered here, after all others.
lab.print_last_line_at_exit()

TASKS, TURNS = 4, 200

# Seconds.
LIMIT = 5.0
NAP = 0.01


def talk():
    """Sends and receives, which releases the interpreter's lock and takes it again hundreds of times."""
    one, other = socket.socketpair()
    with one, other:
        for _ in range(TURNS):
            one.send(b".")
            other.recv(1)


class Kit:
    """sundown.Runtime, behind the functions of the module."""

    def __init__(self):
        import sundown

        sundown.set_exit_timeout(LIMIT)
        self.runtime = sundown.Runtime("kit")

    def call_for_ever(self, callable):
        self.runtime.call_every(0, callable)

    def nap(self, seconds):
        return self.runtime.sleep(seconds)


def module(name):
    return Kit() if name == "kit" else importlib.import_module(f"sundown_cell_{name}")


async def watching(module):
    """Waits for what it needs, and returns while other tasks are running."""
    for _ in range(TASKS):
        module.call_for_ever(talk)
    await module.nap(NAP)


def use_late(module):
    """Uses the module after its own exit function, if it has one."""

    async def use():
        await module.nap(NAP)

    try:
        asyncio.run(use())
        lab.record("late_use", "answered")
    except RuntimeError as refused:
        lab.record("late_use", f"refused by {type(refused).__name__}")


def start_late(module):
    """Empties the cell, and works on: the next use starts another runtime."""
    module.empty()
    asyncio.run(watching(module))


def record_access(module):
    for threads, name in (1, "picoseconds_alone"), (2, "picoseconds_with_another"):
        # The least of them: a busy machine only adds to it.
        lab.record(name, min(module.access(threads, 500_000) for _ in range(20)))


def main(name, ending):
    lab.keep_exit_busy()
    if ending == "used-late":
        atexit.register(lambda: use_late(used))
    elif ending == "started-late":
        atexit.register(lambda: start_late(used))
    used = module(name)
    if ending == "accessed":
        record_access(used)
        return
    if ending == "taken-with-the-lock":
        atexit.register(used.take_holding_the_lock)
    elif name == "patched" and ending != "left":
        atexit.register(lambda: lab.check("there was a runtime", used.take(LIMIT)))
    asyncio.run(watching(used))


if __name__ == "__main__":
    main(*sys.argv[1:])
