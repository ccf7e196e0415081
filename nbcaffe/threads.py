"""Threads: Numba's layer, chosen before it starts, and BLAS held to one where the bits depend on it.

OpenMP's parallel regions cost 3 microseconds, TBB's about as much, workqueue's a hundred.  But OpenMP's threads spin
while they wait for each other, and where another process needs the core that is a time slice lost per region: on a busy
machine LeNet's products took 15 to 240 ms a step, but 12 to 20 with threads that soon go to sleep.  They spin half a
millisecond, then sleep: an LSTM's step, of 150 regions, takes 20 ms so, 28 with a tenth of it.
"""

import ctypes
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

os.environ.setdefault("NUMBA_THREADING_LAYER_PRIORITY", "omp tbb workqueue")
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def usable(pool: str) -> bool:
    """Whether Numba's extension for a layer is there and its library loads."""
    found = find_spec(f"numba.np.ufunc.{pool}")
    try:
        return found is not None and found.origin is not None and bool(ctypes.CDLL(found.origin))
    except OSError:
        return False


def find_tbb() -> None:
    """Load the TBB of the package ``tbb``: in a virtual environment it lies where the linker does not look."""
    for path in sorted((Path(sys.prefix) / "lib").glob("libtbb.so.*"))[:1]:
        with suppress(OSError):
            ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)


def check_threading_layer() -> None:
    """Make TBB findable where it is wanted, and warn where Numba has nothing better than its own work queue."""
    chosen = os.environ.get("NUMBA_THREADING_LAYER", "")
    if chosen == "tbb" or not (chosen or usable("omppool")):
        find_tbb()
        if not chosen and not usable("tbbpool"):
            warnings.warn(
                "Numba finds neither OpenMP nor TBB: small layers will run several times slower; "
                "install libgomp, or the package tbb",
                RuntimeWarning,
                stacklevel=2,
            )


check_threading_layer()


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
