"""Weights changed by a gradient ``a^T b`` that is never whole: each part of it is used while it lies in the cache."""

from numba import njit, prange

from ..simd import addr, invoke
from .product import pack_panel, pack_rows


@njit(cache=True, parallel=True)
def sweep(
    code, tile_rows, width, rule, a, b, w, histories, apart, now, found, packed, panels, parts, zeros, M, K, N,
    height, stretch, threads,
):  # fmt: skip
    """a is (K, M), b is (K, N); ``rule(w, g, h, apart, now, found, n)`` updates n weights by n gradients.

    A part has ``height`` rows, whole tiles of them, and ``stretch`` columns, whole panels; a thread goes down a stretch
    for which it has copied b.  The last tile of a column begins so early that it ends with the weights.
    """
    tiles, heights = (M + tile_rows - 1) // tile_rows, (M + height - 1) // height
    units = heights * ((N + stretch - 1) // stretch)
    for t in prange(threads):
        pack_rows(a, M, K, tile_rows, tiles * t // threads, tiles * (t + 1) // threads, packed)
    for t in prange(threads):
        own, part = addr(panels, t * K * stretch), addr(parts, (t * (height + tile_rows) + tile_rows) * stretch)
        copied = -1
        for unit in range(units * t // threads, units * (t + 1) // threads):
            first, n = unit % heights * height, unit // heights * stretch
            end, columns = min(first + height, M), min(stretch, N - n)
            if copied != n:
                for p in range(0, columns, width):
                    pack_panel(b, n + p, 0, K, K, N, width, False, own + p * K)
                copied = n
            tile = 0
            for i in range(first // tile_rows, (end + tile_rows - 1) // tile_rows):
                m = min(i * tile_rows, M - tile_rows)
                for p in range(0, columns, width):
                    left, to = addr(packed, i * tile_rows * K), part + ((m - first) * stretch + p)
                    soon = min(first + tile // 2, M - 1) * N + n  # a tile fetches a row's weights, or their history
                    ahead = addr(w, soon) if tile % 2 == 0 else addr(histories, soon)
                    operands = (left, 1, tile_rows, own + p * K, width, K, ahead, stretch // K)
                    tile += 1
                    invoke(code, operands + (addr(zeros, 0), 0, to, stretch))
            for m in range(first, end):
                at = m * N + n
                arrays = (addr(w, at), part + (m - first) * stretch, addr(histories, at))
                invoke(rule, arrays + (apart, addr(now, 0), addr(found, 0), columns))
