"""Planes shared by threads: each has its part of them done by a pooling tile."""

from numba import njit, prange

from ..simd import addr, invoke

GROUP = 8  # planes at a time, where more is done with them


@njit(cache=True, parallel=True)
def each_plane(code, finish, cells, windows, where, planes, height, width, rows, outputs, kh, sh, ph, pw, threads):
    """``cells`` are the planes, ``windows`` and ``where`` what belongs to the windows; ``finish`` is run on windows."""
    for t in prange(threads):
        first, last = planes * t // threads, planes * (t + 1) // threads
        group = GROUP if finish != 0 else max(last - first, 1)
        for plane in range(first, last, group):
            count, at = min(group, last - plane), plane * rows * outputs
            arrays = (addr(cells, plane * height * width), addr(windows, at), addr(where, at))
            invoke(code, arrays + (count, height, width, rows, outputs, kh, sh, ph, pw))
            if finish != 0:
                invoke(finish, (addr(windows, at), count * rows * outputs))


@njit
def over(h, first, last, rows, kh, sh):
    """The windows ``first`` to ``last - 1`` over row h of the padded plane, given those over the row before."""
    while last < rows and last * sh <= h:
        last += 1
    while first < last and first * sh + kh <= h:
        first += 1
    return first, last
