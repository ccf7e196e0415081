"""What every test shares: the cuda target is Numba's simulator, and child processes see this checkout."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

if os.environ.get("NBCAFFE_TEST_GPU") != "1":  # with 1 the cuda target is the machine's GPU
    assert "numba" not in sys.modules, "Numba reads NUMBA_ENABLE_CUDASIM when it is imported"
    os.environ["NUMBA_ENABLE_CUDASIM"] = "1"

os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of golden data from real Caffe: ``NBCAFFE_GOLDEN``, or the copy that lies with the tests."""
    folder = Path(os.environ.get("NBCAFFE_GOLDEN", ROOT / "tests" / "golden"))
    if not folder.is_dir():
        pytest.fail(f"{folder}: no such folder of golden data (NBCAFFE_GOLDEN names another one)")
    return folder
