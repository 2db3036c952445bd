"""Threads of a runtime call only into the main interpreter."""

import importlib.util

import pytest

MODULES = ("_interpreters", "_xxsubinterpreters")
MODULE = next((name for name in MODULES if importlib.util.find_spec(name)), None)

IMPORTS = """
import sys
try:
    import sundown
except ImportError as error:
    print("refused:", error)
else:
    print("not refused")
sys.stdout.flush()
"""


@pytest.mark.skipif(MODULE is None, reason="this Python has no module for sub-interpreters")
@pytest.mark.parametrize(
    "first", ["pass", "import sundown", "import sundown; sundown.Runtime('main')"]
)
def test_a_sub_interpreter_is_refused_with_a_reason(run, first):
    program = run(
        f"""
        import warnings
        warnings.simplefilter("ignore")
        import {MODULE} as interpreters
        {first}
        interpreter = interpreters.create()
        interpreters.run_string(interpreter, {IMPORTS!r})
        interpreters.destroy(interpreter)
        print("last line")
        """,
        begin="",
    )
    program.must_be_clean()
    assert program.out.startswith("refused: ")
    assert "interpreter" in program.out
