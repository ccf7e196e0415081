"""DIRECT: matrix products by register tiles.  For hosts; float32; any sizes, also tiny and odd ones."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numba import get_num_threads

from .aligned import aligned_zeros
from .host import accumulators
from .shapes import ProductShape
from .specialise import issue, specialise

EMPTY = np.zeros(0, np.float32)
LANES, LONGEST = 16, 512  # LONGEST as in tiles/product.py

Array = np.ndarray
Buffer = Callable[..., Any]


def ceil(n: int, d: int) -> int:
    return -(-n // d)


def choose_tile(rows: int, cols: int) -> tuple[int, int]:
    """One tile for nearly everything, so that a process compiles one: but flat, or filled, where there are few rows."""
    if accumulators() < 26:
        return (6, 1) if rows > 4 else (3, 2)
    if cols <= LANES:
        return 13, 1
    if rows <= 4:
        return 4, 4
    return (ceil(rows, ceil(rows, 13)) if rows <= 52 else 13), 2


@cache
def no_bias(size: int) -> Array:
    """Zeros that every product without a bias starts from."""
    return aligned_zeros(size)


class Product:
    """``c[rows, cols] = a b``, planned once; ``a_turned`` and ``b_turned`` say that the operand lies transposed."""

    def __init__(self, sizes: tuple[int, int, int], buffer: Buffer, a_turned: bool = False, b_turned: bool = False):
        self.sizes, self.turned, self.threads = sizes, (a_turned, b_turned), get_num_threads()
        rows, inner, cols = sizes
        self.mr, self.nv = choose_tile(rows, cols)
        lanes, blocks = LANES * self.nv, ceil(rows, self.mr)
        panels = ceil(cols, lanes)
        self.shares = 1 if panels % self.threads == 0 or panels > 8 * self.threads else min(blocks, self.threads)
        self.packed = buffer((blocks * (ceil(inner, LANES) * LANES * self.mr + LANES),))
        self.panels = buffer((self.threads * LONGEST * lanes,))
        self.spares = buffer((self.threads * ceil(self.mr * lanes, LANES) * LANES,))
        self.bias = buffer(((panels + 1) * lanes,))
        self.ready = False  # the panels hold b

    def __call__(
        self, a: Array, b: Array, c: Array, bias: Array = EMPTY, *, add: bool = False, start: Array | None = None
    ) -> None:
        """``c = a b + bias``; with ``start`` that plus ``a b``, with ``add`` the same for what c held."""
        kernels, code = specialise("product"), specialise("product_tile", MR=self.mr, NV=self.nv).tile.address
        padded = self.bias.data if bias.size else no_bias(self.bias.data.size)
        if bias.size:
            issue(kernels.pad_bias, bias, padded)
        first = c if start is None else start
        issue(
            kernels.product, code, self.mr, LANES * self.nv, a.reshape(-1), b.reshape(-1), padded,
            first.reshape(-1), c.reshape(-1), self.packed.data, self.panels.data, self.spares.data, *self.sizes,
            *self.turned, add or start is not None, self.ready, self.shares, self.threads,
        )  # fmt: skip

    def repeat(self, others: Sequence["Product"], buffer: Buffer) -> None:
        """These products and this one have the same b, which :meth:`prepare` packs once for all of them."""
        _, inner, cols = self.sizes
        lanes = LANES * self.nv
        whole = buffer((ceil(cols, lanes) * inner * lanes,))
        for one in (self, *others):
            one.panels, one.ready = whole, True

    def prepare(self, b: Array) -> None:
        _, inner, cols = self.sizes
        pack = specialise("product").pack_panels
        issue(pack, b.reshape(-1), self.panels.data, LANES * self.nv, inner, cols, self.turned[1], self.threads)


class DirectProduct:
    """The engine of the inner product: each direction is one product of natural row-major arrays."""

    def __init__(self, shape: ProductShape, buffer: Buffer, dtype: str = "float32"):
        rows, inner, cols, transpose = shape.rows, shape.inner, shape.cols, shape.transpose
        self.shape = shape
        self.y = Product((rows, inner, cols), buffer, b_turned=not transpose)
        self.dx = Product((rows, cols, inner), buffer, b_turned=transpose)
        weights = (inner, rows, cols) if transpose else (cols, rows, inner)
        self.dw = Product(weights, buffer, a_turned=True)

    @staticmethod
    def supports(shape: ProductShape, dtype: str, target: str) -> bool:
        """Float32 on the host."""
        return target == "cpu" and np.dtype(dtype) == np.float32

    def forward(self, x: Array, w: Array, b: Array | None, y: Array, start: Array | None = None) -> None:
        self.y(x, w, y, EMPTY if b is None else b.reshape(-1), start=start)

    def backward_data(self, dy: Array, w: Array, dx: Array) -> None:
        self.dx(dy, w, dx)

    def repeat(self, copies: Sequence["DirectProduct"], buffer: Buffer) -> None:
        """The copies have the same weights, and all run one after another between one change of them and the next."""
        self.y.repeat([one.y for one in copies], buffer)
        self.dx.repeat([one.dx for one in copies], buffer)

    def backward_weights(self, x: Array, dy: Array, dw: Array, db: Array | None) -> None:
        a, b = (x, dy) if self.shape.transpose else (dy, x)
        self.dw(a, b, dw, add=True)
        if db is not None:
            issue(specialise("product").add_rows, dy.reshape(-1), db.reshape(-1), self.shape.rows)
