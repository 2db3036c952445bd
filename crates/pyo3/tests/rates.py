"""How many exits fail, on this crate and on the one that it stands in for, in turn.

    EXTENSIONS=folder python rates.py [exits] [ending ...]

An exit fails if its code is another one, if it prints anything on standard error or not its last line, or if it
takes a minute. Prints a row for each ending of `test_exits.py`: failed · of how many, ours and the other's.
"""

import concurrent.futures
import os
import sys

from test_exits import ENDINGS, coroutine, run

#: What Python itself prints there.
RAISES = "raises"

PROGRAMS = {
    **ENDINGS,
    RAISES: (
        coroutine("o = [extension.operation(100) for _ in range(20)]\nraise ValueError('mine')"),
        1,
    ),
}


def fails(which, ending):
    body, code = PROGRAMS[ending]
    ended, printed, errors = run(which, body)
    if ending == RAISES:
        is_told = errors.startswith("Traceback") and errors.endswith("ValueError: mine\n")
    else:
        is_told = errors == ""
    return not (ended == code and is_told and (code != 0 or printed == "the last line\n"))


def main():
    exits = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    names = sys.argv[2:] or list(PROGRAMS)
    for name in names:
        if name not in PROGRAMS:
            print(f"no ending is called {name!r}; there are:", ", ".join(PROGRAMS), file=sys.stderr)
            sys.exit(2)
    print(f"{sys.version.split()[0]}, {exits} exits each: ours, the other crate")
    failed_of_ours = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name in names:
            turns = [which for _ in range(exits) for which in ("ours", "bare")]
            results = list(pool.map(lambda which: fails(which, name), turns))
            ours, bare = sum(results[::2]), sum(results[1::2])
            failed_of_ours += ours
            print(f"{name:28} {ours:4} {bare:4}", flush=True)
    sys.exit(failed_of_ours > 0)


if __name__ == "__main__":
    main()
