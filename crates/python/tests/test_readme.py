"""The examples of the README run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
#: Each with what it prints.
EXAMPLE = re.compile(r"^```python\n(.*?)^```\n\nprints\n\n```text\n(.*?)^```", re.M | re.S)
TEXT = README.read_text("utf-8")
EXAMPLES = EXAMPLE.findall(TEXT)


def test_every_example_says_what_it_prints():
    assert len(EXAMPLES) == TEXT.count("```python") > 0


@pytest.mark.parametrize(("source", "prints"), EXAMPLES)
def test_an_example_runs_and_prints_what_it_says(source, prints):
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, timeout=60
    )
    assert (child.returncode, child.stdout) == (0, prints), child.stderr
    # Only the callables that were left behind at the limit are reported.
    assert all(line.startswith("at exit: ") for line in child.stderr.splitlines()), child.stderr
