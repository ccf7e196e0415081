"""Vectors of 16 floats inside ordinary Numba functions, and the register tile that every fast kernel is built on.

A tile is a tuple of ``MR * NV`` vectors: MR rows of ``16 * NV`` lanes, held in registers.  One intrinsic does the
work, :func:`vouter`, a rank-1 update of the tile; convolutions and products are loops around it in plain Python.
Addresses are a type of their own: ``p + k`` lies k floats behind p.  Nothing here checks bounds.

The shapes of a tile (``MR, NV``) must be literals or module constants: a tile of another shape is a module with other
constants (see :mod:`nbcaffe.ops.specialise`).  The loops over a whole image or matrix are compiled once for all: they
:func:`invoke` the machine code of a tile.
"""

import operator
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from .llvm import (
    I32,
    I64,
    LANES,
    LONGS,
    POINTER,
    VECTOR,
    ZERO,
    address,
    between,
    call,
    const,
    fence,
    fetch,
    fma,
    index,
    load,
    mask16,
    masked_load,
    masked_store,
    members,
    operation,
    splat,
    step,
    store,
    transpose,
    tuple_of,
    vec16,
    void,
)

# -- addresses --------------------------------------------------------------------------------------------------------


@infer_global(operator.add)
class AddressPlus(AbstractTemplate):
    """``address + int`` counts in floats."""

    def generic(self, args: tuple, kws: dict) -> Any:
        if len(args) == 2 and args[0] == address and isinstance(args[1], types.Integer):
            return signature(address, address, index)
        return None


@lower_builtin(operator.add, address, index)
def address_plus(context: Any, b: ir.IRBuilder, sig: Any, args: tuple) -> ir.Value:
    return step(b, *args)


@intrinsic
def addr(typing, array, i):
    """The address of element i of a flat float32 array."""

    def generate(context, b, sig, args):
        return step(b, context.make_array(sig.args[0])(context, b, args[0]).data, args[1])

    flat = isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C"
    if not flat or array.dtype != types.float32:
        raise numba.core.errors.TypingError(f"addr takes a flat float32 array, got {array}")
    return address(array, index), generate


def machine_code(kinds: str) -> Callable:
    """Compile a tile for :func:`invoke`; a letter per argument: p for an address, i for an integer, f for a float."""
    letters = {"p": address, "i": index, "f": types.float32}
    return numba.cfunc(void(*[letters[kind] for kind in kinds]), cache=True)


@intrinsic
def invoke(typing, code, args):
    """Call the machine code at the number ``code`` with a tuple of addresses and integers."""

    def build(b, code, args):
        values = cgutils.unpack_tuple(b, args)
        kind = ir.FunctionType(ir.VoidType(), [v.type for v in values])
        b.call(b.inttoptr(code, kind.as_pointer()), values)

    return operation(void(index, args), build)


# -- one vector -------------------------------------------------------------------------------------------------------


@intrinsic
def lanes(typing, first, end):
    """The mask of lanes first <= lane < end."""
    return operation(mask16(index, index), between)


@intrinsic
def vzero(typing):
    """16 zeros."""
    return operation(vec16(), lambda b: ZERO)


@intrinsic
def vld(typing, p):
    """The 16 floats at p."""
    return operation(vec16(address), load)


@intrinsic
def vldm(typing, p, mask):
    """The floats at p where mask is set, zeros elsewhere; only the former are touched."""
    return operation(vec16(address, mask16), masked_load)


@intrinsic
def vst(typing, p, v):
    """Store v at p."""
    return operation(void(address, vec16), lambda b, p, v: store(b, v, p))


@intrinsic
def vstm(typing, p, v, mask):
    """Store the lanes of v where mask is set."""
    return operation(void(address, vec16, mask16), lambda b, p, v, mask: masked_store(b, v, p, mask))


@intrinsic
def vscatter(typing, p, stride, v, mask):
    """Store lane i of v at p + i * stride where mask is set."""

    def build(b, p, stride, v, mask):
        bytes_apart = b.mul(stride, const(4))
        offsets = b.mul(ir.Constant(LONGS, list(range(LANES))), splat(b, bytes_apart, LONGS))
        where = b.inttoptr(b.add(splat(b, b.ptrtoint(p, I64), LONGS), offsets), ir.VectorType(POINTER, LANES))
        call(b, "masked.scatter.v16f32.v16p0", ir.VoidType(), [v, where, ir.Constant(I32, 4), mask])

    return operation(void(address, index, vec16, mask16), build)


@intrinsic
def vfetch(typing, p):
    """Ask for the cache line at p, which may lie outside of everything."""

    return operation(void(address), fetch)


@intrinsic
def vadd(typing, x, y):
    """x + y in each lane."""
    return operation(vec16(vec16, vec16), lambda b, x, y: b.fadd(x, y))


# -- the tile ---------------------------------------------------------------------------------------------------------


def tile_type(rows: int, vectors: int) -> Any:
    return types.UniTuple(vec16, rows * vectors)  # type: ignore[attr-defined]  # Numba fills the module at run time


