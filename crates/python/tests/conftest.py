"""Runs programs in interpreters of their own, and checks how they ended."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from typing import Callable, NamedTuple

import pytest

#: Longer than anything here takes, in seconds.
PLENTY = 60.0

#: Texts on standard error that mean a failure in the interpreter or in Rust.
FATAL = ("panicked at", "Fatal Python error", "FATAL:", "exception not rethrown", "PyGILState")


class Program(NamedTuple):
    """A program that has ended."""

    code: int
    out: str
    err: str
    #: Seconds from its last line, which prints the time, to its end. `None` if it prints no time.
    left_after: float | None

    def failures(self, code: int = 0) -> list[str]:
        """Why this was not a clean exit. The exit code alone is not enough."""
        failures = [] if self.code == code else [f"exit code {self.code}, not {code}"]
        failures += [text for text in FATAL if text in self.err]
        if not any(line.startswith("last line") for line in self.out.splitlines()[-1:]):
            failures.append("its last line is missing")
        return failures

    def must_be_clean(self, code: int = 0) -> None:
        failures = self.failures(code)
        assert not failures, f"{failures}\n{self.out}\n{self.err}"


#: The beginning of every program. `talk` releases the interpreter's lock twice in each round. `busy`
#: delays the finalization of the interpreter, and releases the lock too.
BEGIN = '''
import asyncio, atexit, os, socket, sys, threading, time
import sundown

def talk(times=None):
    one, other = socket.socketpair()
    with one, other:
        while times is None or times > 0:
            one.send(b"x")
            other.recv(1)
            times = times and times - 1

class Busy:
    def __del__(self, sleep=time.sleep, clock=time.monotonic):
        end = clock() + 0.1
        while clock() < end:
            sleep(0.002)

busy = Busy()

def last_line():
    print("last line", time.monotonic(), flush=True)

def until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never was"
        time.sleep(0.001)
'''


def run(source: str, begin: str = BEGIN) -> Program:
    """Runs a program to its end."""
    program = begin + textwrap.dedent(source)
    child = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PLENTY,
        check=False,
    )
    ended = time.monotonic()
    lines = child.stdout.splitlines()[-1:]
    told = lines[0].removeprefix("last line").strip() if lines else ""
    left_after = ended - float(told) if told.replace(".", "", 1).isdigit() else None
    return Program(child.returncode, child.stdout, child.stderr, left_after)


@pytest.fixture(name="run")
def _run() -> Callable[..., Program]:
    return run
