"""Ends an interpreter in which taunicorn is, or just was, connected to itself.

    taunicorn_exit.py SCENARIO

SCENARIO is one of the functions below.
"""

import asyncio
import os
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


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]]())
    print("done")
