"""Rows of pooling windows in vectors, for the tiles that pool.

Along a row of windows lane k is window k; along the row below them lane k is a group of ``SW`` cells, SW the stride.
Whoever reads gives the number of the first lane's cell and the end of the row: what lies outside is not touched.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .llvm import (
    F32,
    I32,
    INDICES,
    LANES,
    VECTOR,
    ZERO,
    address,
    between,
    call,
    const,
    index,
    masked_store,
    members,
    operation,
    shuffle,
    splat,
    step,
    tuple_of,
    vec16,
    void,
)
from .simd import tile_type
from .vectors import ramp, spread


def part(b: ir.IRBuilder, p: ir.Value, cell: ir.Value, end: ir.Value, fill: ir.Value) -> ir.Value:
    """``p[cell + lane]``, and the fill outside 0 <= cell + lane < end."""
    inside = between(b, b.neg(cell), b.sub(end, cell))
    where = b.bitcast(step(b, p, cell), VECTOR.as_pointer())
    return call(b, "masked.load.v16f32.p0", VECTOR, [where, ir.Constant(I32, 4), inside, fill])


def picked(b: ir.IRBuilder, vectors: list, lanes: list[int]) -> ir.Value:
    """One vector of lanes, counted through several vectors."""
    result = shuffle(b, vectors[0], ZERO, [n if n < LANES else LANES for n in lanes])
    for number, v in enumerate(vectors[1:], 1):
        result = shuffle(b, result, v, [LANES + n % LANES if n // LANES == number else k for k, n in enumerate(lanes)])
    return result


def every(
    b: ir.IRBuilder, p: ir.Value, cell: ir.Value, end: ir.Value, fill: ir.Value, stride: int, many: int, apart: int = 1
) -> list:
    """``many`` vectors, the j-th of them the lanes ``p[cell + j * apart + k * stride]``."""
    found, parts, held = [], [], -1
    for j in range(0, many * apart, apart):
        first, r = j // stride * stride, j % stride
        if first != held:
            parts = [part(b, p, b.add(cell, const(first + LANES * i)), end, fill) for i in range(stride)]
            held = first
        found.append(picked(b, parts, list(range(r, LANES * stride, stride))))
    return found


def widen(b: ir.IRBuilder, cells: list, p: ir.Value, cell: ir.Value, end: ir.Value) -> None:
    """Store the vectors of groups of cells where they lie: lane k of the r-th of n at ``p[cell + r + k * n]``."""
    n = len(cells)
    for first in range(0, LANES * n, LANES):
        turned = picked(b, cells, [k % n * LANES + k // n for k in range(first, first + LANES)])
        at = b.add(cell, const(first))
        masked_store(b, turned, step(b, p, at), between(b, b.neg(at), b.sub(end, at)))


@intrinsic(prefer_literal=True)
def vtaps(typing, p, cell, end, fill, KW, SW):
    """The KW cells of each window of a row as vectors: lane k of the j-th is ``p[cell + j + k * SW]``, or the fill."""

    def build(b, p, cell, end, fill, *_):
        return tuple_of(every(b, p, cell, end, splat(b, fill), SW.literal_value, KW.literal_value), b)

    return operation(tile_type(KW.literal_value, 1)(address, index, index, types.float32, KW, SW), build)


@intrinsic(prefer_literal=True)
def vwiden(typing, cells, p, cell, end, SW):
    """Store the SW vectors of groups of cells where they lie: lane k of the r-th at ``p[cell + r + k * SW]``."""

    def build(b, cells, p, cell, end, _):
        widen(b, members(cells, b), p, cell, end)

    return operation(void(cells, address, index, index, SW), build)


# -- back from the windows to the cells -------------------------------------------------------------------------------


def covering(kernel: int, stride: int) -> range:
    """How many windows before its own a group of cells may lie in; the first window comes first."""
    return range(-(-kernel // stride) - 1, -1, -1)


@intrinsic(prefer_literal=True)
def vadd_shares(typing, cells, dy, window, windows, widths, height, KW, SW):
    """Add to groups of cells their shares of the windows over them, whose inverse widths and height these are."""
    kernel, stride = KW.literal_value, SW.literal_value

    def build(b, cells, dy, window, windows, widths, height, *_):
        sums, shares, tall = members(cells, b), members(widths, b), splat(b, height)
        for before in covering(kernel, stride):
            gradient = part(b, dy, b.sub(window, const(before)), windows, ZERO)
            share = b.fmul(gradient, b.fmul(shares[before], tall))
            for r in range(min(stride, kernel - before * stride)):
                sums[r] = b.fadd(sums[r], share)
        return tuple_of(sums, b)

    return operation(cells(cells, address, index, index, widths, types.float32, KW, SW), build)


@intrinsic(prefer_literal=True)
def vwidths(typing, cell, end, KW, SW):
    """How many cells before ``end`` each window has that begins at ``cell + k * SW``."""

    def build(b, cell, end, *_):
        room = b.sub(spread(b, end), ramp(b, cell, const(SW.literal_value)))
        whole = ir.Constant(INDICES, [KW.literal_value] * LANES)
        return b.sitofp(b.select(b.icmp_signed("<", room, whole), room, whole), VECTOR)

    return operation(vec16(index, index, KW, SW), build)


@intrinsic(prefer_literal=True)
def vinverse_widths(typing, cell, end, KW, SW):
    """One over the widths of the windows that may hold a group of cells, those of its own window first."""
    kernel, stride = KW.literal_value, SW.literal_value
    count = len(covering(kernel, stride))

    def build(b, cell, end, *_):
        found = []
        for before in range(count):
            room = b.sub(spread(b, end), ramp(b, b.sub(cell, const(before * stride)), const(stride)))
            whole = ir.Constant(INDICES, [kernel] * LANES)
            width = b.sitofp(b.select(b.icmp_signed("<", room, whole), room, whole), VECTOR)
            found.append(b.fdiv(splat(b, ir.Constant(F32, 1.0)), width))
        return tuple_of(found, b)

    return operation(tile_type(count, 1)(index, index, KW, SW), build)
