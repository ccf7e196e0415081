"""Matrix product ``c[M, N] = a[M, K] b[K, N]``, plus a bias or plus what c held.

A tile is MR rows times ``16 * NV`` columns.  Both operands are packed into the order in which the tile reads them:
a as ``[block of MR rows][k][MR]``, once, by all threads; b as ``[k][16 * NV]``, a panel at a time, by the thread that
uses it.  a and b may each be given transposed.
"""

from numba import njit, prange

from nbcaffe.ops.simd import addr, lanes, vadd, vld, vldm, vouter, vput, vrows, vst, vstm, vzero, vzeros
from nbcaffe.ops.tiles.common import copy_rows, turn

MR, NV = 13, 2  # rows, vectors of columns
KB = 512  # length of the sums taken at a time: the panel of b stays in the cache


@njit
def tile(a, b, length, acc):
    """The tile plus ``sum over k of a[k][m] * b[k][n]``."""
    for k in range(length):
        acc = vouter(acc, a + k * MR, 1, b + k * 16 * NV, NV)
    return acc


@njit
def put(acc, spare, c, pitch, rows, columns, add):
    """Store (or add) the tile's corner of rows x columns."""
    if rows >= MR and columns >= 16 * NV and not add:
        vput(acc, c, pitch, NV)
        return
    vput(acc, spare, 16 * NV, NV)
    for m in range(min(rows, MR)):
        for n in range(0, min(columns, 16 * NV), 16):
            to, inside = c + (m * pitch + n), lanes(0, columns - n)
            v = vld(spare + (m * 16 * NV + n))
            if add:
                v = vadd(v, vldm(to, inside))
            vstm(to, v, inside)


@njit
def pack_block(a, row_step, k_step, rows, length, packed):
    """``packed[k][m] = a[m * row_step + k * k_step]`` for one block of up to MR rows."""
    if k_step == 1:
        for k in range(0, length, 16):
            turn(a + k, row_step, min(rows, MR), min(16, length - k), packed + k * MR, MR)
    else:
        inside = lanes(0, min(rows, MR))
        for k in range(length):
            vst(packed + k * MR, vldm(a + k * k_step, inside))


@njit(cache=True, parallel=True)
def product(a, b, bias, c, packed, panels, spares, M, K, N, a_turned, b_turned, start, shares, threads):
    """``start``: what the sums start from: 0 nothing, 1 the bias of each column, 2 what c held."""
    row_blocks, panel_count, lane_count = (M + MR - 1) // MR, (N + 16 * NV - 1) // (16 * NV), 16 * NV
    block_size = packed.size // row_blocks
    for i in prange(row_blocks):
        to = addr(packed, i * block_size)
        if a_turned:
            pack_block(addr(a, i * MR), 1, M, M - i * MR, K, to)
        else:
            pack_block(addr(a, i * MR * K), K, 1, M - i * MR, K, to)
    units = panel_count * shares
    for t in prange(threads):
        panel, spare = addr(panels, t * (panels.size // threads)), addr(spares, t * (spares.size // threads))
        for unit in range(units * t // threads, units * (t + 1) // threads):
            n, share = unit // shares * lane_count, unit % shares
            for k in range(0, max(K, 1), KB):
                length = min(KB, K - k)
                if b_turned:
                    turn(addr(b, n * K + k), K, min(lane_count, N - n), length, panel, lane_count)
                else:
                    copy_rows(addr(b, k * N + n), N, length, N - n, panel, lane_count)
                for i in range(row_blocks * share // shares, row_blocks * (share + 1) // shares):
                    acc = vzeros(MR, NV)
                    if start == 1 and k == 0:
                        acc = vrows(addr(bias, n), 0, MR, NV)
                    acc = tile(addr(packed, i * block_size + k * MR), panel, length, acc)
                    to = addr(c, i * MR * N + n)
                    put(acc, spare, to, N, M - i * MR, N - n, start == 2 or k > 0)


@njit(cache=True)
def pad_bias(bias, padded):
    """The bias followed by zeros, for a tile reads whole vectors; an empty one stands for zeros."""
    for n in range(0, padded.size, 16):
        vst(addr(padded, n), vldm(addr(bias, n), lanes(0, bias.size - n)) if n < bias.size else vzero())


@njit(cache=True)
def add_rows(dy, db, rows):
    """``db[n] += sum over the rows of dy[row, n]``."""
    for n in range(0, db.size, 16):
        inside = lanes(0, db.size - n)
        total = vldm(addr(db, n), inside)
        for row in range(rows):
            total = vadd(total, vldm(addr(dy, row * db.size + n), inside))
        vstm(addr(db, n), total, inside)
