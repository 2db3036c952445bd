"""Ends an interpreter in which the clients of several libraries are, or just were, open.

    cross_library.py LIBRARIES ENDING

LIBRARIES are joined by `+`: `etcd` (etcd-client-py, in whichever version is installed), `valkey`
(valkey-glide) and `kit` (the kit's runtime). Each has a Tokio runtime of its own. All are open, and do
their operations, at the same time.

ENDING is `closed` (all clients are closed, in reverse order) or `returned` (`main` returns and closes
nothing). In both, every operation is waited for.
"""

import asyncio
import os
import sys

import etcd_clients

# How many operations each library does at once.
OPERATIONS = 20

# How long valkey-glide waits for a connection or an answer, in milliseconds. Its own quarter of a second passes on a
# busy machine, and its error would be taken for a failed exit.
LIMIT = 30_000


class Valkey:
    """valkey-glide."""

    def __init__(self, address):
        self.host, self.port = address.split(":")
        self.valkey = None

    async def open(self):
        import glide

        configuration = glide.GlideClientConfiguration(
            [glide.NodeAddress(self.host, int(self.port))],
            request_timeout=LIMIT,
            advanced_config=glide.AdvancedGlideClientConfiguration(connection_timeout=LIMIT),
        )
        self.valkey = await glide.GlideClient.create(configuration)

    async def close(self):
        await self.valkey.close()

    async def put(self, key):
        await self.valkey.set(f"{etcd_clients.PREFIX}{key}", "value")


# The client of each library, and the variable that holds the address of its server.
LIBRARIES = {
    "etcd": (etcd_clients.Package, "ETCD_ADDRESS"),
    "valkey": (Valkey, "REDIS_ADDRESS"),
    "kit": (etcd_clients.Kit, "ETCD_ADDRESS"),
}


async def work(libraries, closes):
    clients = [kind(os.environ[variable]) for kind, variable in libraries]
    for client in clients:
        await client.open()
    puts = [client.put(f"key-{number}") for client in clients for number in range(OPERATIONS)]
    await asyncio.gather(*puts)
    if closes:
        for client in reversed(clients):
            await client.close()


def main(libraries, ending):
    closes = {"closed": True, "returned": False}[ending]
    asyncio.run(work([LIBRARIES[name] for name in libraries.split("+")], closes))
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
