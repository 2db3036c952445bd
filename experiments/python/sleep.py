"""Ends while tasks of an extension have the given number of milliseconds of work left.

    python3 sleep.py DESIGN MILLISECONDS

As in exit.py, the work sends and receives on a socket, and so releases the interpreter's lock and takes
it again all the time. The designs are in designs.py.
"""

import socket
import sys
import threading
import time

import lab

lab.print_last_line_at_exit()

import designs  # noqa: E402

TASKS = 2

# The program waits until the tasks have begun: how long that takes is not the question.
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
    lab.keep_exit_busy()
    runtime = getattr(designs, design.replace("-", "_"))()
    for _ in range(TASKS):
        runtime.submit(lambda: talk(int(milliseconds) / 1000))
    begun.wait()
    lab.leaving()
