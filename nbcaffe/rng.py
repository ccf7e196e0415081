"""Random bits by counting: the same key and counter give the same bits on every target and number of threads.

The generator is Philox2x32-10 (Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, SC 2011).  A key comes
from the seed and a name, a counter from the pass and the index, so nothing has state and a run can resume anywhere.
"""

import hashlib
from collections.abc import Callable
from math import pi

import numpy as np

from .kernel import device

MASK = 0xFFFFFFFF
PART = 2**15  # numbers that the host makes at a time: they stay in its cache, and large weights need no more memory


@device
def philox(key, hi, lo):
    """Two 32-bit words for the counter ``(hi, lo)``; int64 throughout, wrapping products keep their low 64 bits."""
    key, hi, lo = int(key), int(hi) & 0xFFFFFFFF, int(lo) & 0xFFFFFFFF
    for _ in range(10):
        product = 0xD256D193 * lo
        lo = ((product >> 32) & 0xFFFFFFFF) ^ key ^ hi
        hi = product & 0xFFFFFFFF
        key = (key + 0x9E3779B9) & 0xFFFFFFFF
    return lo, hi


def key(seed: int, *names: str | int) -> int:
    """A 32-bit key for one use of the seed, such as ``key(seed, "conv1", 0)``."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def words(key: int, hi: int, n: int, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """:func:`philox` on the host for ``n`` counters from ``(hi, first)`` on, as two uint64 arrays of 32-bit words."""
    lo: np.ndarray = np.arange(first, first + n, dtype=np.uint64)
    top: np.ndarray = np.full(n, hi & MASK, np.uint64)
    for _ in range(10):
        product = np.uint64(0xD256D193) * lo
        lo, top = (product >> np.uint64(32)) ^ np.uint64(key) ^ top, product & np.uint64(MASK)
        key = (key + 0x9E3779B9) & MASK
    return lo, top


def in_parts(law: Callable[..., np.ndarray], key: int, n: int, hi: int) -> np.ndarray:
    """``n`` numbers ``law(a, b)`` of the words ``a, b`` of the counters ``(hi, 0 .. n-1)``."""
    numbers: np.ndarray = np.empty(n)
    for first in range(0, n, PART):
        part = numbers[first : first + PART]
        part[...] = law(*words(key, hi, len(part), first))
    return numbers


def uniform(key: int, n: int, hi: int = 0) -> np.ndarray:
    """``n`` float64 numbers in [0, 1)."""
    return in_parts(lambda a, b: a / 2.0**32, key, n, hi)


def normal(key: int, n: int, hi: int = 0) -> np.ndarray:
    """``n`` float64 numbers from the standard normal law (Box and Muller)."""

    def law(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(-2.0 * np.log((a + 1.0) / 2.0**32)) * np.cos(2.0 * pi * (b / 2.0**32))

    return in_parts(law, key, n, hi)


def permutation(key: int, epoch: int, n: int) -> np.ndarray:
    """The order of ``n`` samples in an epoch."""
    a, b = words(key, epoch, n)
    return np.argsort((a << np.uint64(32)) | b, kind="stable")
