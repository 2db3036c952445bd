"""Two clients of etcd with the same methods: put a value, and watch a key.

`Package` is etcd-client-py. `Kit` uses the kit's runtime: Python functions on Tokio's threads, which
talk to etcd's HTTP gateway.
"""

import base64
import json
import os
import socket

# A prefix for each process, so that programs running at once do not see each other's changes.
PREFIX = f"{os.getpid()}/"


class Package:
    """etcd-client-py."""

    def __init__(self, address):
        import etcd_client

        self.connection = etcd_client.Client([f"http://{address}"]).connect()
        self.etcd = None

    async def open(self):
        self.etcd = await self.connection.__aenter__()

    async def close(self):
        await self.connection.__aexit__(None, None, None)

    async def put(self, key):
        await self.etcd.put(f"{PREFIX}{key}".encode(), b"value")

    async def watch(self, key, hear):
        """Watches a key until cancelled, and calls `hear` for each change."""
        async for _ in self.etcd.watch(f"{PREFIX}{key}".encode()):
            hear()


class Kit:
    """The kit's runtime, and etcd's gateway."""

    def __init__(self, address):
        import sundown

        self.ended = sundown.Ended
        self.address = address
        self.runtime = sundown.Runtime("etcd", workers=2)

    async def open(self):
        """Does nothing: every operation opens a connection of its own."""

    async def close(self):
        await self.runtime.shutdown_async()

    async def put(self, key):
        request = {"key": encoded(key), "value": encoded("value")}
        await self.runtime.spawn(put, self.address, request)

    async def watch(self, key, hear):
        """Watches a key until cancelled, and calls `hear` for each change."""
        request = {"create_request": {"key": encoded(key)}}
        stream = await self.runtime.spawn(begin, self.address, "/v3/watch", request)
        try:
            while True:
                if await self.runtime.spawn(hears, stream):
                    hear()
        except self.ended:
            pass  # The client was closed.


def encoded(key):
    return base64.b64encode(f"{PREFIX}{key}".encode()).decode()


def begin(address, path, request):
    """Sends a request, and returns the connection that its answer will come on."""
    host, port = address.split(":")
    body = json.dumps(request)
    stream = socket.create_connection((host, int(port)))
    stream.sendall(
        f"POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    return stream


def put(address, request):
    """Puts a value, and waits for the answer."""
    with begin(address, "/v3/kv/put", request) as stream:
        answer = stream.makefile("rb").read()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"etcd says {answer!r}")


def hears(stream):
    """Whether this connection reports a change within a moment."""
    stream.settimeout(0.02)
    try:
        return b'"events"' in stream.recv(65536)
    except TimeoutError:
        return False
