"""A host in Python, through ctypes: python3 host.py, with the library in SUNDOWN_FFI."""

import ctypes
import faulthandler
import os
import pathlib
import subprocess
import sys
import threading
import unittest
from ctypes import POINTER, byref, c_bool, c_char, c_char_p, c_int32, c_uint32, c_uint64, c_void_p

PLENTY = 60_000
OK, NULL_POINTER, SHUT_DOWN, FORKED, TIMED_OUT, FROM_INSIDE = 0, 1, 3, 4, 5, 6

library = ctypes.CDLL(os.environ["SUNDOWN_FFI"])


class Answer(ctypes.Structure):
    _fields_ = [
        (name, c_uint64)
        for name in ("elapsed_ns", "ran", "not_run", "panicked", "still_running", "threads")
    ] + [("text", c_char * 1024)]


RUN = ctypes.CFUNCTYPE(None, c_void_p, c_void_p)
DESTROY = ctypes.CFUNCTYPE(None, c_void_p)
library.sundown_start.argtypes = [c_char_p, c_uint32, POINTER(c_void_p), POINTER(Answer)]
library.sundown_submit.argtypes = [c_void_p, c_char_p, RUN, c_void_p, DESTROY]
library.sundown_stop.argtypes = [c_void_p, c_uint64, POINTER(Answer)]
library.sundown_restart.argtypes = [c_void_p, POINTER(Answer)]
library.sundown_free.argtypes = [c_void_p]
library.sundown_may_unload.argtypes = [POINTER(Answer)]
library.sundown_job_should_stop.argtypes = [c_void_p]
library.sundown_job_should_stop.restype = c_bool
library.sundown_error_name.argtypes = [c_int32]
library.sundown_error_name.restype = c_char_p


class Runtime:
    """What an author of a binding writes."""

    def __init__(self, workers=2):
        self.handle, self.destroyed, self.kept = c_void_p(), [], []
        self.is_destroyed = threading.Semaphore(0)
        code = library.sundown_start(b"python", workers, byref(self.handle), None)
        assert code == OK, library.sundown_error_name(code)

    def submit(self, work, name=b"job"):
        def destroy(data):
            self.destroyed.append(data)
            self.is_destroyed.release()

        functions = RUN(lambda _, job: work(job)), DESTROY(destroy)
        self.kept.append(functions)  # until the runtime has ended
        return library.sundown_submit(self.handle, name, functions[0], 7, functions[1])

    def stop(self, limit=PLENTY):
        answer = Answer()
        return library.sundown_stop(self.handle, limit, byref(answer)), answer

    def end(self):
        code, answer = self.stop()
        assert code == OK, answer.text
        assert library.sundown_free(self.handle) == OK


class Host(unittest.TestCase):
    def test_a_job_runs_and_its_data_is_destroyed(self):
        runtime, seen = Runtime(), []
        self.assertEqual(runtime.submit(lambda _: seen.append(threading.current_thread())), OK)
        self.assertTrue(runtime.is_destroyed.acquire(timeout=60))
        code, answer = runtime.stop()
        self.assertEqual((code, answer.ran, answer.not_run), (OK, 1, 0))
        self.assertEqual((len(seen), runtime.destroyed), (1, [7]))
        self.assertNotEqual(seen[0], threading.main_thread())
        runtime.end()
        self.assertEqual(library.sundown_may_unload(None), OK)

    def test_a_job_that_blocks_is_named_and_waited_for_again(self):
        runtime, began, may_return = Runtime(), threading.Event(), threading.Event()
        runtime.submit(lambda _: (began.set(), may_return.wait(60)), b"blocks")
        self.assertTrue(began.wait(60))
        code, answer = runtime.stop(50)
        self.assertEqual(code, TIMED_OUT)
        self.assertIn(b"`blocks`", answer.text)
        self.assertEqual(runtime.destroyed, [])
        may_return.set()
        self.assertEqual(runtime.stop()[0], OK)
        self.assertEqual(runtime.destroyed, [7])
        runtime.end()

    def test_a_job_that_listens_returns(self):
        runtime, began = Runtime(), threading.Event()

        def listen(job):
            began.set()
            while not library.sundown_job_should_stop(job):
                threading.Event().wait(0.001)

        runtime.submit(listen)
        self.assertTrue(began.wait(60))
        runtime.end()

    def test_a_job_cannot_stop_its_own_runtime(self):
        runtime, codes = Runtime(), []
        runtime.submit(lambda _: codes.append(runtime.stop()[0]))
        self.assertTrue(runtime.is_destroyed.acquire(timeout=60))
        self.assertEqual(codes, [FROM_INSIDE])
        runtime.end()

    def test_after_a_stop_a_job_is_refused_and_its_data_destroyed(self):
        runtime = Runtime()
        self.assertEqual(runtime.stop()[0], OK)
        self.assertEqual(runtime.stop()[0], OK)
        self.assertEqual(runtime.submit(lambda _: None), SHUT_DOWN)
        self.assertEqual(runtime.destroyed, [7])
        self.assertEqual(library.sundown_error_name(SHUT_DOWN), b"shut down")
        runtime.end()

    @unittest.skipUnless(hasattr(os, "fork"), "no fork")
    def test_a_forked_child_restarts_it(self):
        runtime = Runtime()
        child = os.fork()
        if child == 0:
            faulthandler.dump_traceback_later(60, exit=True)
            fine = (
                runtime.submit(lambda _: None) == FORKED
                and runtime.stop()[0] == FORKED
                and library.sundown_restart(runtime.handle, None) == OK
                and runtime.submit(lambda _: None) == OK
                and runtime.is_destroyed.acquire(timeout=60)
                and runtime.is_destroyed.acquire(timeout=60)
                and runtime.stop()[0] == OK
                and library.sundown_free(runtime.handle) == OK
            )
            os._exit(0 if fine else 1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(runtime.submit(lambda _: None), OK)
        self.assertTrue(runtime.is_destroyed.acquire(timeout=60))
        runtime.end()


EXAMPLE = pathlib.Path(__file__).parents[2] / "examples" / "exit.py"

#: The example without its exit handler.
WITHOUT_STOP = f"""
import atexit, runpy
kept = runpy.run_path({str(EXAMPLE)!r})
atexit.unregister(kept["stop"])
"""


class Exit(unittest.TestCase):
    def end(self, *program):
        return subprocess.run(
            [sys.executable, *program, os.environ["SUNDOWN_FFI"]],
            capture_output=True,
            text=True,
            timeout=60,
        )

    def test_a_program_that_stops_at_exit_ends(self):
        for _ in range(10):
            ended = self.end(EXAMPLE)
            self.assertEqual(
                (ended.returncode, ended.stdout, ended.stderr), (0, "the last line\n", "")
            )

    # 3.13.0 ends other threads while it is finalized, 3.13.18 does not.
    @unittest.skipUnless(sys.version_info < (3, 13, 1), "this interpreter may end no thread")
    def test_one_that_does_not_is_aborted(self):
        codes = [self.end("-c", WITHOUT_STOP).returncode for _ in range(10)]
        self.assertTrue(any(codes), codes)


if __name__ == "__main__":
    unittest.main()