@intrinsic(prefer_literal=True)
def vouter(typing, tile, x, sx, w, NV):
    """Rank-1 update: row m of the tile gains ``x[m * sx] * w[:16 * NV]``."""
    nv = NV.literal_value

    def build(b, tile, x, sx, w, _):
        fence(b)
        row = [load(b, step(b, w, LANES * j)) for j in range(nv)]
        old, new = members(tile, b), []
        for m in range(len(old) // nv):
            s = splat(b, b.load(step(b, x, b.mul(sx, const(m)))))
            new += [fma(b, s, row[j], old[m * nv + j]) for j in range(nv)]
        return tuple_of(new, b)

    return operation(tile(tile, address, index, address, NV), build)


@intrinsic(prefer_literal=True)
def vzeros(typing, MR, NV):
    """A tile of zeros."""
    tile = tile_type(MR.literal_value, NV.literal_value)
    return operation(tile(MR, NV), lambda b, *_: ir.Constant(ir.ArrayType(VECTOR, tile.count), [ZERO] * tile.count))


@intrinsic(prefer_literal=True)
def vrows(typing, p, pitch, MR, NV):
    """The tile that lies at p, rows ``pitch`` floats apart (0: every row the same)."""
    mr, nv = MR.literal_value, NV.literal_value

    def build(b, p, pitch, *_):
        starts = [step(b, p, b.mul(pitch, const(m))) for m in range(mr)]
        return tuple_of([load(b, step(b, start, LANES * j)) for start in starts for j in range(nv)], b)

    return operation(tile_type(mr, nv)(address, index, MR, NV), build)


@intrinsic(prefer_literal=True)
def vadd_rows(typing, tile, p, pitch, NV):
    """The tile plus the one that lies at p."""
    nv = NV.literal_value

    def build(b, tile, p, pitch, _):
        return tuple_of(
            [
                b.fadd(v, load(b, step(b, step(b, p, b.mul(pitch, const(i // nv))), LANES * (i % nv))))
                for i, v in enumerate(members(tile, b))
            ],
            b,
        )

    return operation(tile(tile, address, index, NV), build)


@intrinsic(prefer_literal=True)
def vput(typing, tile, p, pitch, NV):
    """Store the tile at p, rows ``pitch`` floats apart."""
    nv = NV.literal_value

    def build(b, tile, p, pitch, _):
        for i, v in enumerate(members(tile, b)):
            store(b, v, step(b, step(b, p, b.mul(pitch, const(i // nv))), LANES * (i % nv)))

    return operation(void(tile, address, index, NV), build)


@intrinsic(prefer_literal=True)
def vcolumns(typing, tile, NV):
    """The tile's ``16 * NV`` columns as vectors: lane m is row m, zero past the last row (there may be 16)."""
    nv = NV.literal_value

    def build(b, tile, _):
        old = members(tile, b)
        columns = []
        for j in range(nv):
            rows = old[j::nv]
            columns += transpose(b, rows + [ZERO] * (LANES - len(rows)))
        return tuple_of(columns, b)

    return operation(tile_type(LANES, nv)(tile, NV), build)


@intrinsic(prefer_literal=True)
def vput_columns(typing, tile, p, pitch, columns, mask, NV):
    """Store the tile turned: column c < columns as a row of its own, ``pitch`` floats apart, where mask is set."""
    nv = NV.literal_value

    def build(b, tile, p, pitch, columns, mask, _):
        old = members(tile, b)
        done = b.append_basic_block("stored")
        for j in range(nv):
            rows = old[j::nv]
            turned = transpose(b, rows + [ZERO] * (LANES - len(rows)))
            for c in range(LANES):
                more = b.append_basic_block(f"column{c}")
                b.cbranch(b.icmp_signed("<", const(LANES * j + c), columns), more, done)
                b.position_at_end(more)
                masked_store(b, turned[c], step(b, p, b.mul(pitch, const(LANES * j + c))), mask)
        b.branch(done)
        b.position_at_end(done)

    return operation(void(tile, address, index, index, mask16, NV), build)


@intrinsic
def vturn(typing, source, pitch, target, target_pitch, rows, columns):
    """Transpose a block of up to 16 x 16 floats: row r, column c goes to ``target[c * target_pitch + r]``.

    Sixteen floats are written for each column, what lies past ``rows`` being copies of row 0.
    """

    def build(b, source, pitch, target, target_pitch, rows, columns):
        inside = between(b, const(0), columns)
        row = [b.select(b.icmp_signed("<", const(r), rows), const(r), const(0)) for r in range(LANES)]
        turned = transpose(b, [masked_load(b, step(b, source, b.mul(pitch, r)), inside) for r in row])
        done = b.append_basic_block("turned")
        for c in range(LANES):
            more = b.append_basic_block(f"column{c}")
            b.cbranch(b.icmp_signed("<", const(c), columns), more, done)
            b.position_at_end(more)
            store(b, turned[c], step(b, target, b.mul(target_pitch, const(c))))
        b.branch(done)
        b.position_at_end(done)

    return operation(void(address, index, address, index, index, index), build)
