"""Ends a program in one of several ways, while tasks of an extension call into Python.

    python3 exit.py DESIGN ENDING

The tasks call `talk`, which sends and receives on a socket. Each turn releases the interpreter's lock
and takes it again twice, and there are hundreds of turns: whenever the program ends, a task is in the
middle of that. The designs are in designs.py.
"""

import asyncio
import atexit
import os
import socket
import sys
import threading

import lab

# Handlers run in reverse order. These two are registered before any design is imported, so they run
# last.
lab.print_last_line_at_exit()

# The runtimes that the late handler submits work to.
late = []


@atexit.register
def submit_late():
    begun = threading.Event()
    for runtime in late:
        try:
            for _ in range(TASKS):
                runtime.submit(talk, EVER)
            runtime.submit(begun.set)
            begun.wait(timeout=5)
            lab.record("late_work", "taken")
        except RuntimeError as refused:
            lab.record("late_work", f"refused by {type(refused).__name__}")


import designs  # noqa: E402

# The number of tasks, and of turns in a call.
TASKS, TURNS = 4, 200

# A task with this number of calls makes them until it is ended.
EVER = None

OPERATIONS = 1000


def talk(turns=TURNS):
    """Sends and receives, as every client and every callback of one does."""
    one, other = socket.socketpair()
    with one, other:
        for _ in range(turns):
            one.send(b".")
            other.recv(1)


def talk_briefly():
    talk(turns=5)


def operation(runtime, callable, times=1):
    """An awaitable as such extensions make them: a thread of the runtime delivers its result."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def resolve():
        if not future.done():
            future.set_result(None)

    def done():
        try:
            loop.call_soon_threadsafe(resolve)
        except RuntimeError:
            pass  # The loop is closed, and nobody waits any more.

    runtime.submit(callable, times, done)
    return future


async def awaited(runtime):
    """Waits for everything that it starts."""
    await asyncio.gather(*(operation(runtime, talk, 3) for _ in range(TASKS)))


async def ended(runtime):
    """The same, and then for the end of the tasks, which comes after their answers."""
    await awaited(runtime)
    while runtime.alive_tasks():
        await asyncio.sleep(0.001)


async def not_awaited(runtime):
    """Starts operations, and waits for none of them."""
    for _ in range(TASKS):
        operation(runtime, talk, EVER)
    await operation(runtime, lambda: None)


async def watching(runtime):
    """Waits for what it needs, and returns while other tasks, its watches, are running."""
    for _ in range(TASKS):
        runtime.submit(talk, EVER)
    await operation(runtime, talk)


async def closed(runtime):
    """The same, in a block that closes the runtime at its end."""
    with runtime:
        await watching(runtime)


async def released(runtime):
    """The same, and then the program lets go of its only reference, as a function does that returns."""
    await watching(runtime)


async def exits(runtime):
    """Leaves by `sys.exit`."""
    await watching(runtime)
    sys.exit(3)


async def raises(runtime):
    """Raises an exception that nobody catches."""
    await watching(runtime)
    raise RuntimeError("as meant")


async def a_thousand(runtime):
    """Has a thousand operations in flight when it returns."""
    await operation(runtime, talk)
    for _ in range(OPERATIONS):
        operation(runtime, talk_briefly, EVER)


async def leaves_at_once(runtime):
    """Leaves by `os._exit`, which skips finalization."""
    await watching(runtime)
    print("the last line", flush=True)
    os._exit(0)


async def never_calls(runtime):
    """Leaves tasks running that do not call into Python."""
    for _ in range(TASKS):
        runtime.sleep(3600)


async def outlives(runtime):
    """Leaves blocking work that keeps calling into Python for ever."""
    for _ in range(TASKS):
        runtime.submit_blocking(talk_briefly, EVER)
    await operation(runtime, talk)


async def stuck(runtime):
    """Leaves blocking work that never ends, and does not call into Python."""
    runtime.submit_blocking(talk, after=3600)
    await operation(runtime, talk)


async def late_work(runtime):
    """Has a handler submit work after the runtime's own handler has run."""
    await operation(runtime, talk)
    late.append(runtime)


ENDINGS = {
    "awaited": awaited,
    "ended": ended,
    "not-awaited": not_awaited,
    "watching": watching,
    "closed": closed,
    "released": released,
    "sys-exit": exits,
    "uncaught": raises,
    "thousand": a_thousand,
    "os-exit": leaves_at_once,
    "never-calls": never_calls,
    "outlives": outlives,
    "stuck": stuck,
    "late-work": late_work,
}

if __name__ == "__main__":
    design, ending = sys.argv[1:]
    lab.keep_exit_busy()
    if ending in ("outlives", "stuck"):
        # The work outlasts any limit, so a short one will do.
        designs.LIMIT = 0.2
    runtime = getattr(designs, design.replace("-", "_"))()
    alive_tasks = getattr(runtime, "alive_tasks", None)
    try:
        asyncio.run(ENDINGS[ending](runtime))
        if ending == "released":
            del runtime
    finally:
        if alive_tasks:
            lab.record("tasks_alive", alive_tasks())
        lab.leaving()
