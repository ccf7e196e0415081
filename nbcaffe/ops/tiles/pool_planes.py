"""Planes shared by threads: each has its part of them done by a pooling tile."""

from numba import njit, prange

from ..simd import addr, invoke


@njit(cache=True, parallel=True)
def each_plane(code, cells, windows, where, planes, height, width, rows, outputs, kh, sh, ph, pw, threads):
    """``cells`` are the planes, ``windows`` and ``where`` what belongs to the windows over them."""
    for t in prange(threads):
        first, last = planes * t // threads, planes * (t + 1) // threads
        at = first * rows * outputs
        arrays = (addr(cells, first * height * width), addr(windows, at), addr(where, at))
        invoke(code, arrays + (last - first, height, width, rows, outputs, kh, sh, ph, pw))


@njit
def over(h, first, last, rows, kh, sh):
    """The windows ``first`` to ``last - 1`` over row h of the padded plane, given those over the row before."""
    while last < rows and last * sh <= h:
        last += 1
    while first < last and first * sh + kh <= h:
        first += 1
    return first, last
