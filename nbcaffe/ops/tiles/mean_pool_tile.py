"""The mean of each window over its padded area, and its gradient, for windows KW wide that step by SW."""

import numpy as np
from numba import njit

from ..simd import lanes, machine_code, vstm, vzero, vzeros
from ..vectors import vsplat
from ..windows import vadd_shares, vinverse_widths, vtaps, vwiden, vwidths
from .pool_planes import over

KW, SW = 3, 2
NOTHING, ONE = np.float32(0), np.float32(1)


@njit
def add_row(total, cells, cell, width):
    for value in vtaps(cells, cell, width, NOTHING, KW, SW):
        total = total + value
    return total


@machine_code("pppiiiiiiiii")
def forward(x, y, _, planes, height, width, rows, outputs, kh, sh, ph, pw):
    for plane in range(planes):
        cells, results = x + plane * height * width, plane * rows * outputs
        for window in range(0, outputs, 16):
            cell, used = window * SW - pw, lanes(0, outputs - window)
            widths = vwidths(cell, width + pw, KW, SW)
            for oh in range(rows):
                above, total = oh * sh - ph, vzero()
                for h in range(max(above, 0), min(above + kh, height)):
                    total = add_row(total, cells + h * width, cell, width)
                tall = np.float32(min(above + kh, height + ph) - above)
                vstm(y + (results + oh * outputs + window), total / (widths * vsplat(tall)), used)


@machine_code("pppiiiiiiiii")
def backward(dx, dy, _, planes, height, width, rows, outputs, kh, sh, ph, pw):
    """Each group of SW cells adds up its shares of the windows over it."""
    groups = (width - 1 + pw) // SW + 1
    for plane in range(planes):
        results = plane * rows * outputs
        for group in range(0, groups, 16):
            cell, first, last = group * SW - pw, 0, 0
            widths = vinverse_widths(cell, width + pw, KW, SW)
            for h in range(height):
                first, last = over(h + ph, first, last, rows, kh, sh)
                sums = vzeros(SW, 1)
                for oh in range(first, last):
                    tall = ONE / np.float32(min(kh, height + 2 * ph - oh * sh))
                    sums = vadd_shares(sums, dy + (results + oh * outputs), group, outputs, widths, tall, KW, SW)
                vwiden(sums, dx + (plane * height + h) * width, cell, width, SW)
