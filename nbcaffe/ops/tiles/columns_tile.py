"""Convolution, gradient of the data: MR taps times ``16 * NV`` output pixels, summed over the output channels."""

from numba import njit

from ..simd import machine_code, vouter, vput, vzeros

MR, NV = 13, 2  # taps, vectors of output pixels


@njit
def tile(w, w_pitch, outputs, dy, columns, columns_pitch):
    """``columns[m, pixel] = sum over co of w[co, m] * dy[co, pixel]``."""
    acc = vzeros(MR, NV)
    for co in range(outputs):
        acc = vouter(acc, w + co * w_pitch, 1, dy + co * 16 * NV, NV)
    vput(acc, columns, columns_pitch, NV)


@machine_code("ipiipip")
def product(rows, w, w_pitch, outputs, packed, blocks, columns):
    """The columns of some input channels, ``rows`` taps in all; dy lies packed as ``[block of pixels][co][lane]``."""
    for block in range(blocks):
        for step in range(0, rows, MR):
            m = min(step, rows - MR)  # the last tile overlaps the one before
            to = columns + (m * blocks + block) * 16 * NV
            tile(w + m, w_pitch, outputs, packed + block * outputs * 16 * NV, to, blocks * 16 * NV)
