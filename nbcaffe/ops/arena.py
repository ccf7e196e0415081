"""Passes over all gradients as fast as memory goes, on hosts: clearing them, and their squares."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import get_num_threads

from ..device import device_of
from ..kernel import launch
from .aligned import aligned_zeros
from .specialise import issue, specialise

LARGE, SMALL = 1 << 26, 1 << 17  # bytes that are too many for a cache; that one thread clears
LONG = 1 << 14  # elements
LINE = 64


def clear(array: Any) -> None:
    """Launch zeros for a flat array: past the caches if none of them holds it, in half or a third of NumPy's time."""
    first = end = 0
    if isinstance(array, np.ndarray) and array.dtype == np.float32 and array.nbytes >= SMALL:
        first = -array.ctypes.data % LINE // 4
        end = first + (array.size - first) // 16 * 16
        zeros = specialise("zeros").past_caches if array.nbytes >= LARGE else specialise("zeros").zeros
        issue(zeros, array[first:end], get_num_threads())
    for rest in (array[:first], array[end:]):
        if rest.size:
            launch(device_of(array).upload, rest, 0.0)


def square_parts(arrays: Sequence[Any], part: int, partial: np.ndarray) -> bool:
    """Launch the sums of squares of the parts of flat float32 arrays of the host, if long; False for others."""
    of_host = all(isinstance(array, np.ndarray) and array.dtype == np.float32 for array in arrays)
    if not of_host or sum(array.size for array in arrays) < LONG:
        return False
    threads, home = get_num_threads(), arrays[0].ctypes.data
    starts = [(array.ctypes.data - home) // 4 + k for array in arrays for k in range(0, array.size, part)]
    counts = [min(part, array.size - k) for array in arrays for k in range(0, array.size, part)]
    table = np.array([starts, counts]).T.copy()
    issue(specialise("squares").squares, arrays[0], table, partial, aligned_zeros(16 * threads), threads)
    return True
