"""The older test that the shutdown testing notes of etcd-client-py improve on.

It runs the program with a single operation five times, and passes if every exit code is 0. It records
how many were not.
"""

import os
import subprocess
import sys

import lab

ITERATIONS = 5

program = os.path.join(os.path.dirname(__file__), "etcd_exit.py")
command = [sys.executable, program, "package", "single_put", "closed"]
codes = [subprocess.run(command, capture_output=True).returncode for _ in range(ITERATIONS)]
crashed = sum(code != 0 for code in codes)
lab.record("crashed_of_5", crashed)
print("done")
sys.exit(crashed > 0)
