"""The designs: where the runtime is kept, and what the program does to it when it ends.

Reconstructions for the lab. Where the runtime is kept is written in Rust, in
crates/python/designs; what is done at exit, and in which order, is written here.
"""

import atexit
import time

import sundown
from sundown_designs import Owned, StaticOwner, StaticRuntime

# How long a shutdown with a limit waits, in seconds.
LIMIT = 5.0


def static():
    """A runtime in a static cell, and nothing at exit. As pyo3-async-runtimes has it."""
    return StaticRuntime()


def static_owner():
    """An owner in a static cell, whose destructor joins. As valkey-glide has it."""
    return StaticOwner()


def sleep():
    """The static runtime, and a short sleep at exit."""
    atexit.register(time.sleep, 0.1)
    return StaticRuntime()


def background():
    """The runtime is told to end at exit, and not waited for."""
    runtime = Owned()
    atexit.register(runtime.end_in_the_background)
    return runtime


def holding_the_lock():
    """The runtime is waited for at exit, by a thread that keeps the interpreter's lock."""
    runtime = Owned()
    atexit.register(runtime.join_holding_the_lock)
    return runtime


class _Closes:
    """Ends the runtime when it is dropped."""

    def __init__(self):
        self.runtime = Owned()
        self.submit = self.runtime.submit

    def __del__(self):
        self.runtime.join()


def in_del():
    """The runtime is waited for in `__del__`, of an object that lives until the program ends."""
    return _Closes()


class _Manager:
    """Ends the runtime at the end of a block."""

    def __init__(self):
        self.runtime = Owned()
        self.submit = self.runtime.submit

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.runtime.join()


def context_manager():
    """The runtime is waited for at the end of a `with` block, which the program need not have."""
    return _Manager()


def joined():
    """The runtime is waited for at exit, without the lock and without a limit."""
    runtime = Owned()
    atexit.register(runtime.join)
    return runtime


def bounded():
    """The same within a limit: what has not ended by then goes on."""
    runtime = Owned()
    atexit.register(runtime.join_within, LIMIT)
    return runtime


def gated():
    """A gate in front of the interpreter is closed first. The same limit."""
    runtime = Owned(gate=True)
    atexit.register(runtime.close_the_gate_and_join_within, LIMIT)
    return runtime


def restarts():
    """The runtime is waited for at exit, and a new one started for work that comes later."""
    runtime = Owned(restarts=True)
    atexit.register(runtime.join)
    return runtime


def refuses():
    """The runtime is waited for at exit, and work that comes later refused."""
    return joined()


class _Kit:
    """The module that ships, asked for the same work in the same words."""

    def __init__(self):
        self.runtime = sundown.Runtime("kit")

    def __enter__(self):
        self.runtime.__enter__()

    def __exit__(self, *error):
        self.runtime.__exit__(*error)

    def submit(self, callable, times=1, done=None):
        if times is None:
            self.runtime.call_every(0, callable)
            return
        task = self.runtime.spawn(lambda: [callable() for _ in range(times)])
        if done:
            task.add_done_callback(lambda _: done())

    def submit_blocking(self, callable, times=1, after=0.0):
        def work():
            time.sleep(after)
            while times is None:
                callable()

        self.runtime.spawn(work)


def kit():
    """sundown.Runtime, with nothing done at exit but what it does itself."""
    sundown.set_exit_timeout(LIMIT)
    return _Kit()
