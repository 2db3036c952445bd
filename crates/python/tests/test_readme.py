"""The examples of the README run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n(?:\nprints\n\n```text\n(.*?)^```)?", README.read_text("utf-8"), re.M | re.S)


def test_the_readme_has_examples():
    assert EXAMPLES


@pytest.mark.parametrize(("source", "prints"), EXAMPLES)
def test_an_example_runs_and_prints_what_it_says(source, prints):
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, timeout=60
    )
    assert (child.returncode, child.stderr) == (0, "")
    assert child.stdout == prints
