"""Few rows times a transposed matrix: ``c[M, N] = start[M, N] + a[M, K] b[N, K]^T``, reading b once, as it lies.

Each element is a sum along two rows, taken in 16 lanes; ROWS rows of b share what is loaded of a.
"""

from numba import njit, prange

from ..simd import addr, lanes, vadd, vcolumns, vldm, vstm, vzeros
from ..vectors import vdots, vtotal

ROWS = 8  # at least so many has b
AHEAD = 512  # floats


@njit(cache=True, parallel=True)
def dots(a, b, start, down, right, c, M, K, N, threads):
    """``start[m * down + n * right]`` is what an element starts from."""
    blocks = (N + ROWS - 1) // ROWS
    for t in prange(threads):
        for block in range(blocks * t // threads, blocks * (t + 1) // threads):
            n = min(block * ROWS, N - ROWS)
            mine = lanes(block * ROWS - n, ROWS)  # of the last block's rows some may be done
            for m in range(M):
                acc = vzeros(ROWS, 1)
                for k in range(0, K, 16):
                    inside = lanes(0, K - k)
                    acc = vdots(acc, vldm(addr(a, m * K + k), inside), addr(b, n * K + k), K, AHEAD, inside)
                total = vtotal(vcolumns(acc, 1))
                vstm(addr(c, m * N + n), vadd(total, vldm(addr(start, m * down + n * right), mine)), mine)
