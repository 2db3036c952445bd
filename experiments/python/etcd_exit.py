"""Ends an interpreter in which a client of etcd is, or just was, open.

    etcd_exit.py CLIENT SCENARIO ENDING [CORES]

CLIENT is `package` (etcd-client-py, in whichever version is installed) or `kit` (the same work through
the kit's runtime). Both are in etcd_clients.py.

SCENARIO is one of the functions below, the scenarios of the shutdown testing notes of etcd-client-py.

ENDING is `closed` (`async with` closes every client, as in the package's own tests) or `returned` (`main`
returns and closes nothing, as after an early return). In both, every operation is waited for, except in
`operations_in_flight` and `operations_cancelled`; and watches are still open when `main` returns. In
`active_watch_in_flight` and `operations_in_flight` nothing cancels what is open then.

CORES is the number of processor cores that the process is pinned to; without it, it may use all.
"""

import asyncio
import os
import sys
from contextlib import asynccontextmanager

import etcd_clients

# asyncio keeps only weak references to tasks.
watches = []
in_flight = []


async def single_put(client):
    """One operation. The original test is this program, and so is the scenario "ultra-rapid"."""
    async with client() as etcd:
        await etcd.put("key")


async def active_watch(client):
    """A watch, which is open when `main` returns. Then `asyncio.run` cancels it."""
    async with client() as etcd:
        await begin_watch(etcd, "watched")


async def active_watch_in_flight(client):
    """The same, but `main` ends the loop without cancelling anything."""
    await active_watch(client)


async def operations(client):
    """50 operations at once."""
    async with client() as etcd:
        await put_at_once(etcd, 50)


async def operations_cancelled(client):
    """50 operations at once, none of which is waited for: `asyncio.run` cancels them before it returns."""
    async with client() as etcd:
        await etcd.put("key")
        puts = (etcd.put(f"key-{number}") for number in range(50))
        in_flight.extend(asyncio.create_task(put) for put in puts)
        await asyncio.sleep(0)


async def operations_in_flight(client):
    """The same, but `main` ends the loop without cancelling anything."""
    await operations_cancelled(client)


async def rapid_clients(client):
    """5 clients, one after another, with an operation each."""
    for _ in range(5):
        async with client() as etcd:
            await etcd.put("key")


async def watches_and_operations(client):
    """3 watches, and 30 operations at once."""
    async with client() as etcd:
        for number in range(3):
            await begin_watch(etcd, f"watched-{number}")
        await put_at_once(etcd, 30)


async def put_at_once(etcd, count):
    await asyncio.gather(*(etcd.put(f"key-{number}") for number in range(count)))


async def begin_watch(etcd, key):
    """Begins to watch a key, and returns when the watch has reported a change."""
    heard = asyncio.Event()
    watches.append(asyncio.create_task(etcd.watch(key, heard.set)))
    while not heard.is_set():
        # Nothing says when the watch is open, so make changes until it reports one.
        await etcd.put(key)
        try:
            await asyncio.wait_for(heard.wait(), 0.05)
        except asyncio.TimeoutError:
            pass


def clients(kind, address, closes):
    """Returns a function that opens a client for an `async with` block, and closes it after it or not."""

    @asynccontextmanager
    async def client():
        etcd = kind(address)
        await etcd.open()
        yield etcd
        if closes:
            await etcd.close()

    return client


def main(kind, scenario, ending, cores=None):
    if cores is not None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(cores)])
    kind = {"package": etcd_clients.Package, "kit": etcd_clients.Kit}[kind]
    closes = {"closed": True, "returned": False}[ending]
    client = clients(kind, os.environ["ETCD_ADDRESS"], closes)
    scene = globals()[scenario](client)
    if scenario.endswith("_in_flight"):
        asyncio.new_event_loop().run_until_complete(scene)
    else:
        asyncio.run(scene)
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
