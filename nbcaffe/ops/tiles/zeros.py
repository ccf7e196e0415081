"""Zeros, by all threads."""

from numba import njit, prange

from ..simd import addr, vst, vzero
from ..vectors import vstream


@njit(cache=True, parallel=True)
def zeros(x, threads):
    """x is so many whole cache lines."""
    lines = x.size // 16
    for t in prange(threads):
        for line in range(lines * t // threads, lines * (t + 1) // threads):
            vst(addr(x, 16 * line), vzero())


@njit(cache=True, parallel=True)
def past_caches(x, threads):
    """The same for an array that no cache holds; x starts on a cache line."""
    lines = x.size // 16
    for t in prange(threads):
        for line in range(lines * t // threads, lines * (t + 1) // threads):
            vstream(addr(x, 16 * line), vzero())
