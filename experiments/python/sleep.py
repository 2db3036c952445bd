"""Ends while tasks of an extension have so many milliseconds of work left.

    python3 sleep.py DESIGN MILLISECONDS

The work is that of exit.py: it sends and receives on a socket, and so releases the interpreter's lock
and takes it again all the time, until so much time has passed. The designs are in designs.py.
"""

import socket
import sys
import threading
import time

import lab

lab.says_its_last_line_at_exit()

import designs  # noqa: E402

TASKS = 2

# That the tasks have begun, and how long it took them, is no part of the question.
begun = threading.Barrier(TASKS + 1)


def talk(seconds):
    begun.wait()
    until = time.monotonic() + seconds
    one, other = socket.socketpair()
    with one, other:
        while time.monotonic() < until:
            one.send(b".")
            other.recv(1)


if __name__ == "__main__":
    design, milliseconds = sys.argv[1:]
    lab.keeps_the_exit_busy()
    runtime = getattr(designs, design.replace("-", "_"))()
    for _ in range(TASKS):
        runtime.submit(lambda: talk(int(milliseconds) / 1000))
    begun.wait()
    lab.leaving()
