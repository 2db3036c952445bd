"""What this crate costs beside the one that it stands in for: a round trip, an import, the size of the file.

`EXTENSIONS` names a folder that has `ours` and `bare`, the modules of `extension/` and `minimal/` built on each, with
optimization: `overhead.sh` makes it. Both are measured in turn, each time in a process of its own; `ROUNDS` sets how often.
Prints min · median · max of each, and the ratio of the medians.
"""

import os
import pathlib
import statistics
import subprocess
import sys

EXTENSIONS = pathlib.Path(os.environ["EXTENSIONS"])
ROUNDS = int(os.environ.get("ROUNDS", "15"))

#: Each program prints one number.
PROGRAMS = {
    "import of a minimal extension (ms)": """
import time
began = time.perf_counter()
import minimal
print((time.perf_counter() - began) * 1e3)
""",
    "the same after asyncio, which both need (ms)": """
import asyncio, time
began = time.perf_counter()
import minimal
print((time.perf_counter() - began) * 1e3)
""",
    "round trip, one after another (µs)": """
import asyncio, time, extension
async def main(number):
    began = time.perf_counter()
    for _ in range(number): await extension.ready()
    return (time.perf_counter() - began) / number * 1e6
asyncio.run(main(200))
print(asyncio.run(main(5_000)))
""",
    "round trip, a hundred at a time (µs)": """
import asyncio, time, extension
async def main(number):
    began = time.perf_counter()
    for _ in range(number // 100): await asyncio.gather(*(extension.ready() for _ in range(100)))
    return (time.perf_counter() - began) / number * 1e6
asyncio.run(main(200))
print(asyncio.run(main(10_000)))
""",
    "a program of 20 operations, to its end (ms)": None,
}

WHOLE = """
import asyncio, extension
async def main():
    for _ in range(20): await extension.ready()
asyncio.run(main())
"""


def program(which, body):
    environment = dict(os.environ, PYTHONPATH=str(EXTENSIONS / which))
    return subprocess.run(
        [sys.executable, "-c", body], env=environment, capture_output=True, text=True
    )


def measure(which, body):
    if body is not None:
        done = program(which, body)
        # The other crate may fail at the end. The number is printed before.
        return float(done.stdout)
    import time

    began = time.perf_counter()
    program(which, WHOLE)
    return (time.perf_counter() - began) * 1e3


def size(which):
    return (EXTENSIONS / which / "minimal.abi3.so").stat().st_size


def main():
    for name, body in PROGRAMS.items():
        taken = {"ours": [], "bare": []}
        for which in ("ours", "bare"):
            measure(which, body)  # the file is read from the disk
        for turn in range(ROUNDS):
            for which in ("ours", "bare") if turn % 2 else ("bare", "ours"):
                taken[which].append(measure(which, body))
        medians = {which: statistics.median(times) for which, times in taken.items()}
        print(name, f"ratio {medians['ours'] / medians['bare']:.3f}", sep=": ", flush=True)
        for which, times in taken.items():
            print(f"    {which} {min(times):.2f} · {medians[which]:.2f} · {max(times):.2f}")
    sizes = {which: size(which) for which in ("ours", "bare")}
    print("size of a minimal extension (KiB):", f"ratio {sizes['ours'] / sizes['bare']:.3f}")
    for which, bytes in sizes.items():
        print(f"    {which} {bytes / 1024:.0f}")


main()
