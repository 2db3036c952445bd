"""Ends an interpreter in which taunicorn is, or just was, connected to itself.

    taunicorn_exit.py [watched] SCENARIO

SCENARIO is one of the functions below. With `watched` it runs in another interpreter, and this one fails if that one
is ended by a signal or with an exit code other than 0, prints a Rust panic or a fatal error, or not its last line. Which
of these it is depends on where a thread is at that moment.
"""

import asyncio
import os
import subprocess
import sys

from taunicorn import Connection, Server

# Nothing is dropped before the interpreter is finalized.
kept = []


async def connected():
    endpoint = f"exit-{os.getpid()}"
    server = await Server.start(endpoint)
    accepted, client = await asyncio.gather(server.accept(), Connection.connect(endpoint))
    kept.extend([server, accepted, client])
    return server, accepted, client


async def exchange(accepted, client):
    for _ in range(20):
        await asyncio.gather(client.write_all_timeout(b"PING", 5.0), accepted.read_timeout(4, 5.0))


async def imported():
    """Nothing: the module is imported, and not used."""


async def messages_closed():
    """20 messages, and everything is closed."""
    server, accepted, client = await connected()
    await exchange(accepted, client)
    await asyncio.gather(accepted.close(), client.close())
    await server.stop()


async def messages_returned():
    """20 messages, and nothing is closed."""
    server, accepted, client = await connected()
    await exchange(accepted, client)


async def connections_closed():
    """10 connections, one after another, both ends of each closed, and the server as well."""
    server, accepted, client = await connected()
    endpoint = f"exit-{os.getpid()}"
    for _ in range(10):
        both = await asyncio.gather(server.accept(), Connection.connect(endpoint))
        await asyncio.gather(*(connection.close() for connection in both))
    await asyncio.gather(accepted.close(), client.close())
    await server.stop()


async def in_flight():
    """Messages and accepts that nobody waits for, which asyncio.run cancels."""
    server, accepted, client = await connected()
    await exchange(accepted, client)
    kept.extend(asyncio.ensure_future(client.write_all_timeout(b"PING", 5.0)) for _ in range(20))
    kept.extend(asyncio.ensure_future(server.accept()) for _ in range(5))
    await asyncio.sleep(0)


def watched(scenario):
    ended = subprocess.run([sys.executable, __file__, scenario], capture_output=True, text=True)
    says = [it for it in ("panicked at", "Fatal Python error", "FATAL:") if it in ended.stderr]
    if (ended.returncode, says, ended.stdout) != (0, [], "done\n"):
        sys.exit(f"exit code {ended.returncode}, says {says}, and its last line is {ended.stdout[-100:]!r}")


if __name__ == "__main__":
    if sys.argv[1] == "watched":
        watched(sys.argv[2])
    else:
        asyncio.run(globals()[sys.argv[1]]())
    print("done")
