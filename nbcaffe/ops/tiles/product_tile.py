"""Matrix product: MR rows times ``16 * NV`` columns."""

from ..simd import machine_code, vouter, vput, vrows

MR, NV = 13, 2  # rows, vectors of columns


@machine_code("ppipipi")
def tile(a, b, length, start, start_pitch, c, c_pitch):
    """``c[m, n] = start[m, n] + sum over k of a[k, m] * b[k, n]``; with pitch 0 start is one row."""
    acc = vrows(start, start_pitch, MR, NV)
    for k in range(length):
        acc = vouter(acc, a + k * MR, 1, b + k * 16 * NV, NV)
    vput(acc, c, c_pitch, NV)
