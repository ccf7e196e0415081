"""DIRECT: matrix products by register tiles.  For hosts; float32; any sizes, also tiny and odd ones."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numba import get_num_threads

from .host import fits, registers
from .shapes import ProductShape
from .specialise import issue, specialise

LANES = 16
LONGEST = 1024  # sums taken at a time: so much of a panel of b stays in the cache
STREAMED = 32  # the same where b is read once and in place, as so many streams
ROWS = 8  # rows that a tile reads in place at a time; a cache may have so many lines for those a multiple of 4 KB apart
FEW, TOGETHER = 4, 8  # rows for which sums along the rows of b win; as in tiles/product_dots.py
COPIED, IN_PLACE, READY = 0, 1, 2  # as in tiles/product.py
EMPTY = np.zeros(0, np.float32)
WIDTHS = (5, 4, 3, 2, 1)  # of tiles, in vectors
ZEROS = np.zeros(WIDTHS[0] * LANES, np.float32)

Array = np.ndarray
Buffer = Callable[..., Any]


def ceil(n: int, d: int) -> int:
    return -(-n // d)


def choose_tile(rows: int, cols: int, most: int = LANES) -> tuple[int, int]:
    """The cheapest tile (MR <= rows, NV) that fits the registers; a multiply-add and a load cost about the same."""
    _, each = registers()

    def price(tile: tuple[int, int]) -> int:
        mr, nv = tile
        return ceil(rows, mr) * ceil(cols, LANES * nv) * (each * mr * nv + mr + each * nv)

    return min(((m, v) for v in WIDTHS for m in range(1, min(rows, most) + 1) if fits(m, v)), key=price)


class Product:
    """``c[rows, cols] = a b``, planned once; ``turned`` operands lie transposed."""

    def __init__(
        self,
        sizes: tuple[int, int, int],
        buffer: Buffer,
        a_turned: bool = False,
        b_turned: bool = False,
        c_turned: bool = False,
    ):
        self.sizes, self.turned, self.threads = sizes, (a_turned, b_turned, c_turned), get_num_threads()
        rows, inner, cols = sizes
        self.finish = 0  # code to run on what is written, or 0
        self.form, self.longest = COPIED, ceil(inner, ceil(inner, LONGEST))
        self.rows_first = not b_turned and inner <= STREAMED  # c is what takes time: write it as it lies
        if c_turned:
            self.mr, self.nv, self.longest = *choose_tile(rows, cols, ROWS), inner
        elif not b_turned and fits(rows, 1):
            self.mr = ceil(rows, ceil(rows, ROWS))
            self.nv = max(v for v in WIDTHS[1:] if fits(self.mr, v)) if rows <= ROWS else 2
            self.form, self.longest, self.rows_first = IN_PLACE, min(STREAMED, inner), False
        else:
            self.mr, self.nv = choose_tile(rows, cols)
            self.form = IN_PLACE if self.rows_first else COPIED
        lanes = LANES * self.nv
        self.a_packed = a_turned and self.form == COPIED and not c_turned
        self.packed = buffer((ceil(rows, self.mr) * self.mr * inner if self.a_packed else 0,))
        self.panels = buffer((self.threads * self.longest * lanes,))
        self.spares = buffer((self.threads * self.mr * lanes,))
        self.few = b_turned and not c_turned and rows <= FEW and cols >= TOGETHER
        self.flipped: Product | None = None
        if b_turned and not c_turned and -rows % LANES + 8 * rows / inner < 8:  # to transpose b would cost 8
            self.flipped = Product((cols, inner, rows), buffer, not b_turned, not a_turned, True)

    def __call__(
        self, a: Array, b: Array, c: Array, bias: Array = EMPTY, *, add: bool = False, start: Array | None = None
    ) -> None:
        """``c = a b + bias``; with ``start`` that plus ``a b``, with ``add`` the same for what c held."""
        first, down, right = (bias, 0, 1) if bias.size else (ZEROS, 0, 0)
        if add or start is not None:
            self.launch(a, b, c, c if start is None else start, self.sizes[2], 1)
        elif self.few and self.form != READY:
            dots = specialise("product_dots").dots
            sizes = *self.sizes, self.threads
            issue(dots, a.reshape(-1), b.reshape(-1), first.reshape(-1), down, right, c.reshape(-1), *sizes)
        elif self.flipped is not None and self.form != READY:
            self.flipped.launch(b, a, c, first, right, down)
        else:
            self.launch(a, b, c, first, down, right)

    def launch(self, a: Array, b: Array, c: Array, start: Array, down: int, right: int) -> None:
        shape = "product_turned_tile" if self.turned[2] else "product_tile"
        code = specialise(shape, MR=self.mr, NV=self.nv).tile.address
        issue(
            specialise("product").product, code, self.finish, self.mr, LANES * self.nv, a.reshape(-1), b.reshape(-1),
            start.reshape(-1), down, right, c.reshape(-1), self.packed.data, self.panels.data, self.spares.data, ZEROS,
            *self.sizes, *self.turned, self.a_packed, self.form, self.longest, self.rows_first, self.threads,
        )  # fmt: skip

    def repeat(self, others: Sequence["Product"], buffer: Buffer) -> None:
        """These products and this one have the same b, which :meth:`prepare` packs once for all of them."""
        _, inner, cols = self.sizes
        lanes = LANES * self.nv
        whole = buffer((ceil(cols, lanes) * inner * lanes,))
        for one in (self, *others):
            one.panels, one.form, one.longest, one.rows_first = whole, READY, inner, False

    def prepare(self, b: Array) -> None:
        _, inner, cols = self.sizes
        pack = specialise("product").pack_panels
        issue(pack, b.reshape(-1), self.panels.data, LANES * self.nv, inner, cols, self.turned[1], self.threads)


class DirectProduct:
    """The engine of the inner product: each direction is one product of natural row-major arrays."""

    def __init__(self, shape: ProductShape, buffer: Buffer, dtype: str = "float32"):
        rows, inner, cols, transpose = shape.rows, shape.inner, shape.cols, shape.transpose
        self.shape = shape
        self.y = Product((rows, inner, cols), partial(buffer, way="forward"), b_turned=not transpose)
        self.dx = Product((rows, cols, inner), partial(buffer, way="data"), b_turned=transpose)
        weights = (inner, rows, cols) if transpose else (cols, rows, inner)
        self.dw = Product(weights, partial(buffer, way="weights"), a_turned=True)

    @staticmethod
    def supports(shape: ProductShape, dtype: str, target: str) -> bool:
        """Float32 on the host."""
        return target == "cpu" and np.dtype(dtype) == np.float32

    def finish(self, code: int) -> bool:
        """Run ``code`` on the output, too, while it is in the cache; False where that is not done."""
        plain = self.y.flipped is None and not self.y.few
        self.y.finish = code if plain else 0
        return plain

    def forward(self, x: Array, w: Array, b: Array | None, y: Array, start: Array | None = None) -> None:
        self.y(x, w, y, EMPTY if b is None else b.reshape(-1), start=start)

    def backward_data(self, dy: Array, w: Array, dx: Array, start: Array | None = None) -> None:
        self.dx(dy, w, dx, start=start)

    def repeat(self, copies: Sequence["DirectProduct"], buffer: Buffer) -> None:
        """The copies have the same weights, and all run one after another between one change of them and the next."""
        self.y.repeat([one.y for one in copies], partial(buffer, way="forward"))
        self.dx.repeat([one.dx for one in copies], partial(buffer, way="data"))

    def backward_weights(self, x: Array, dy: Array, dw: Array, db: Array | None) -> None:
        a, b = (x, dy) if self.shape.transpose else (dy, x)
        self.dw(a, b, dw, add=True)
        if db is not None:
            issue(specialise("product").add_rows, dy.reshape(-1), db.reshape(-1), self.shape.rows)
