"""Convolution of each channel with a kernel of its own: planes, or channels, shared by threads."""

from numba import njit, prange

from ..simd import addr, invoke


@njit(cache=True, parallel=True)
def each_plane(
    code, finish, cells, windows, w, b, zeros, planes, channels, height, width, rows, outputs, taps, apart, ph, pw,
    threads,
):  # fmt: skip
    """``cells`` are the planes, ``windows`` what belongs to the windows over them; ``finish`` is run on the latter."""
    for t in prange(threads):
        for plane in range(planes * t // threads, planes * (t + 1) // threads):
            c, at = plane % channels, addr(windows, plane * rows * outputs)
            arrays = (addr(cells, plane * height * width), at, addr(w, c * taps), addr(b, c), addr(zeros, 0))
            invoke(code, arrays + (height, width, rows, outputs, apart, ph, pw))
            if finish != 0:
                invoke(finish, (at, rows * outputs))


@njit(cache=True, parallel=True)
def each_channel(
    code, x, dy, dw, db, zeros, images, channels, height, width, rows, outputs, taps, apart, ph, pw, threads
):  # fmt: skip
    """Each channel's weights gain their gradient over all images, and its bias (db may be empty)."""
    biased = 1 if db.size > 0 else 0
    for t in prange(threads):
        for c in range(channels * t // threads, channels * (t + 1) // threads):
            planes = (addr(x, c * height * width), addr(dy, c * rows * outputs))
            gains = (addr(dw, c * taps), addr(db, c * biased), addr(zeros, 0))
            invoke(code, planes + gains + (biased, images, channels, height, width, rows, outputs, apart, ph, pw))
