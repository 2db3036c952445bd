"""Uses an extension with Rust futures, and ends.

    python3 author.py CRATE ENDING

The extension is that of crates/pyo3/tests/extension. It is on pyo3-async-runtimes for CRATE `bare`, and on
sundown-pyo3 for `kit`. `AUTHORS` names the folder that has both.
"""

import asyncio
import atexit
import os
import pathlib
import sys

which, ending = sys.argv[1:]
sys.path.insert(0, str(pathlib.Path(os.environ["AUTHORS"]) / which))


def begin(number, microseconds):
    """Begins operations that take up to so long, and awaits none."""
    return [extension.operation(microseconds * i) for i in range(number)]


async def awaited():
    await asyncio.gather(*begin(50, 1))


async def not_awaited():
    begin(50, 20)


async def never():
    [extension.never() for _ in range(50)]


async def cancelled():
    async def waits():
        await extension.operation(10_000_000)

    tasks = [asyncio.create_task(waits()) for _ in range(20)]
    await asyncio.sleep(0.001)
    del tasks


async def exits():
    begin(20, 100)
    sys.exit(3)


async def raises():
    begin(20, 100)
    raise ValueError("the program's own")


async def later():
    atexit.register(lambda: asyncio.run(not_awaited()))


async def imported():
    pass


if __name__ == "__main__":
    # Before the extension's handler is registered, so that it runs after that.
    atexit.register(lambda: print("the last line", flush=True))
    import extension

    asyncio.run(globals()[ending.replace("-", "_")]())
