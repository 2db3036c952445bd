"""The designs: where the runtime is kept, and what the program does to it at exit.

Reconstructions for the lab. Where the runtime is kept is written in Rust, in crates/python/designs.
What is done at exit, and in which order, is written here.
"""

import atexit
import time

import sundown
from sundown_designs import Owned, StaticOwner, StaticRuntime

# The limit of a bounded shutdown, in seconds.
LIMIT = 5.0


def static():
    """A runtime in a static cell, as in pyo3-async-runtimes. Nothing is done at exit."""
    return StaticRuntime()


def static_owner():
    """An owner in a static cell, as in valkey-glide. Its destructor joins."""
    return StaticOwner()


def single_thread():
    """The same with a single-threaded runtime, as the notes of etcd-client-py recommend it."""
    return StaticOwner(single_threaded=True)


def cleanup():
    """The same with the recommended function for cleanup, registered as an exit function."""
    atexit.register(StaticOwner.cleanup)
    return StaticOwner(single_threaded=True)


def cleanup_holding_the_lock():
    """The same, and the function keeps the interpreter's lock while it joins."""
    atexit.register(StaticOwner.cleanup_holding_the_lock)
    return StaticOwner(single_threaded=True)


def sleep():
    """The static runtime, with a short sleep at exit."""
    atexit.register(time.sleep, 0.1)
    return StaticRuntime()


def background():
    """At exit the runtime is told to end, and not waited for."""
    runtime = Owned()
    atexit.register(runtime.end_in_the_background)
    return runtime


def holding_the_lock():
    """At exit the runtime is joined by a thread that keeps the interpreter's lock."""
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
    """The runtime is joined in `__del__` of an object that lives until the program ends."""
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
    """The runtime is joined at the end of a `with` block, if the program has one."""
    return _Manager()


def joined():
    """At exit the runtime is joined, without the lock and without a limit."""
    runtime = Owned()
    atexit.register(runtime.join)
    return runtime


def bounded():
    """The same, within a limit: what has not ended by then keeps running."""
    runtime = Owned()
    atexit.register(runtime.join_within, LIMIT)
    return runtime


def gated():
    """The same, but a gate in front of the interpreter is closed first."""
    runtime = Owned(gate=True)
    atexit.register(runtime.close_the_gate_and_join_within, LIMIT)
    return runtime


def restarts():
    """At exit the runtime is joined; work that comes later starts a new one."""
    runtime = Owned(restarts=True)
    atexit.register(runtime.join)
    return runtime


def refuses():
    """At exit the runtime is joined; work that comes later is refused."""
    return joined()


class _Kit:
    """sundown.Runtime, behind the same methods as the designs."""

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
    """sundown.Runtime. Only its own handler runs at exit."""
    sundown.set_exit_timeout(LIMIT)
    return _Kit()
