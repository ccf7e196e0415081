"""Convolution of a plane with a kernel of KH x KW, and its gradients."""

from ..planes import vcorrelate, vcorrelate_diffs, vgain, vplus, vshare, vshed, vsplats
from ..simd import lanes, machine_code, vldm, vstm, vzero, vzeros
from ..vectors import vpush

KH, KW, SH, SW, DW = 3, 3, 1, 1, 1  # kernel, stride, columns from one tap to the next
HELD = (KH - 1) // SH + 1  # rows of windows that a row of cells may lie in
CELLS = max(KH, SH) * SW  # vectors of cells that 16 windows give to, or pass
TAPS = KH * KW


@machine_code("ppppp" + "iiiiiii")
def forward(x, y, w, b, zeros, height, width, rows, outputs, apart, ph, pw):
    """A row of results is whole HELD - 1 steps after it began; the taps' rows split the plane into ``apart`` others."""
    plane, weights, fresh = (x, height, width, width, zeros), vsplats(w, 1, TAPS), vsplats(b, 0, HELD)
    late = (HELD - 1) * apart
    for window in range(0, outputs, 16):
        cell, used = window * SW - pw, lanes(0, outputs - window)
        for first in range(min(apart, rows)):
            sums = fresh
            for row in range(first, rows + late, apart):
                sums = vcorrelate(sums, weights, plane, row * SH - ph, apart, cell, (KH, KW, SH, SW, DW))
                if row >= late:
                    vstm(y + ((row - late) * outputs + window), sums[0], used)
                sums = vpush(sums, fresh[0])


@machine_code("ppppp" + "iiiiiii")
def backward_data(dx, dy, w, _, zeros, height, width, rows, outputs, apart, ph, pw):
    """SH rows of cells are whole when the windows that begin there have given their shares."""
    plane, weights = (dx, height, width, width, zeros), vsplats(w, 1, TAPS)
    for group in range(pw // SW, (width - 1 + pw) // SW + 1, 16):
        for first in range(apart):
            sums = vzeros(CELLS, 1)
            for row in range(first, (height - 1 + ph) // SH + 1, apart):
                if row < rows:
                    sums = vshare(sums, weights, dy + row * outputs, group, outputs, (KH, KW, SH, SW, DW))
                sums = vshed(sums, plane, row * SH - ph, apart, group * SW - pw, (KH, KW, SH, SW, DW))


@machine_code("ppppp" + "iiiiiiiiii")
def backward_weights(
    x, dy, dw, db, zeros, biased, images, channels, height, width, rows, outputs, apart, ph, pw
):  # fmt: skip
    """One channel of all images, each strip of 16 columns summed by itself."""
    total, total_diffs, late = vzeros(TAPS, 1), vzero(), (HELD - 1) * apart
    bottom, right = (rows - 1) * SH + (KH - 1) * apart + 1 - ph, (outputs - 1) * SW + (KW - 1) * DW + 1 - pw
    for n in range(images):
        # what no window sees is not read: a NaN there times a gradient of zero would be seen
        plane = (x + n * channels * height * width, max(min(height, bottom), 0), width, min(width, right), zeros)
        diffs = dy + n * channels * rows * outputs
        for window in range(0, outputs, 16):
            cell, used = window * SW - pw, lanes(0, outputs - window)
            for first in range(min(apart, rows)):
                sums, sum_diffs, held = vzeros(TAPS, 1), vzero(), vzeros(HELD, 1)
                for row in range(first, rows + late, apart):
                    v = vldm((diffs + row * outputs if row < rows else zeros) + window, used)
                    held, sum_diffs = vpush(held, v), sum_diffs + v
                    sums = vcorrelate_diffs(sums, held, plane, row * SH - ph, apart, cell, (KH, KW, SH, SW, DW))
                total, total_diffs = vplus(total, sums), total_diffs + sum_diffs
    vgain(dw, total)
    if biased:
        vgain(db, (total_diffs,))
