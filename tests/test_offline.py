"""Every kernel compiles to machine code for two GPUs that are not here: no doubles, no spills, no stack."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

needs_compiler = pytest.mark.skipif(
    find_spec("numba_cuda") is None or find_spec("nvidia") is None,
    reason="the [cuda] extra, which holds the offline compiler, is not installed",
)


@needs_compiler
def test_every_kernel_compiles_for_sm_80_and_sm_90():
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
    command = [sys.executable, "-m", "nbcaffe.offline", "80", "90"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count("sm_80") == done.stdout.count("sm_90") > 0
