"""Winograd: the products of spectra, one small matrix product for each position."""

from numba import njit

from ..simd import machine_code, vouter, vput, vrows

MR, NV = 13, 2  # rows, vectors of columns


@njit
def tile(a, a_step, a_row, b, b_step, length, start, start_pitch, c, c_pitch):
    """``c[m, n] = start[m, n] + sum over k of a[k * a_step + m * a_row] * b[k * b_step + n]``."""
    acc = vrows(start, start_pitch, MR, NV)
    for k in range(length):
        acc = vouter(acc, a + k * a_step, a_row, b + k * b_step, NV)
    vput(acc, c, c_pitch, NV)


@machine_code("pii" + "piii" + "ii" + "pi" + "pi")
def product(a, a_step, a_row, b, b_step, b_block, blocks, length, rows, start, start_pitch, c, c_pitch):
    """All rows, rounded up to whole tiles, and ``blocks`` blocks of columns."""
    for block in range(blocks):
        for m in range(0, rows, MR):
            to = block * 16 * NV
            tile(
                a + m * a_row, a_step, a_row, b + block * b_block, b_step, length,
                start + (m * start_pitch + to), start_pitch, c + (m * c_pitch + to), c_pitch,
            )  # fmt: skip
