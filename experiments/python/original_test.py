"""The older test that the shutdown testing notes of etcd-client-py improve on.

    original_test.py ITERATIONS HOW

It runs the program with a single operation several times (five, in the original), and passes if every exit
code is 0. It records how many were not. HOW is `one-by-one`, as in the original, or `at-once`.
"""

import os
import subprocess
import sys

import lab

program = os.path.join(os.path.dirname(__file__), "etcd_exit.py")
command = [sys.executable, program, "package", "single_put", "closed"]
iterations, how = int(sys.argv[1]), sys.argv[2]
silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
if how == "at-once":
    running = [subprocess.Popen(command, **silent) for _ in range(iterations)]
    codes = [process.wait() for process in running]
else:
    codes = [subprocess.run(command, **silent).returncode for _ in range(iterations)]
crashed = sum(code != 0 for code in codes)
lab.record(f"crashed_of_{iterations}", crashed)
print("done")
sys.exit(crashed > 0)
