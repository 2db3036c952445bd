"""How often exits fail with a published client as it is, and with the same client moved over to crates/pyo3.

    exits.py CLIENT [EXITS [BARE]] [--jobs N] [--only PROGRAM]…

CLIENT is one of CLIENTS below. Builds both under target/ first (build.sh), which takes minutes the first time.
They are run in turn. Each program runs EXITS times (100) with the client that was moved over, and BARE times (as often)
with the bare one. An exit has failed if its exit code is not 0, if its last line is missing, or if a Rust panic or a fatal
error of the interpreter is on standard error. One that hangs is asked where its threads are before it is ended.
etcd-client-py needs etcd on PATH (Debian: apt-get install etcd-server), natsrpy nats-server (apt-get install nats-server).

Ends with 1 if the client that was moved over has failed, or if the bare one never has: then the zeros say nothing.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import math
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TARGET = HERE.parent.parent / "target"
PROGRAMS = HERE.parent / "python"

ETCD = (
    PROGRAMS / "etcd_exit.py",
    [
        *(
            f"package {scenario} {ending}"
            for scenario in (
                "single_put",
                "active_watch",
                "operations",
                "rapid_clients",
                "watches_and_operations",
            )
            for ending in ("closed", "returned")
        ),
        "package operations_in_flight closed",
        "package operations_cancelled closed",
    ],
)

#: The program of each, and its arguments.
CLIENTS = {
    "etcd-client-py-0.4.1": ETCD,
    "etcd-client-py-0.5.1": ETCD,
    "natsrpy-0.1.4": (
        PROGRAMS / "natsrpy_exit.py",
        [
            "publishes_closed",
            "publishes_returned",
            "messages_closed",
            "calls_back_returned",
            "objects_returned",
        ],
    ),
    "taunicorn-0.1.10": (
        PROGRAMS / "taunicorn_exit.py",
        ["messages_closed", "messages_returned", "connections_closed", "in_flight"],
    ),
}

#: In seconds. From then on an exit hangs, on a machine that is busy with much else, too.
HANGS = 900

FATAL = ("panicked at", "Fatal Python error", "FATAL: exception not rethrown")


def interpreters(client):
    """Builds the client twice, and returns the interpreters that have it."""
    folder = TARGET / "clients"
    subprocess.run([HERE / "build.sh", client, folder, sys.executable], check=True)
    return {which: folder / client / which / "venv/bin/python" for which in ("moved", "bare")}


@contextlib.contextmanager
def server(client):
    """Starts the server that a client needs, and says where it is in an environment."""
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    program = {"etcd": "etcd", "natsrpy": "nats-server"}.get(client.split("-")[0])
    if program is None:
        yield environment
        return
    if shutil.which(program) is None:
        sys.exit(f"skipped: there is no {program} on PATH")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as other:
        port, peers = one.getsockname()[1], other.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    arguments = {
        "etcd": [
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls=http://127.0.0.1:{peers}",
            "--unsafe-no-fsync",
        ],
        "nats-server": ["--addr", "127.0.0.1", "--port", str(port), "--jetstream", "--store_dir", "."],
    }[program]
    with tempfile.TemporaryDirectory() as folder:
        running = subprocess.Popen(
            [program, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for(port, running)
            address = f"127.0.0.1:{port}"
            yield dict(environment, ETCD_ADDRESS=address, NATS_ADDRESS=address)
        finally:
            running.terminate()
            running.wait()


def wait_for(port, running):
    until = time.monotonic() + 30
    while time.monotonic() < until and running.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    sys.exit("the server does not answer")


def fails(python, program, arguments, environment):
    """How an exit failed, and what it said, or None."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [python, "-X", "faulthandler", program, *arguments.split()]
    with subprocess.Popen(command, env=environment, **pipes) as running:
        try:
            printed, errors = running.communicate(timeout=HANGS)
        except subprocess.TimeoutExpired:
            where = threads(running.pid)
            # faulthandler prints where each thread is in Python.
            running.send_signal(signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                printed, errors = running.communicate(timeout=60)
                return "it hangs", f"{where}\n{printed}\n{errors}"
            running.kill()
            return "it hangs", where
    said = any(it in errors for it in FATAL)
    if running.returncode == 0 and not said and printed.endswith("done\n"):
        return None
    return f"exit code {running.returncode}" + (", with a panic or a fatal error" if said else ""), errors


def threads(process):
    """The name of each thread, and what it waits for in the kernel, as far as the kernel says so."""
    lines = []
    for thread in sorted(pathlib.Path(f"/proc/{process}/task").iterdir()):
        with contextlib.suppress(OSError):
            said = ((thread / it).read_text().strip() for it in ("comm", "wchan", "syscall"))
            lines.append(f"{thread.name}: {', '.join(said)}")
    return "\n".join(lines)


def interval(failed, of):
    """Wilson's interval, in percent, at 95 %."""
    if of == 0:
        return "not run"
    z = 1.96
    middle = failed + z * z / 2
    half = z * math.sqrt(failed * (of - failed) / of + z * z / 4)
    return "–".join(f"{100 * (middle + side * half) / (of + z * z):.0f}" for side in (-1, 1)) + " %"


def main():
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter, usage=argparse.SUPPRESS)
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("exits", nargs="?", type=int, default=100)
    parser.add_argument("bare", nargs="?", type=int)
    parser.add_argument("--jobs", type=int, default=1, help="how many exits at the same time (1)")
    parser.add_argument("--only", action="append", metavar="PROGRAM", help="one of the client's programs, with its arguments")
    chosen = parser.parse_args()
    program, arguments = CLIENTS[chosen.client]
    for name in chosen.only or []:
        if name not in arguments:
            parser.error(f"{chosen.client} has no program {name!r}: it has {', '.join(map(repr, arguments))}")
    arguments = chosen.only or arguments
    pythons = interpreters(chosen.client)
    times = {"moved": chosen.exits, "bare": chosen.exits if chosen.bare is None else chosen.bare}
    most = max(times.values())
    # Spread over the whole time, if one runs less often than the other.
    turns = [
        which
        for at in range(most)
        for which in pythons
        if at * times[which] // most < (at + 1) * times[which] // most
    ]
    totals = collections.Counter()
    with server(chosen.client) as environment, concurrent.futures.ThreadPoolExecutor(chosen.jobs) as pool:
        for these in arguments:
            ways = {which: collections.Counter() for which in pythons}
            for which, failed in zip(turns, pool.map(lambda it: fails(pythons[it], program, these, environment), turns)):
                if failed:
                    how, said = failed
                    ways[which][how] += 1
                    if which == "moved":
                        print(f"{these}: {how}:\n{said}", file=sys.stderr)
            for which, seen in ways.items():
                failed, of = seen.total(), times[which]
                totals[which] += failed
                print(f"{these}: {which}: {failed} of {of} ({interval(failed, of)})", *(
                    f"\n    {count} × {how}" for how, count in seen.most_common()
                ), flush=True)
    return totals["moved"] > 0 or totals["bare"] == 0


if __name__ == "__main__":
    sys.exit(main())
