"""Runs a program in several interpreters at once, and fails if one of them ends badly.

    watched.py EXITS PROGRAM ARGUMENT…

PROGRAM is a file beside this one, or an option of the interpreter. One ends badly if a signal ends it, if its exit code
is not 0, if it prints a Rust panic or a fatal error, or if its last line is not `done`. Which of these it is depends on
where a thread is at that moment.
"""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
FATAL = ("panicked at", "Fatal Python error", "FATAL: exception not rethrown")


def main(exits, program, *arguments):
    if program.endswith(".py"):
        program = HERE / program
    command = [sys.executable, program, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, stdin=subprocess.DEVNULL, **pipes) for _ in range(int(exits))]
    failures = []
    for one in running:
        printed, errors = one.communicate()
        says = [it for it in FATAL if it in errors]
        if (one.returncode, says) != (0, []) or not printed.endswith("done\n"):
            how = f"exit code {one.returncode}, says {says}, and printed {printed[-100:]!r}"
            failures.append(how)
            # Not to standard error: these panics are not this process's.
            print(errors[-4000:])
    if failures:
        sys.exit("\n".join(failures))
    print("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
