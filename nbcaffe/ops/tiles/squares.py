"""Sums of squares of the parts of arrays, read as fast as memory gives them."""

from numba import njit, prange

from ..simd import addr, lanes, vadd, vld, vldm, vst, vzero
from ..vectors import vfma


@njit(cache=True, parallel=True)
def squares(x, table, partial, spares, threads):
    """``partial[p]`` is the sum over part p; NaN or infinite when an element is.

    A row of the table says where a part begins, in floats behind the first of x, and how many elements it has.
    """
    for t in prange(threads):
        spare = spares.size // threads * t
        for p in range(partial.size * t // threads, partial.size * (t + 1) // threads):
            start, count = addr(x, table[p, 0]), table[p, 1]
            a, b, c, d = vzero(), vzero(), vzero(), vzero()
            for k in range(0, count - 63, 64):
                v0, v1, v2, v3 = vld(start + k), vld(start + (k + 16)), vld(start + (k + 32)), vld(start + (k + 48))
                a, b, c, d = vfma(v0, v0, a), vfma(v1, v1, b), vfma(v2, v2, c), vfma(v3, v3, d)
            for k in range(count - count % 64, count, 16):
                v = vldm(start + k, lanes(0, count - k))
                a = vfma(v, v, a)
            vst(addr(spares, spare), vadd(vadd(a, b), vadd(c, d)))
            total = spares[spare]
            for lane in range(1, 16):
                total += spares[spare + lane]
            partial[p] = total
