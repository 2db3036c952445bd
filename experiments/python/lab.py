"""What the programs of the lab share: reporting, and an object that keeps the exit busy.

A trial has become the interpreter that runs such a program. It reports on a pipe, line by line, like any
other trial. Its last line of output shows that it reached its end.
"""

import atexit
import json
import os
import time

_PIPE = int(os.environ["LAB_REPORT"])


def _report(line):
    os.write(_PIPE, json.dumps(line).encode() + b"\n")


def record(name, value):
    """Records an observation: a flag, a count, or a short text."""
    kind = {bool: "flag", int: "integer", str: "text"}[type(value)]
    _report({"observation": {"name": name, "value": {kind: value}}})


def record_seconds(name, seconds):
    """Records a duration."""
    value = {"nanoseconds": round(seconds * 1e9)}
    _report({"observation": {"name": name, "value": value}})


def check(what, holds):
    """Checks something that must hold for the trial to be clean."""
    if not holds:
        _report({"problem": what})


def leaving():
    """Reports that the program has nothing left to do. The exit is timed from here."""
    _report({"leaving": time.clock_gettime_ns(time.CLOCK_MONOTONIC)})


def print_last_line_at_exit():
    """Prints the last line after every handler that is registered later has run."""
    atexit.register(lambda: print("the last line", flush=True))


class _Finalizer:
    def __init__(self, seconds):
        self.seconds = seconds
        self.now = time.monotonic

    def __del__(self):
        until = self.now() + self.seconds
        while self.now() < until:
            pass


def keep_exit_busy(seconds=0.05):
    """Keeps the interpreter busy while it is taken down, as objects of any program may.

    The finalizer belongs to this module, so it runs when modules are cleared: after all handlers, when
    the interpreter already ends every thread that asks for its lock. In the program's own module it
    might not run: a task that calls a function of that module keeps all its names alive.
    """
    global _finalizer
    _finalizer = _Finalizer(seconds)
