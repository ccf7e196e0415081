"""Types and pieces of LLVM code for the intrinsics of :mod:`nbcaffe.ops.simd`; ``b`` is the builder they write to."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import models, register_model

from .host import masks

LANES = 16

I32, I64, F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
VECTOR, MASK = ir.VectorType(F32, LANES), ir.VectorType(ir.IntType(1), LANES)
INDICES, LONGS = ir.VectorType(I32, LANES), ir.VectorType(I64, LANES)
POINTER = F32.as_pointer()
ZERO = ir.Constant(VECTOR, [0.0] * LANES)


class SimdType(types.Type):
    """A Numba type that is one LLVM value, so that it lives in a register."""

    def __init__(self, name: str, llvm: ir.Type):
        super().__init__(name=name)
        self.llvm = llvm


@register_model(SimdType)
class SimdModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: SimdType):
        super().__init__(dmm, fe_type, fe_type.llvm)


vec16 = SimdType("vec16", VECTOR)
mask16 = SimdType("mask16", MASK)
address = SimdType("address", POINTER)
index = types.intp
void = types.void


def const(k: int) -> ir.Constant:
    return ir.Constant(I64, k)


def step(b: ir.IRBuilder, p: ir.Value, k: ir.Value | int) -> ir.Value:
    return b.gep(p, [const(k) if isinstance(k, int) else k], inbounds=True)


def load(b: ir.IRBuilder, p: ir.Value) -> ir.Value:
    vector = b.load(b.bitcast(p, VECTOR.as_pointer()))
    vector.align = 4
    return vector


def store(b: ir.IRBuilder, v: ir.Value, p: ir.Value) -> None:
    b.store(v, b.bitcast(p, VECTOR.as_pointer())).align = 4


def shuffle(b: ir.IRBuilder, x: ir.Value, y: ir.Value, lanes: Iterable[int]) -> ir.Value:
    return b.shuffle_vector(x, y, ir.Constant(INDICES, list(lanes)))


def splat(b: ir.IRBuilder, x: ir.Value, kind: ir.VectorType = VECTOR) -> ir.Value:
    undefined = ir.Constant(kind, ir.Undefined)
    return shuffle(b, b.insert_element(undefined, x, ir.Constant(I32, 0)), undefined, [0] * LANES)


def call(b: ir.IRBuilder, name: str, result: ir.Type, args: Sequence[ir.Value]) -> ir.Value:
    """Call the LLVM intrinsic ``llvm.<name>``."""
    kind = ir.FunctionType(result, [a.type for a in args])
    return b.call(cgutils.get_or_insert_function(b.module, kind, f"llvm.{name}"), args)


def fma(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """x y + z, rounded once where a machine can: elsewhere ``llvm.fma`` would be a call for each lane."""
    return call(b, "fmuladd.v16f32", VECTOR, [x, y, z])


def masked_load(b: ir.IRBuilder, p: ir.Value, mask: ir.Value) -> ir.Value:
    args = [b.bitcast(p, VECTOR.as_pointer()), ir.Constant(I32, 4), mask, ZERO]
    if masks():
        return call(b, "masked.load.v16f32.p0", VECTOR, args)
    with b.if_else(whole(b, mask)) as (if_whole, if_part):
        with if_whole:
            all_lanes, from_whole = load(b, p), b.block
        with if_part:
            some_lanes, from_part = call(b, "masked.load.v16f32.p0", VECTOR, args), b.block
    v = b.phi(VECTOR)
    v.add_incoming(all_lanes, from_whole)
    v.add_incoming(some_lanes, from_part)
    return v


def masked_store(b: ir.IRBuilder, v: ir.Value, p: ir.Value, mask: ir.Value) -> None:
    args = [v, b.bitcast(p, VECTOR.as_pointer()), ir.Constant(I32, 4), mask]
    if masks():
        call(b, "masked.store.v16f32.p0", ir.VoidType(), args)
        return
    with b.if_else(whole(b, mask)) as (if_whole, if_part):
        with if_whole:
            store(b, v, p)
        with if_part:
            call(b, "masked.store.v16f32.p0", ir.VoidType(), args)


def whole(b: ir.IRBuilder, mask: ir.Value) -> ir.Value:
    """Whether a mask has all lanes, so that hosts without masks need no branch for each of them."""
    return b.icmp_unsigned("==", b.bitcast(mask, ir.IntType(LANES)), ir.IntType(LANES)((1 << LANES) - 1))


def between(b: ir.IRBuilder, first: ir.Value, end: ir.Value) -> ir.Value:
    numbers = ir.Constant(INDICES, list(range(LANES)))
    above = b.icmp_signed(">=", numbers, splat(b, b.trunc(first, I32), INDICES))
    return b.and_(above, b.icmp_signed("<", numbers, splat(b, b.trunc(end, I32), INDICES)))


def fetch(b: ir.IRBuilder, p: ir.Value, write: int = 0) -> None:
    """Ask for the cache line at p."""
    how = [ir.Constant(I32, k) for k in (write, 3, 1)]  # into all caches, data
    call(b, "prefetch.p0", ir.VoidType(), [p, *how])


def fence(b: ir.IRBuilder) -> None:
    """Loads stay on their side: LLVM would hoist those of the next step and spill the tile to make room for them."""
    b.asm(ir.FunctionType(ir.VoidType(), []), "", "~{memory}", [], True)


def transpose(b: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """16 vectors, rows to columns, by four rounds of exchanges between vectors 8, 4, 2 and 1 apart."""
    for apart in (8, 4, 2, 1):
        swapped = list(rows)
        for i in range(LANES):
            if not i & apart:
                x, y = rows[i], rows[i + apart]
                low = [k if not k & apart else LANES + k - apart for k in range(LANES)]
                high = [k + apart if not k & apart else LANES + k for k in range(LANES)]
                swapped[i], swapped[i + apart] = shuffle(b, x, y, low), shuffle(b, x, y, high)
        rows = swapped
    return rows


def operation(sig: Any, build: Callable) -> tuple:
    """What an ``@intrinsic`` returns: the signature, and ``build(builder, *values)`` as code generator."""

    def generate(context: Any, b: ir.IRBuilder, sig: Any, args: tuple) -> ir.Value:
        result = build(b, *args)
        return context.get_dummy_value() if sig.return_type == void else result

    return sig, generate


def tuple_of(values: Sequence[ir.Value], b: ir.IRBuilder) -> ir.Value:
    tile = ir.Constant(ir.ArrayType(VECTOR, len(values)), ir.Undefined)
    for i, value in enumerate(values):
        tile = b.insert_value(tile, value, i)
    return tile


def members(tile: ir.Value, b: ir.IRBuilder) -> list[ir.Value]:
    return [b.extract_value(tile, i) for i in range(tile.type.count)]
