"""How many exits fail, on this crate and on the one that it stands in for, in turn.

    EXTENSIONS=folder python rates.py [exits] [ending ...]

An exit fails if its code is another one, if it prints on standard error what it should not, or not its last line, or
if it hangs. Prints a row for each ending: how many failed of how many, ours and the other's. `JOBS` sets how many run
at the same time, `OTHER` how many exits of the other crate there are, if not as many.

Each program runs in a child that is forked from an interpreter which has imported `asyncio`, and not the extension. That
is three times as fast as a new interpreter for each. With `FORKED=0` each gets a new one.
"""

import concurrent.futures
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading

import test_exits
from test_exits import ENDINGS, EXTENSIONS, OUTLIVES, coroutine

LAST = "the last line\n"

#: In seconds. From then on an exit hangs, on a machine that is busy with much else, too.
HANGS = 900

#: Receives programs with their standard output and error on standard input, and forks a child for each. The child
#: leaves the loop, and ends as the program does. Answers with the child's id, and then with how it ended.
FORKS = """
import asyncio, atexit, os, socket, sys, threading, time
programs = socket.socket(fileno=0)
while True:
    program, streams, _, _ = socket.recv_fds(programs, 65536, 2)
    if not program: os._exit(0)
    child = os.fork()
    if child == 0: break
    for stream in streams: os.close(stream)
    programs.send(str(child).encode())
    programs.send(str(os.waitpid(child, 0)[1]).encode())
programs.detach()
for place, stream in enumerate([os.open(os.devnull, os.O_RDONLY), *streams]):
    os.dup2(stream, place)
    os.close(stream)
del programs, child, streams, place, stream
exec(program)
"""


class Forked:
    """A program in a forked child, with the part of `subprocess.Popen` that is used here."""

    #: Of each thread, the interpreters that fork.
    parents = threading.local()

    def __init__(self, which, body):
        parents = vars(self.parents)
        if which not in parents:
            ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            environment = dict(os.environ, PYTHONPATH=str(EXTENSIONS / which), RUST_BACKTRACE="0")
            with its, open(os.devnull, "w") as nowhere:
                subprocess.Popen([sys.executable, "-c", FORKS], env=environment, stdin=its, stdout=nowhere)
            parents[which] = ours
        self.parent = parents[which]
        (stdout, out), (stderr, err) = os.pipe(), os.pipe()
        socket.send_fds(self.parent, [textwrap.dedent(body).encode()], [out, err])
        os.close(out)
        os.close(err)
        self.stdout, self.stderr = os.fdopen(stdout), os.fdopen(stderr)
        self.readers = None
        self.pid = int(self.parent.recv(64))

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout=None):
        if self.readers is None:
            self.readers = [Reader(self.stdout), Reader(self.stderr)]
        self.parent.settimeout(timeout)
        try:
            self.returncode = os.waitstatus_to_exitcode(int(self.parent.recv(64)))
        except socket.timeout as error:
            raise subprocess.TimeoutExpired("a forked child", timeout) from error
        finally:
            self.parent.settimeout(None)
        return tuple(reader.text() for reader in self.readers)


class Reader(threading.Thread):
    """Reads a stream to its end."""

    def __init__(self, stream):
        super().__init__()
        self.stream = stream
        self.start()

    def run(self):
        with self.stream:
            self.read = self.stream.read()

    def text(self):
        self.join()
        return self.read


def start(which, body):
    return (test_exits.start if os.environ.get("FORKED") == "0" else Forked)(which, body)


def outcome(program):
    """Its exit code, what it printed, and what it said on standard error."""
    try:
        printed, errors = program.communicate(timeout=HANGS)
    except subprocess.TimeoutExpired:
        program.kill()
        program.communicate()
        return None, "", "it hangs"
    return program.returncode, printed, errors


def run(which, body):
    return outcome(start(which, body))


def nothing(errors):
    return errors == ""


def a_traceback(ends_with):
    return lambda errors: errors.startswith("Traceback") and errors.endswith(ends_with)


def what_is_left(errors):
    """What this crate writes, or nothing at all: the other one does not know."""
    return re.fullmatch(r"(sundown: after .* not returned.*\n)?", errors) is not None


