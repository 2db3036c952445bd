"""Ends an interpreter in which natsrpy is, or just was, connected.

    natsrpy_exit.py SCENARIO

SCENARIO is one of the functions below. NATS_ADDRESS says where the server is. No exit is tested by `objects_unanswered`,
which panics before.
"""

import asyncio
import contextlib
import os
import sys

from natsrpy import Nats
from natsrpy.js import ObjectStoreConfig

# Nothing is dropped before the interpreter is finalized.
kept = []


async def connected(address):
    nats = Nats([f"nats://{address}"])
    await nats.startup()
    kept.append(nats)
    return nats


async def publishes_closed(address):
    """50 messages at once, and the client is closed."""
    nats = await connected(address)
    await asyncio.gather(*(nats.publish("subject", b"message") for _ in range(50)))
    await nats.shutdown()


async def publishes_returned(address):
    """50 messages at once, and nothing is closed."""
    nats = await connected(address)
    await asyncio.gather(*(nats.publish("subject", b"message") for _ in range(50)))


async def messages_closed(address):
    """50 messages that come back to a subscription, and the client is closed."""
    nats = await connected(address)
    async with nats.subscribe(f"subject-{id(nats)}") as messages:
        for _ in range(50):
            await nats.publish(f"subject-{id(nats)}", b"message")
        for _ in range(50):
            await anext(messages)
    await nats.shutdown()


async def calls_back_returned(address):
    """Messages that call a coroutine function back, which are on their way when the program ends."""
    nats = await connected(address)
    heard = asyncio.Event()

    async def hears(_):
        heard.set()

    kept.append(await nats.subscribe(f"subject-{id(nats)}", callback=hears).detatch())
    for _ in range(100):
        await nats.publish(f"subject-{id(nats)}", b"message")
    await heard.wait()


async def objects_returned(address):
    """An object of 1,000 parts, ten times on its way into a file, and nobody waits for the rest."""
    nats = await connected(address)
    bucket = f"bucket-{os.getpid()}"
    objects = await (await nats.jetstream()).object_store.create(ObjectStoreConfig(bucket))
    await objects.put("object", bytes(1000 * 1024))
    written = asyncio.Event()
    file = Written(asyncio.get_running_loop(), written)
    kept.extend(objects.get("object", file, chunk_size=1024) for _ in range(10))
    await written.wait()


async def objects_unanswered(address):
    """The same, but the server is as if it were too busy to answer any more, once the object is there."""
    async with await asyncio.start_server(lambda *client: relay(address, *client), "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        await objects_returned(f"{host}:{port}")


async def relay(address, reader, writer):
    """Passes on what the client sends, until it asks for a consumer, and what the server answers."""
    server_reader, server_writer = await asyncio.open_connection(*address.split(":"))
    # It is cancelled when the program ends.
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.gather(
            passes_on(reader, server_writer, until=b"CONSUMER.CREATE"), passes_on(server_reader, writer)
        )


async def passes_on(reader, writer, until=None):
    while (data := await reader.read(65536)) and not (until and until in data):
        writer.write(data)
        await writer.drain()


class Written:
    """A file that gives the interpreter's lock up for each part, as one on a disk does."""

    def __init__(self, loop, written):
        self.file = open(os.devnull, "wb", buffering=0)
        self.loop, self.written = loop, written

    def write(self, part):
        self.file.write(part)
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.written.set)


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](os.environ["NATS_ADDRESS"]))
    print("done")
