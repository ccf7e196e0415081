"""Matrix product ``c[M, N] = a[M, K] b[K, N]``, plus a bias or plus another array, which may be c itself.

Both operands are packed into the order in which a tile reads them: a as ``[block of rows][k][row]``, once, by all
threads; b as ``[k][lane]``, a panel at a time, by the thread that uses it, or beforehand where the same b is used many
times.  a and b may each be given transposed.
"""

from numba import njit, prange

from ..simd import addr, invoke, lanes, vadd, vld, vldm, vst, vstm, vzero
from .copies import copy_rows, turn

STRIP = 64  # so many rows of a are packed for all blocks in turn, since a cache line holds parts of several
LONGEST = 512  # length of the sums taken at a time: so much of a panel of b stays in the cache


@njit
def corner(spare, width, start, c, pitch, rows, columns, add):
    """Store the part of a tile that lies inside c, or its sum with start."""
    for m in range(rows):
        for n in range(0, columns, 16):
            to, inside = c + (m * pitch + n), lanes(0, columns - n)
            v = vld(spare + (m * width + n))
            if add:
                v = vadd(v, vldm(start + (m * pitch + n), inside))
            vstm(to, v, inside)


@njit
def pack_turned(a, pitch, rows, height, length, packed):
    """``packed[k][m] = a[k * pitch + m]``."""
    inside = lanes(0, rows)
    for k in range(length):
        vst(packed + k * height, vldm(a + k * pitch, inside))


@njit
def pack_panel(b, n, k, length, K, N, width, b_turned, panel):
    """``panel[k][lane] = b[k, n + lane]`` for some k."""
    if b_turned:
        turn(addr(b, n * K + k), K, min(width, N - n), length, panel, width)
    else:
        copy_rows(addr(b, k * N + n), N, length, N - n, panel, width)


@njit(cache=True, parallel=True)
def pack_panels(b, panels, width, K, N, b_turned, threads):
    """All panels of b, for products that follow."""
    count = (N + width - 1) // width
    for t in prange(threads):
        for p in range(count * t // threads, count * (t + 1) // threads):
            pack_panel(b, p * width, 0, K, K, N, width, b_turned, addr(panels, p * K * width))


@njit(cache=True, parallel=True)
def product(
    tile, height, width, a, b, bias, start, c, packed, panels, spares, M, K, N, a_turned, b_turned, add, ready, shares,
    threads,
):  # fmt: skip
    """The sums start from the bias of each column or, if ``add``, from ``start``; a tile has height x width.

    ``ready`` says that the panels hold all of b.
    """
    row_blocks, panel_count = (M + height - 1) // height, (N + width - 1) // width
    block_size = packed.size // row_blocks
    for t in prange(threads):
        blocks = range(row_blocks * t // threads, row_blocks * (t + 1) // threads)
        for k in range(0, K, STRIP):
            length = min(STRIP, K - k)
            for i in blocks:
                rows, to = min(height, M - i * height), addr(packed, i * block_size + k * height)
                if a_turned:
                    pack_turned(addr(a, k * M + i * height), M, rows, height, length, to)
                else:
                    for j in range(0, length, 16):
                        turn(addr(a, i * height * K + k + j), K, rows, min(16, length - j), to + j * height, height)
    units = panel_count * shares
    for t in prange(threads):
        panel, spare = addr(panels, t * (panels.size // threads)), addr(spares, t * (spares.size // threads))
        for k in range(0, K, LONGEST):  # outside: so much of a, too, is to stay in a cache
            length, more = min(LONGEST, K - k), add or k > 0
            for unit in range(units * t // threads, units * (t + 1) // threads):
                n, share = unit // shares * width, unit % shares
                if ready:
                    panel = addr(panels, (n * K) + k * width)
                else:
                    pack_panel(b, n, k, length, K, N, width, b_turned, panel)
                for i in range(row_blocks * share // shares, row_blocks * (share + 1) // shares):
                    rows, columns = min(height, M - i * height), min(width, N - n)
                    operands = (addr(packed, i * block_size + k * height), panel, length)
                    to = addr(c, i * height * N + n)
                    source = to if k > 0 else addr(start, i * height * N + n)
                    if rows < height or columns < width:
                        first = addr(bias, bias.size - width if more else n)  # zeros lie behind the bias
                        invoke(tile, operands + (first, 0, spare, width))
                        corner(spare, width, source, to, N, rows, columns, more)
                    elif more:
                        invoke(tile, operands + (source, N, to, N))
                    else:
                        invoke(tile, operands + (addr(bias, n), 0, to, N))


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
        total = vzero()
        for row in range(rows):
            total = vadd(total, vldm(addr(dy, row * db.size + n), inside))
        vstm(addr(db, n), vadd(vldm(addr(db, n), inside), total), inside)