#: Each worker is forked before the runtime is used: the other crate has none in a child after that.
PREFORK = """
    import warnings, extension
    warnings.simplefilter("ignore")  # from 3.12 on, of threads and forks
    async def main(): await asyncio.gather(*(extension.operation(i) for i in range(20)))
    async def leaves(): o = [extension.operation(20 * i) for i in range(50)]
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            asyncio.run(main())
            asyncio.run(leaves())
            sys.exit(5)
        children.append(child)
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print('the last line' if ended == [5, 5, 5, 5] else ended)
    """

POOL = """
    import concurrent.futures, multiprocessing, warnings, extension
    warnings.simplefilter("ignore")
    async def main(n): return await extension.operation(n)
    def work(n): return asyncio.run(main(n))
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        print('the last line' if sum(pool.map(work, range(20))) == 190 else 'another sum')
    async def leaves(): o = [extension.operation(20 * i) for i in range(50)]
    asyncio.run(leaves())
    """

CTRL_C = """
    import extension, signal
    signal.signal(signal.SIGINT, signal.default_int_handler)
    async def main():
        o = [extension.operation(1_000 * i) for i in range(50)]
        print('the last line', flush=True)
        await extension.never()
    asyncio.run(main())
    """

RAISES = "o = [extension.operation(100) for _ in range(20)]\nraise ValueError('mine')"


def outlives(which):
    body = OUTLIVES.replace("extension.limit(0.2)", "getattr(extension, 'limit', float)(0.2)")
    calls = "calls_and_stays" if which == "ours" else "attaches_on_a_thread"
    return run(which, body.replace("CALLS", calls))


def interrupted(which):
    program = start(which, CTRL_C)
    printed = program.stdout.readline()
    # It may have ended, of another cause.
    with contextlib.suppress(ProcessLookupError):
        program.send_signal(signal.SIGINT)
    code, _, errors = outcome(program)
    return code, printed, errors


def runs(body):
    return lambda which: run(which, body)


#: Each: what is run, its exit code, what it prints, and what may be on standard error.
PROGRAMS = {
    **{
        name: (runs(body), code, LAST if code == 0 else "", nothing)
        for name, (body, code) in ENDINGS.items()
    },
    "raises": (runs(coroutine(RAISES)), 1, "", a_traceback("ValueError: mine\n")),
    "Ctrl-C": (interrupted, -signal.SIGINT, LAST, a_traceback("KeyboardInterrupt\n")),
    "a call outlives the limit": (outlives, 0, LAST, what_is_left),
    "prefork workers": (runs(PREFORK), 0, LAST, nothing),
    "a pool of processes": (runs(POOL), 0, LAST, nothing),
}


def fails(which, ending):
    """What was wrong, or nothing."""
    program, code, prints, may_say = PROGRAMS[ending]
    ended, printed, errors = program(which)
    if (ended, printed) == (code, prints) and may_say(errors):
        return ""
    return f"{ended}: {printed[-100:]!r}: {errors[-300:]!r}"


def main():
    exits = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    names = sys.argv[2:] or list(PROGRAMS)
    for name in names:
        if name not in PROGRAMS:
            print(f"no ending is called {name!r}; there are:", ", ".join(PROGRAMS), file=sys.stderr)
            sys.exit(2)
    other = int(os.environ.get("OTHER", exits))
    turns = []
    for turn in range(max(exits, other)):
        for which, number in ("ours", exits), ("bare", other):
            # Spread evenly.
            at_this_turn = (turn + 1) * number // max(exits, other) - turn * number // max(exits, other)
            turns += [which] * at_this_turn
    print(f"{sys.version.split()[0]}: failed exits of ours, and of the other crate")
    failed_of_ours = 0
    jobs = int(os.environ.get("JOBS", os.cpu_count() or 1))
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for name in names:
            results = list(zip(turns, pool.map(lambda which: fails(which, name), turns)))
            ours, bare = (
                [wrong for of, wrong in results if of == which and wrong] for which in ("ours", "bare")
            )
            failed_of_ours += len(ours)
            print(f"{name:36} {len(ours):4}/{exits} {len(bare):4}/{other}", flush=True)
            for wrong in ours[:3]:
                print(f"    ours: {wrong}", flush=True)
    sys.exit(failed_of_ours > 0)


if __name__ == "__main__":
    main()
