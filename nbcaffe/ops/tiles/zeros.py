"""Zeros for an array that no cache holds."""

from numba import njit, prange

from ..simd import addr, vzero
from ..vectors import vstream


@njit(cache=True, parallel=True)
def zeros(x, threads):
    """x starts on a cache line and is so many whole ones."""
    lines = x.size // 16
    for t in prange(threads):
        for line in range(lines * t // threads, lines * (t + 1) // threads):
            vstream(addr(x, 16 * line), vzero())
