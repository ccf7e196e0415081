"""Each file in examples/ holds something of a user's own; what it defines passes the checks."""

import subprocess
import sys

import pytest


def test_examples_are_there(root):
    assert len(list((root / "examples").glob("*.py"))) >= 7


@pytest.mark.parametrize("name", ["fixed_point", "gate", "log_cosh", "quantise", "rational", "spline", "swish"])
def test_the_layers_of_an_example_pass_their_checks(root, name):
    done = subprocess.run(
        [sys.executable, "-m", "nbcaffe", "check", str(root / "examples" / f"{name}.py")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "all passed" in done.stdout, done.stdout + done.stderr
