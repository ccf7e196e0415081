"""Threads: Numba's layer, chosen before it starts, and BLAS held to one where the bits depend on it.

OpenMP's parallel regions cost 3 microseconds, TBB's about as much, workqueue's a hundred.
"""

import ctypes
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

os.environ.setdefault("NUMBA_THREADING_LAYER_PRIORITY", "omp tbb workqueue")


@cache
def check_threading_layer() -> None:
    """Warn, once, when Numba has nothing better than its own work queue."""
    if "NUMBA_THREADING_LAYER" not in os.environ and not any(usable(pool) for pool in ("omppool", "tbbpool")):
        warnings.warn(
            "Numba finds neither OpenMP nor TBB: small layers will run several times slower; "
            "install libgomp, or the package tbb",
            RuntimeWarning,
            stacklevel=2,
        )


def usable(pool: str) -> bool:
    """Whether Numba's extension for a layer is there and its library loads."""
    found = find_spec(f"numba.np.ufunc.{pool}")
    try:
        return found is not None and found.origin is not None and bool(ctypes.CDLL(found.origin))
    except OSError:
        return False


@cache
def openblas() -> tuple | None:
    """The functions that get and set the threads of the OpenBLAS that came with NumPy, or None."""
    libraries = Path(np.__file__).parent.with_name("numpy.libs")
    for path in sorted(libraries.glob("*openblas*")):
        library = ctypes.CDLL(str(path))
        for name in ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads"):
            if hasattr(library, name.format("set")):
                return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Run NumPy's matrix products on the calling thread alone, where its library can be told so."""
    functions = openblas()
    if functions is None:
        yield
        return
    get, put = functions
    before = get()
    put(1)
    try:
        yield
    finally:
        put(before)
