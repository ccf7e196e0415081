"""Matrix product: MR rows times ``16 * NV`` columns."""

from ..simd import machine_code, vfetch, vouter, vput, vrows

MR, NV = 6, 4  # rows, vectors of columns


@machine_code("piipiipipipi")
def tile(a, across, along, b, pitch, length, ahead, skip, start, start_pitch, c, c_pitch):
    """``c[m, n] = start[m, n] + sum over k of a[m * across + k * along] * b[k, n]``; with pitch 0 start is one row.

    Meanwhile what lies ``ahead``, ``skip`` floats for each k, comes into the caches.
    """
    acc = vrows(start, start_pitch, MR, NV)
    for k in range(length):
        vfetch(ahead + k * skip)
        acc = vouter(acc, a + k * along, across, b + k * pitch, NV)
    vput(acc, c, c_pitch, NV)
