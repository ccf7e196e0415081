"""Matrix product: MR rows times ``16 * NV`` columns."""

from ..simd import machine_code, vadd_rows, vfetch, vouter, vput, vzeros
from ..vectors import vclaim

MR, NV = 6, 4  # rows, vectors of columns


@machine_code("piipiipipipi")
def tile(a, across, along, b, pitch, length, ahead, skip, start, start_pitch, c, c_pitch):
    """``c[m, n] = start[m, n] + sum over k of a[m * across + k * along] * b[k, n]``; with pitch 0 start is one row.

    Meanwhile what lies ``ahead``, ``skip`` floats for each k, comes into the caches.  So do the places that are written
    at the end: stores to lines that are elsewhere would hold up the next tile.
    """
    for m in range(MR):
        for j in range(NV):
            vclaim(c + (m * c_pitch + 16 * j))
            if start_pitch != 0:
                vfetch(start + (m * start_pitch + 16 * j))
    acc = vzeros(MR, NV)
    for k in range(length):
        vfetch(ahead + k * skip)
        acc = vouter(acc, a + k * along, across, b + k * pitch, NV)
    vput(vadd_rows(acc, start, start_pitch, NV), c, c_pitch, NV)
