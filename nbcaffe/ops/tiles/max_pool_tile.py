"""The largest value of each window and its place, for windows KW wide that step by SW."""

import numpy as np
from numba import njit

from ..simd import lanes, machine_code, vstm
from ..vectors import iadd, ichoose, iramp, isplat, istart, istm, vbeats, vchoose, vsplat
from ..windows import vtaps

KW, SW = 3, 2
LOWEST, EMPTY = np.float32(-np.inf), np.finfo(np.float32).min  # EMPTY is Caffe's value of a window with no cell


@njit
def better_of_row(best, place, cells, cell, width, number):
    """What was found above, or the best of a row of cells, the first of which has this number.

    The row's best is found by itself first: so one row does not have to wait for the one above.
    """
    taps = vtaps(cells, cell, width, LOWEST, KW, SW)
    row_best, row_place = taps[0], isplat(number)
    for j in range(1, KW):
        better = vbeats(taps[j], row_best)
        row_best, row_place = vchoose(better, taps[j], row_best), ichoose(better, isplat(number + j), row_place)
    better = vbeats(row_best, best)
    return vchoose(better, row_best, best), ichoose(better, row_place, place)


@machine_code("pppiiiiiiiii")
def forward(x, y, where, planes, height, width, rows, outputs, kh, sh, ph, pw):
    """``place`` counts from each window's own column until it is stored; where all is -inf the first cell has it."""
    for plane in range(planes):
        cells, results = x + plane * height * width, plane * rows * outputs
        for window in range(0, outputs, 16):
            cell, used = window * SW - pw, lanes(0, outputs - window)
            start, columns, beyond = istart(cell, SW), iramp(cell, SW), (width - cell + SW - 1) // SW
            for oh in range(rows):
                above = oh * sh - ph
                first, last = max(above, 0), min(above + kh, height)
                best, place = vsplat(LOWEST), iadd(start, isplat(first * width))
                for h in range(first, last):
                    best, place = better_of_row(best, place, cells + h * width, cell, width, h * width)
                at = results + oh * outputs + window
                empty = lanes(beyond if above < height else 0, 16)
                vstm(y + at, vchoose(empty, vsplat(EMPTY), best), used)
                istm(where + at, ichoose(empty, isplat(-1), iadd(place, columns)), used)
