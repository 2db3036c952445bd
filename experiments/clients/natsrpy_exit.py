"""Ends an interpreter in which natsrpy is, or just was, connected.

    natsrpy_exit.py SCENARIO

SCENARIO is one of the functions below. NATS_ADDRESS says where the server is.
"""

import asyncio
import os
import sys

from natsrpy import Nats

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


if __name__ == "__main__":
    asyncio.run(globals()[sys.argv[1]](os.environ["NATS_ADDRESS"]))
    print("done")
