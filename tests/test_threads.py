"""Threads: the layer that Numba takes, and BLAS held to one."""

import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest

from nbcaffe import threads

ROOT = Path(__file__).resolve().parents[1]
PROBE = """
import warnings
warnings.simplefilter("error")
from nbcaffe import threads
import numba
@numba.njit(parallel=True)
def f(x):
    for i in numba.prange(x.size):
        x[i] += 1.0
import numpy
f(numpy.zeros(9))
print(numba.threading_layer())
"""


def probe(**environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "GOMP_", "OMP_"))}
    kept |= {"PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", PROBE], env=kept, capture_output=True, text=True)


def test_numba_takes_openmp_where_it_can():
    if not threads.usable("omppool"):
        pytest.skip("no OpenMP here")
    assert probe().stdout.strip() == "omp"


def test_the_tbb_package_is_found_in_a_virtual_environment():
    try:
        version("tbb")
    except PackageNotFoundError:
        pytest.skip("no tbb here")
    assert probe(NUMBA_THREADING_LAYER="tbb").stdout.strip() == "tbb"


def test_a_machine_with_neither_is_told(monkeypatch):
    monkeypatch.delenv("NUMBA_THREADING_LAYER", raising=False)
    monkeypatch.setattr(threads, "usable", lambda pool: False)
    monkeypatch.setattr(threads, "find_tbb", lambda: None)
    with pytest.warns(RuntimeWarning, match="neither OpenMP nor TBB"):
        threads.check_threading_layer()


def test_blas_is_held_to_one_thread_and_then_let_go():
    functions = threads.openblas()
    if functions is None:
        pytest.skip("NumPy has another BLAS here")
    get, put = functions
    before = get()
    put(2)
    try:
        with threads.one_blas_thread():
            assert get() == 1
            np.ones((4, 4)) @ np.ones((4, 4))
        assert get() == 2
    finally:
        put(before)
