"""Matrix product ``c[M, N] = start[M, N] + a[M, K] b[K, N]`` in one parallel region; start may be c, a bias or zeros.

a is read where it lies; if it is transposed and long, from copies of its blocks of rows.  b is read in panels of the
tile's width: where it lies, from copies that a thread makes as it comes to them, or from copies made beforehand.
"""

from numba import njit, prange

from ..simd import addr, invoke, lanes, vadd, vld, vldm, vst, vstm
from .copies import copy_rows, turn

COPIED, IN_PLACE, READY = 0, 1, 2  # which of these panels are
STRIP = 8  # so many rows of a transposed a are copied for all blocks in turn: a cache's ways


@njit
def corner(spare, width, start, start_pitch, c, pitch, rows, columns):
    """Store the sum of start and the part of a tile that lies inside c."""
    for m in range(rows):
        for n in range(0, columns, 16):
            inside = lanes(0, columns - n)
            v = vadd(vld(spare + (m * width + n)), vldm(start + (m * start_pitch + n), inside))
            vstm(c + (m * pitch + n), v, inside)


@njit
def pack_rows(a, M, K, height, first, end, packed):
    """Some blocks of a transposed a: ``packed[block][k][row]``; a block has at most 16 rows.

    A cache line of a holds parts of several blocks, and its rows may all want the same places of the cache.
    """
    inside = lanes(0, height)
    whole = K - 16 // height  # rows before this one may write 16 floats: what is too much is written again
    for k in range(0, K, STRIP):
        for i in range(first, end):
            source, to = addr(a, k * M + min(i * height, M - height)), addr(packed, (i * K + k) * height)
            length = min(STRIP, K - k)
            free = min(max(whole - k, 0), length)
            for j in range(free):
                vst(to + j * height, vldm(source + j * M, inside))
            for j in range(free, length):
                vstm(to + j * height, vldm(source + j * M, inside), inside)


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
    tile, finish, height, width, a, b, start, down, right, c, packed, panels, spares, zeros, M, K, N, a_turned,
    b_turned, c_turned, a_packed, form, longest, rows_first, threads,
):  # fmt: skip
    """``start[m * down + n * right]`` is what an element starts from; a tile has width columns and height <= M rows.

    The sums are taken ``longest`` at a time.  With ``rows_first`` a thread goes along rows of tiles, else down columns.
    The last tile of a column begins so early that it ends with c; what the tile before it has done is left as it is.
    ``finish`` is run on what is written, unless it is 0 or c is transposed.
    """
    blocks, count = (M + height - 1) // height, (N + width - 1) // width
    across, along = (1, M) if a_turned else (K, 1)
    if a_packed:
        across, along = 1, height
        for t in prange(threads):
            pack_rows(a, M, K, height, blocks * t // threads, blocks * (t + 1) // threads, packed)
    for t in prange(threads):
        own, spare = addr(panels, t * (panels.size // threads)), addr(spares, t * (spares.size // threads))
        first, rows = 0, blocks
        begin, end = blocks * count * t // threads, blocks * count * (t + 1) // threads
        if a_packed and blocks >= 8 * threads:  # a thread has the rows that it has copied in its own cache
            first = blocks * t // threads
            rows = blocks * (t + 1) // threads - first
            begin, end = 0, rows * count
        for k in range(0, K, longest):
            length, copied = min(longest, K - k), -1
            for unit in range(begin, end):
                i, p = (unit // count, unit % count) if rows_first else (first + unit % rows, unit // rows)
                m, n = min(i * height, M - height), p * width
                done, columns = i * height - m, min(width, N - n)
                panel, pitch = own, width
                if form == READY:
                    panel = addr(panels, n * K + k * width)
                elif form == IN_PLACE and columns == width:
                    panel, pitch = addr(b, k * N + n), N
                elif copied != n:
                    pack_panel(b, n, k, length, K, N, width, b_turned, panel)
                    copied = n
                left = addr(packed, (i * K + k) * height) if a_packed else addr(a, m * across + k * along)
                operands = (left, across, along, panel, pitch, length)
                source, source_pitch = addr(start, m * down + n * right), down
                if c_turned:
                    invoke(tile, operands + (source, down, addr(c, n * M + m), M, done, columns))
                    continue
                # each tile of a column fetches a part of what the next column needs
                skip = (width + blocks - 1) // blocks if b_turned else N
                ahead = (n + width) * K + k + i * length * skip if b_turned else k * N + n + width + i * 16 % width
                if form == READY:  # copies that lie in the cache, and b is not read
                    ahead, skip = 0, 0
                operands_ahead = operands + (addr(b, ahead), skip)
                to = addr(c, m * N + n)
                if k > 0:
                    source, source_pitch = to, N
                if done == 0 and columns == width:
                    invoke(tile, operands_ahead + (source, source_pitch, to, N))
                else:
                    invoke(tile, operands_ahead + (addr(zeros, 0), 0, spare, width))
                    corner(
                        spare + done * width, width, source + done * source_pitch, source_pitch,
                        to + done * N, N, height - done, columns,
                    )  # fmt: skip
                for row in range(done, height if finish != 0 and k + length == K else 0):
                    invoke(finish, (to + row * N, columns))


@njit(cache=True, parallel=True)
def add_rows(dy, db, rows):
    """``db[n] += sum over the rows of dy[row, n]``; 64 columns at a time, as neighbours in memory come together."""
    whole = db.size - db.size % 64
    for block in prange(whole // 64):
        n = 64 * block
        p, pitch, to = addr(dy, n), db.size, addr(db, n)
        a, b, c, d = vld(to), vld(to + 16), vld(to + 32), vld(to + 48)
        for row in range(rows):
            q = p + row * pitch
            a, b, c, d = vadd(a, vld(q)), vadd(b, vld(q + 16)), vadd(c, vld(q + 32)), vadd(d, vld(q + 48))
        vst(to, a)
        vst(to + 16, b)
        vst(to + 32, c)
        vst(to + 48, d)
    for n in range(whole, db.size, 16):
        inside = lanes(0, db.size - n)
        total = vldm(addr(db, n), inside)
        for row in range(rows):
            total = vadd(total, vldm(addr(dy, row * db.size + n), inside))
        vstm(addr(db, n), total, inside)
