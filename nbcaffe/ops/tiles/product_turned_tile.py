"""Matrix product, stored transposed: MR <= 16 rows times ``16 * NV`` columns."""

import numpy as np

from ..simd import addr, lanes, machine_code, vouter, vput_columns, vzeros

MR, NV = 12, 1  # rows, vectors of columns
ONES = np.ones(64, np.float32)


@machine_code("piipiipipiii")
def tile(a, across, along, b, pitch, length, start, start_pitch, c, c_pitch, first, columns):
    """``c[n, m] = start[m] + sum over k of a[m * across + k * along] * b[k, n]`` for m >= first and n < columns."""
    acc = vouter(vzeros(MR, NV), start, start_pitch, addr(ONES, 0), NV)
    for k in range(length):
        acc = vouter(acc, a + k * along, across, b + k * pitch, NV)
    vput_columns(acc, c, c_pitch, columns, lanes(first, MR), NV)
