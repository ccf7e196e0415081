"""Convolution of a plane with one kernel, 16 windows of a row at a time: the words of the DEPTHWISE tiles.

A step reads SH rows of cells, those from where a row of windows begins to where the next one does.  A row of cells is
read once: what it gives to the windows over it, or takes from them, is held in a ring of rows of vectors, the oldest
first.  WINDOW is the literal tuple ``(KH, KW, SH, SW, DW)``: kernel, stride, columns from one tap to the next; rows of
taps, and of a step, lie ``apart`` rows apart.  A plane is the tuple ``(address, height, width, end, zeros)``: cells
from column ``end`` on are not read, and rows that do not exist are those at ``zeros``.
"""

import itertools
from collections.abc import Iterator
from typing import Any

from llvmlite import ir
from numba.extending import intrinsic

from .llvm import (
    LANES,
    ZERO,
    address,
    const,
    fma,
    index,
    members,
    operation,
    shuffle,
    splat,
    step,
    tuple_of,
    void,
)
from .simd import tile_type
from .windows import every, part, widen


class Window:
    """The numbers in the type of a WINDOW."""

    def __init__(self, literals: Any):
        self.kh, self.kw, self.sh, self.sw, self.dw = (number.literal_value for number in literals)

    def pairs(self) -> Iterator[tuple[int, int, int]]:
        """(row of a step, rows of windows back, row of taps) that meet."""
        return ((i % self.sh, i // self.sh, i) for i in range(self.kh))


def rows_of(b: ir.IRBuilder, plane: ir.Value, first: ir.Value, apart: ir.Value, steps: int) -> list[tuple]:
    """The rows of a step: where each lies, and whether it does."""
    start, height, width, _, zeros = (b.extract_value(plane, k) for k in range(5))
    found = []
    for s in range(steps):
        row = b.add(first, b.mul(apart, const(s)))
        exists = b.icmp_unsigned("<", row, height)
        found.append((b.select(exists, step(b, start, b.mul(row, width)), zeros), exists))
    return found


def cells_of(b: ir.IRBuilder, window: Window, plane: Any, first: Any, apart: Any, cell: Any) -> list:
    """The cells of a step: for each row the vectors of the KW taps."""
    rows, end = rows_of(b, plane, first, apart, window.sh), b.extract_value(plane, 3)
    return [every(b, p, cell, end, ZERO, window.sw, window.kw, window.dw) for p, _ in rows]


def dot(b: ir.IRBuilder, xs: list, ys: list) -> ir.Value:
    """The sum of products: of a row by itself, so that it does not have to wait for the row before."""
    total = b.fmul(xs[0], ys[0])
    for pair in zip(xs[1:], ys[1:], strict=True):
        total = fma(b, *pair, total)
    return total


@intrinsic(prefer_literal=True)
def vsplats(typing, p, pitch, COUNT):
    """A tile of the numbers at p, ``pitch`` floats apart, each 16 times."""
    count = COUNT.literal_value

    def build(b, p, pitch, _):
        return tuple_of([splat(b, b.load(step(b, p, b.mul(pitch, const(k))))) for k in range(count)], b)

    return operation(tile_type(count, 1)(address, index, COUNT), build)


@intrinsic(prefer_literal=True)
def vcorrelate(typing, ring, weights, plane, first, apart, cell, WINDOW):
    """A ring of results gains what the cells of a step give to them."""
    window = Window(WINDOW)

    def build(b, ring, weights, plane, first, apart, cell, _):
        sums, factors = members(ring, b), members(weights, b)
        cells = cells_of(b, window, plane, first, apart, cell)
        for s, back, i in window.pairs():
            row = dot(b, cells[s], factors[i * window.kw : (i + 1) * window.kw])
            sums[-1 - back] = b.fadd(sums[-1 - back], row)
        return tuple_of(sums, b)

    return operation(ring(ring, weights, plane, index, index, index, WINDOW), build)


@intrinsic(prefer_literal=True)
def vcorrelate_diffs(typing, sums, ring, plane, first, apart, cell, WINDOW):
    """The sums of the weights gain the cells of a step times a ring of the windows' gradients."""
    window = Window(WINDOW)

    def build(b, sums, ring, plane, first, apart, cell, _):
        gains, diffs = members(sums, b), members(ring, b)
        cells = cells_of(b, window, plane, first, apart, cell)
        for s, back, i in window.pairs():
            for k, x in enumerate(cells[s], i * window.kw):
                gains[k] = fma(b, x, diffs[-1 - back], gains[k])
        return tuple_of(gains, b)

    return operation(sums(sums, ring, plane, index, index, index, WINDOW), build)


@intrinsic(prefer_literal=True)
def vshare(typing, ring, weights, dy, group, end, WINDOW):
    """A ring of rows of groups of SW cells gains the shares of a row of windows; the first row is where these begin."""
    window = Window(WINDOW)

    def build(b, ring, weights, dy, group, end, _):
        sums, factors = members(ring, b), members(weights, b)
        places = [divmod(j * window.dw, window.sw) for j in range(window.kw)]  # (groups back, column) of each tap
        diffs = {back: part(b, dy, b.sub(group, const(back)), end, ZERO) for back in {back for back, _ in places}}
        for i, column in itertools.product(range(window.kh), sorted({column for _, column in places})):
            taps = [j for j, place in enumerate(places) if place[1] == column]
            row = dot(b, [diffs[places[j][0]] for j in taps], [factors[i * window.kw + j] for j in taps])
            sums[i * window.sw + column] = b.fadd(sums[i * window.sw + column], row)
        return tuple_of(sums, b)

    return operation(ring(ring, weights, address, index, index, WINDOW), build)


@intrinsic(prefer_literal=True)
def vshed(typing, ring, plane, first, apart, cell, WINDOW):
    """The ring without its first SH rows, which are stored in the plane."""
    window = Window(WINDOW)

    def build(b, ring, plane, first, apart, cell, _):
        sums, sw = members(ring, b), window.sw
        for s, (p, exists) in enumerate(rows_of(b, plane, first, apart, window.sh)):
            with b.if_then(exists):
                widen(b, sums[s * sw : (s + 1) * sw], p, cell, b.extract_value(plane, 3))
        gone = window.sh * sw
        return tuple_of(sums[gone:] + [ZERO] * gone, b)

    return operation(ring(ring, plane, index, index, index, WINDOW), build)


@intrinsic
def vplus(typing, tile, other):
    """The sum of two tiles."""

    def build(b, tile, other):
        return tuple_of([b.fadd(*pair) for pair in zip(members(tile, b), members(other, b), strict=True)], b)

    return operation(tile(tile, tile), build)


@intrinsic
def vgain(typing, p, tile):
    """Number k at p gains the sum of the lanes of vector k."""

    def build(b, p, tile):
        for k, v in enumerate(members(tile, b)):
            for apart in (8, 4, 2, 1):
                v = b.fadd(v, shuffle(b, v, v, [(lane + apart) % LANES for lane in range(LANES)]))
            to = step(b, p, k)
            b.store(b.fadd(b.load(to), b.extract_element(v, const(0))), to)

    return operation(void(address, tile), build)
