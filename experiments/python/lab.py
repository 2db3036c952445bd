"""What the programs of the lab share: how they report, and what keeps an exit busy.

A trial has become the interpreter that runs one of them. It reports on a pipe, line by line, like
any trial of the lab, and what it prints last says that it got to its end.
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
    """Records a length of time."""
    value = {"nanoseconds": round(seconds * 1e9)}
    _report({"observation": {"name": name, "value": value}})


def check(what, holds):
    """Checks something that must hold for the trial to be clean."""
    if not holds:
        _report({"problem": what})


def leaving():
    """Says that nothing is left to do but to end. From now on the exit is timed."""
    _report({"leaving": time.clock_gettime_ns(time.CLOCK_MONOTONIC)})


def says_its_last_line_at_exit():
    """Prints the last line when every handler that is registered from now on has run."""
    atexit.register(lambda: print("the last line", flush=True))


class _Finalizer:
    def __init__(self, seconds):
        self.seconds = seconds
        self.now = time.monotonic

    def __del__(self):
        until = self.now() + self.seconds
        while self.now() < until:
            pass


def keeps_the_exit_busy(seconds=0.05):
    """Has something to do while the interpreter is taken down, as any program's objects may.

    It is an object of this module, and has its turn when the modules are cleared: after all handlers,
    when the interpreter has begun to end every thread that asks for its lock. Of the program's own
    module it would not be sure: a task that calls one of its functions keeps all its names alive, and
    nothing of it is cleared.
    """
    global _finalizer
    _finalizer = _Finalizer(seconds)
