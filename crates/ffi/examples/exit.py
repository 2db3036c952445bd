"""Counts on a thread of the runtime, and ends well whatever the program does last: exit.py LIBRARY."""
import atexit, ctypes, os, sys, threading, time
from ctypes import CFUNCTYPE, byref, c_bool, c_char_p, c_uint32, c_uint64, c_void_p

Run, Destroy = CFUNCTYPE(None, c_void_p, c_void_p), CFUNCTYPE(None, c_void_p)
library = ctypes.CDLL(sys.argv[1])  # not PyDLL, which would keep the interpreter's lock during a stop
library.sundown_start.argtypes = [c_char_p, c_uint32, c_void_p, c_void_p]
library.sundown_submit.argtypes = [c_void_p, c_char_p, Run, c_void_p, Destroy]
library.sundown_stop.argtypes = [c_void_p, c_uint64, c_void_p]
library.sundown_free.argtypes = [c_void_p]
library.sundown_job_should_stop.argtypes = [c_void_p]
library.sundown_job_should_stop.restype = c_bool

counted, began = 0, threading.Event()

@Run  # a module keeps it alive until the job has returned
def count(_, job):
    global counted
    while not library.sundown_job_should_stop(job):
        counted += 1
        began.set()
        time.sleep(0.0001)

runtime = c_void_p()
assert library.sundown_start(b"counter", 1, byref(runtime), None) == 0

@atexit.register  # before the first job
def stop():
    if library.sundown_stop(runtime, 5000, None) == 0:
        library.sundown_free(runtime)
    else:
        os._exit(1)  # a job has not returned: the interpreter would be finalized under it

assert library.sundown_submit(runtime, b"count", count, None, Destroy()) == 0
began.wait()
print("the last line")
