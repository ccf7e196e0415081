"""More words for ``vec16``: arithmetic in operators, choices by mask, vectors of integers, a window that slides."""

import operator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from .llvm import (
    I32,
    INDICES,
    LANES,
    VECTOR,
    ZERO,
    SimdType,
    address,
    call,
    const,
    fetch,
    fma,
    index,
    mask16,
    masked_load,
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

ints16 = SimdType("ints16", INDICES)
RAMP = ir.Constant(INDICES, list(range(LANES)))
NONE = ir.Constant(INDICES, [-1] * LANES)


def operate(symbol: Any, instruction: str) -> None:
    """Let ``symbol`` join two vectors."""

    @infer_global(symbol)
    class VectorOperator(ConcreteTemplate):
        cases = [signature(vec16, vec16, vec16)]

    @lower_builtin(symbol, vec16, vec16)
    def lower(context: Any, b: ir.IRBuilder, sig: Any, args: tuple) -> ir.Value:
        return getattr(b, instruction)(*args)


for symbol, instruction in {"add": "fadd", "sub": "fsub", "mul": "fmul", "truediv": "fdiv"}.items():
    operate(getattr(operator, symbol), instruction)


@intrinsic
def vsplat(typing, x):
    """16 times the number x."""
    return operation(vec16(types.float32), splat)


@intrinsic
def vfma(typing, x, y, z):
    """x * y + z."""
    return operation(vec16(vec16, vec16, vec16), fma)


@intrinsic
def vsqrt(typing, x):
    """The square root in each lane."""
    return operation(vec16(vec16), lambda b, x: call(b, "sqrt.v16f32", VECTOR, [x]))


@intrinsic
def vbeats(typing, x, y):
    """The lanes where x is larger than y, or a NaN."""

    def build(b, x, y):
        return b.or_(b.fcmp_ordered(">", x, y), b.fcmp_unordered("uno", x, x))

    return operation(mask16(vec16, vec16), build)


@intrinsic
def vchoose(typing, mask, x, y):
    """x where the mask is set, else y."""
    return operation(vec16(mask16, vec16, vec16), lambda b, *args: b.select(*args))


@intrinsic
def isplat(typing, k):
    """16 times the integer k."""
    return operation(ints16(index), spread)


@intrinsic
def ichoose(typing, mask, n, m):
    """n where the mask is set, else m."""
    return operation(ints16(mask16, ints16, ints16), lambda b, *args: b.select(*args))


@intrinsic
def iramp(typing, first, S):
    """first, first + S, first + 2 S, ..."""
    return operation(ints16(index, index), ramp)


@intrinsic
def istart(typing, first, S):
    """How far lane k, which starts at cell ``first + k S``, is from its first cell that is not below 0."""

    def build(b, first, S):
        cells = ramp(b, first, S)
        below = b.icmp_signed("<", cells, spread(b, const(0)))
        return b.select(below, b.neg(cells), spread(b, const(0)))

    return operation(ints16(index, index), build)


@intrinsic
def iadd(typing, n, m):
    """n + m in each lane."""
    return operation(ints16(ints16, ints16), lambda b, n, m: b.add(n, m))


@intrinsic
def istm(typing, p, n, mask):
    """Store the lanes of n where mask is set, as 32-bit integers."""

    def build(b, p, n, mask):
        masked_store(b, b.bitcast(n, VECTOR), p, mask)

    return operation(void(address, ints16, mask16), build)


def spread(b: ir.IRBuilder, k: ir.Value) -> ir.Value:
    return splat(b, b.trunc(k, I32), INDICES)


def ramp(b: ir.IRBuilder, first: ir.Value, stride: ir.Value) -> ir.Value:
    return b.add(spread(b, first), b.mul(RAMP, spread(b, stride)))


# -- a window that slides ---------------------------------------------------------------------------------------------


@intrinsic
def vpush(typing, window, v):
    """The window without its oldest vector, with v as its newest."""

    def build(b, window, v):
        return tuple_of([*members(window, b)[1:], v], b)

    return operation(window(window, vec16), build)


@intrinsic
def vdots(typing, tile, v, p, pitch, ahead, mask):
    """Row m of a tile of one vector gains v times the 16 floats at ``p + m * pitch``; the line ``ahead`` is fetched."""

    def build(b, tile, v, p, pitch, ahead, mask):
        out = []
        for m, acc in enumerate(members(tile, b)):
            row = step(b, p, b.mul(pitch, const(m)))
            fetch(b, step(b, row, ahead))
            out.append(fma(b, v, masked_load(b, row, mask), acc))
        return tuple_of(out, b)

    return operation(tile(tile, vec16, address, index, index, mask16), build)


@intrinsic
def vtotal(typing, window):
    """The sum of the window's vectors, the oldest first."""

    def build(b, window):
        total, *rest = members(window, b)
        for v in rest:
            total = b.fadd(total, v)
        return total

    return operation(vec16(window), build)


@intrinsic
def vmiddle(typing, window):
    """The vector in the middle of the window."""
    return operation(vec16(window), lambda b, window: members(window, b)[window.type.count // 2])


@intrinsic(prefer_literal=True)
def vbeside(typing, v, SIZE):
    """The sum of the SIZE lanes around each lane, the leftmost first; lanes that do not exist count as 0."""
    reach = SIZE.literal_value // 2

    def build(b, v, _):
        # a shuffle's numbers 0 to 15 are zeros here, the rest are v's lanes
        numbers = [[LANES + k if 0 <= k < LANES else 0 for k in range(d, d + LANES)] for d in range(-reach, reach + 1)]
        total, *rest = (shuffle(b, ZERO, v, lanes) for lanes in numbers)
        for other in rest:
            total = b.fadd(total, other)
        return total

    return operation(vec16(vec16, SIZE), build)


@intrinsic
def vstream(typing, p, v):
    """Store v at p, which a cache line begins at, past the caches: memory is not read first."""

    def build(b, p, v):
        b.store(v, b.bitcast(p, VECTOR.as_pointer())).set_metadata("nontemporal", b.module.add_metadata([I32(1)]))

    return operation(void(address, vec16), build)


@intrinsic
def vclaim(typing, p):
    """Ask for the cache line at p, which is going to be written; see :func:`simd.vfetch`."""
    return operation(void(address), lambda b, p: fetch(b, p, write=1))
