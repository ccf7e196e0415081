"""The matrices of fast convolution along one axis, and the intrinsic that applies them to a tile of vectors.

F(m, r) gives m neighbouring outputs of a filter of r taps by ``n = m + r - 1`` multiplications instead of m r: ``y =
A^T [(G g) * (B^T d)]``, where d are the n inputs under them.  Polynomials stand behind it: G evaluates the filter at
n - 1 numbers and at infinity, A^T and B^T are the transposes of evaluation and interpolation (Toom and Cook;
Winograd, *Arithmetic complexity of computations*, 1980).  All numbers but 0 and infinity come in pairs +-p, whose
rows differ in each other sign only: half of the work is shared.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any

from llvmlite import ir
from numba.extending import intrinsic

from .llvm import LANES, VECTOR, fma, members, operation, tuple_of
from .simd import tile_type

POINTS = {
    6: (Fraction(0), Fraction(1), Fraction(-1), Fraction(2), Fraction(-2)),
    8: (Fraction(0), Fraction(1), Fraction(-1), Fraction(2), Fraction(-2), Fraction(1, 2), Fraction(-1, 2)),
}

Matrix = list[list[Fraction]]


def polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """The coefficients of the product of all ``x - root``, constant first."""
    found = [Fraction(1)]
    for root in roots:
        found = [up - root * same for up, same in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)]
    return found


@cache
def matrices(m: int, r: int) -> dict[str, Matrix]:
    """``A^T`` (m x n) under A, ``G`` (n x r) under G and ``B^T`` (n x n) under B, exact."""
    points = POINTS[m + r - 1]
    others = [[q for q in points if q != p] for p in points]
    scale = [sum(c * p**i for i, c in enumerate(polynomial(rest))) for p, rest in zip(points, others, strict=True)]
    g = [[p**i / s for i in range(r)] for p, s in zip(points, scale, strict=True)]
    a = [[p**i for p in points] + [Fraction(int(i == m - 1))] for i in range(m)]
    b = [[*polynomial(rest), Fraction(0)] for rest in others]
    return {"A": a, "G": [*g, [Fraction(int(i == r - 1)) for i in range(r)]], "B": [*b, polynomial(points)]}


def combine(b: ir.IRBuilder, factors: Sequence[Fraction], values: Sequence[ir.Value]) -> ir.Value:
    """The sum of factor times value; a factor of 1 comes first, for it needs no product."""
    total = None
    for factor, value in sorted(zip(factors, values, strict=True), key=lambda term: term[0] != 1):
        if factor == 0:
            continue
        constant = ir.Constant(VECTOR, [float(factor)] * LANES)
        if total is None:
            total = value if factor == 1 else b.fmul(constant, value)
        elif abs(factor) == 1:
            total = b.fadd(total, value) if factor == 1 else b.fsub(total, value)
        else:
            total = fma(b, constant, value, total)
    return total


def rows_in_pairs(b: ir.IRBuilder, matrix: Matrix, v: Sequence[ir.Value]) -> list[ir.Value]:
    """``matrix @ v`` for B^T and G: the row of -p is that of p with each other sign changed."""
    found = [combine(b, matrix[0], v)]
    for row in matrix[1:-1:2]:
        even, odd = combine(b, row[::2], v[::2]), combine(b, row[1::2], v[1::2])
        found += [b.fadd(even, odd), b.fsub(even, odd)]
    return [*found, combine(b, matrix[-1], v)]


def columns_in_pairs(b: ir.IRBuilder, matrix: Matrix, v: Sequence[ir.Value]) -> list[ir.Value]:
    """``matrix @ v`` for A^T: the columns of p and -p are the same in even rows, opposite in odd ones."""
    plus, minus = v[1:-1:2], v[2:-1:2]
    sums = [b.fadd(x, y) for x, y in zip(plus, minus, strict=True)]
    differences = [b.fsub(x, y) for x, y in zip(plus, minus, strict=True)]
    return [
        combine(b, [row[0], *row[1:-1:2], row[-1]], [v[0], *(differences if i % 2 else sums), v[-1]])
        for i, row in enumerate(matrix)
    ]


@intrinsic(prefer_literal=True)
def vsandwich(typing, tile, NAME, M, R):
    """``T x T^T``: x is the tile as a square matrix of vectors, T one of the matrices of F(M, R)."""
    matrix = matrices(M.literal_value, R.literal_value)[NAME.literal_value]
    apply: Any = columns_in_pairs if NAME.literal_value == "A" else rows_in_pairs
    size = len(matrix[0])

    def build(b, tile, *_):
        x = members(tile, b)
        rows = [apply(b, matrix, x[i : i + size]) for i in range(0, size * size, size)]
        columns = [apply(b, matrix, column) for column in zip(*rows, strict=True)]
        return tuple_of([v for row in zip(*columns, strict=True) for v in row], b)

    return operation(tile_type(len(matrix), len(matrix))(tile, NAME, M, R), build)
