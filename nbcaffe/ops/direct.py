"""DIRECT: convolution without an im2col, by register tiles over the image itself.  For hosts; float32; dilation 1.

Each class below plans one direction when a layer is set up (which tile, how much work space) and then only issues
compiled kernels with fixed arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numba import get_num_threads

from .direct_product import DirectProduct
from .host import fits, registers
from .shapes import ConvShape, ProductShape
from .specialise import issue, specialise

EMPTY = np.zeros(0, np.float32)
LANES = 16
SLACK = 64  # floats behind a work space that whole vectors may touch

Array = np.ndarray
Buffer = Callable[..., Any]


@dataclass(frozen=True)
class Geometry:
    """A 2-D convolution of ``images * groups`` images; ``channels`` and ``outputs`` are those of one group."""

    images: int
    groups: int
    channels: int
    outputs: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]

    @classmethod
    def of(cls, shape: ConvShape) -> "Geometry":
        def axes(values: tuple[int, ...], missing: int) -> tuple[int, int]:
            return (values[0], values[1]) if len(values) == 2 else (missing, values[0])

        channels, outputs = shape.channels // shape.group, shape.num_output // shape.group
        size = axes(shape.spatial, 1)
        kernel, stride, pad = axes(shape.kernel, 1), axes(shape.stride, 1), axes(shape.pad, 0)
        if kernel == stride == (1, 1) and pad == (0, 0):
            size = (1, prod(size))  # rows do not matter: a tile may run over their ends
        return cls(shape.num, shape.group, channels, outputs, size, kernel, stride, pad)

    @property
    def out(self) -> tuple[int, int]:
        axes = zip(self.size, self.kernel, self.stride, self.pad, strict=True)
        height, width = ((n + 2 * p - k) // s + 1 for n, k, s, p in axes)
        return height, width

    @property
    def taps(self) -> int:
        return self.kernel[0] * self.kernel[1]

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and pitch of an image between its zeros."""
        return self.size[0] + 2 * self.pad[0], self.size[1] + 2 * self.pad[1]

    def transposed(self) -> "Geometry":
        """The convolution that computes the gradient of the data, for stride 1."""
        pad = (self.kernel[0] - 1 - self.pad[0], self.kernel[1] - 1 - self.pad[1])
        return replace(self, channels=self.outputs, outputs=self.channels, size=self.out, pad=pad)


def ceil(n: int, d: int) -> int:
    return -(-n // d)


def cycles(rows: int, vectors: int) -> float:
    """The price of one rank-1 update of a tile: its multiply-adds, or its loads, or their latency."""
    _, each = registers()
    return max(rows * vectors * each, 1.1 * (rows + vectors * each), 8) / each + 0.5


def tiles(most_rows: int = 14, most_vectors: int = 4) -> list[tuple[int, int]]:
    """Tiles (MR, NV) that fit the registers."""
    sizes = [(m, v) for v in range(1, most_vectors + 1) for m in range(1, most_rows + 1)]
    return [(m, v) for m, v in sizes if fits(m, v)]


class Forward:
    """The convolution itself and, with flipped weights, its data gradient for stride 1."""

    def __init__(self, g: Geometry, buffer: Buffer, *, flipped: bool = False):
        self.g, self.flipped, self.threads = g, flipped, get_num_threads()
        self.finish = 0  # code to run on what is written, or 0
        self.price, self.mr, self.nv = min((self.cost(g, *tile), *tile) for tile in tiles())
        self.lanes = LANES * self.nv
        blocks = g.groups * ceil(g.outputs, self.lanes)
        self.weights = buffer((blocks * g.channels * g.taps * self.lanes + SLACK,))
        self.bias = buffer((blocks * self.lanes,))
        rows, pitch = g.padded
        slack = SLACK + self.mr * g.stride[1] + g.kernel[1]
        self.scratch = buffer((self.threads * ceil(g.channels * rows * pitch + slack, LANES) * LANES,))

    @staticmethod
    def cost(g: Geometry, mr: int, nv: int) -> float:
        steps = sum(
            max(0, min(g.kernel[0], g.size[0] + g.pad[0] - oy * g.stride[0]) - max(0, g.pad[0] - oy * g.stride[0]))
            for oy in range(g.out[0])
        )
        store = 240 * nv * g.out[0]  # each channel is another page
        per_tile = steps * g.kernel[1] * g.channels * cycles(mr, nv) + store
        return g.images * g.groups * ceil(g.out[1], mr) * ceil(g.outputs, LANES * nv) * per_tile

    def __call__(self, x: Array, w: Array, b: Array | None, y: Array) -> None:
        g, packing = self.g, specialise("conv_pack")
        weights, bias, scratch = self.weights.data, self.bias.data, self.scratch.data
        if self.flipped:
            issue(packing.pack_flipped, flat(w), weights, g.groups, g.channels, g.outputs, g.taps, self.lanes)
        else:
            issue(packing.pack, flat(w), weights, g.groups, g.outputs, g.channels * g.taps, self.lanes)
        issue(packing.pack_bias, EMPTY if b is None else flat(b), bias, g.groups, g.outputs, self.lanes)
        code = specialise("forward_tile", MR=self.mr, NV=self.nv, KW=g.kernel[1], S=g.stride[1]).image.address
        issue(
            specialise("conv_forward").forward, code, self.finish, self.lanes, flat(x), weights, bias, flat(y), scratch,
            g.images, g.groups, g.channels, *g.size, g.outputs, *g.out, *g.kernel, *g.stride, *g.pad, *g.padded,
            self.threads,
        )  # fmt: skip


class Columns:
    """The data gradient for any stride: a product for a few channels at a time, then a gather."""

    def __init__(self, g: Geometry, buffer: Buffer):
        self.g, self.threads = g, get_num_threads()
        self.together = min(g.channels, ceil(12, g.taps))
        rows = self.together * g.taps
        self.price, self.mr, self.nv = min((self.cost(g, rows, *tile), *tile) for tile in tiles() if tile[0] <= rows)
        lanes = LANES * self.nv
        blocks = ceil(prod(g.out), lanes)
        self.panels = buffer((self.threads * (blocks * g.outputs * lanes),))
        self.columns = buffer((self.threads * (rows * blocks * lanes + 2 * LANES),))

    @staticmethod
    def cost(g: Geometry, rows: int, mr: int, nv: int) -> float:
        product = ceil(rows, mr) * ceil(prod(g.out), LANES * nv) * (g.outputs * cycles(mr, nv) + 2 * mr * nv)
        gather = 2 * rows * prod(g.size) / prod(g.stride) / LANES
        return g.images * g.groups * g.channels / (rows / g.taps) * (product + gather)

    def __call__(self, dy: Array, w: Array, dx: Array) -> None:
        g = self.g
        product = specialise("columns_tile", MR=self.mr, NV=self.nv).product.address
        gather = specialise("gather_tile", KX=ceil(g.kernel[1], g.stride[1])).gather.address
        issue(
            specialise("conv_columns").backward, product, gather, LANES * self.nv, flat(dy), flat(w), flat(dx),
            self.panels.data, self.columns.data, g.images, g.groups, g.channels, self.together, *g.size, g.outputs,
            *g.out, *g.kernel, *g.stride, *g.pad, self.threads,
        )  # fmt: skip


class Weights:
    """The gradients of weights and bias."""

    # The sums are split into this many parts of images, whatever the number of threads; fewer, where adding up the
    # parts would take as long as reading the operands.
    most_parts = 8
    most_turned = 1 << 16  # floats of the top's diff that are turned at a time: they stay in the cache

    def __init__(self, g: Geometry, buffer: Buffer):
        self.g = g
        self.price, self.taps, self.mr, self.nv = min(self.choices(g))
        lanes = LANES * self.nv
        self.padded_channels = g.channels if self.taps else ceil(g.channels, self.mr) * self.mr
        part = g.groups * ceil(g.outputs, lanes) * self.padded_channels * g.taps * lanes
        read = g.images * g.groups * (g.channels * prod(g.size) + g.outputs * prod(g.out))
        self.parts = max(1, min(g.images, self.most_parts, read // part))
        units = self.parts * g.groups
        self.chunks = min(ceil(get_num_threads(), units), ceil(g.channels, self.mr))
        units *= self.chunks
        rows, pitch = g.padded
        self.sums = buffer((self.parts * part + LANES * lanes,))
        self.bias_sums = buffer((self.parts * g.groups * ceil(g.outputs, lanes) * lanes,))
        self.scratch = buffer((units * ceil(self.padded_channels * rows * pitch + SLACK, LANES) * LANES,))
        self.strip = max(1, min(g.out[0], self.most_turned // (lanes * g.out[1])))
        self.turned = buffer((units * ceil(self.strip * g.out[1], LANES) * LANES * lanes,))

    @staticmethod
    def choices(g: Geometry) -> list[tuple[float, int, int, int]]:
        """(cost, whether rows are taps, MR, NV) of each tile that can do it."""
        found = []
        for mr, nv in tiles():
            blocks = ceil(g.outputs, LANES * nv)
            found.append((ceil(g.channels, mr) * g.taps * blocks * cycles(mr, nv), 0, mr, nv))
            if mr == g.kernel[1]:
                found.append((g.channels * g.kernel[0] * blocks * cycles(mr, nv), 1, mr, nv))
        return found

    def __call__(self, x: Array, dy: Array, dw: Array, db: Array | None) -> None:
        g, kernels = self.g, specialise("conv_weights")
        code = specialise("weights_tile", MR=self.mr, NV=self.nv, TAPS=self.taps, S=g.stride[1]).image.address
        tiles = (g.channels if self.taps else self.padded_channels // self.mr * g.kernel[1]) * g.kernel[0]
        sums, bias_sums = self.sums.data, self.bias_sums.data
        issue(
            kernels.backward, code, LANES * self.nv, tiles, flat(x), flat(dy), sums, bias_sums,
            self.scratch.data, self.turned.data, g.images, g.groups, self.parts, self.chunks, g.channels,
            self.padded_channels, *g.size, g.outputs, *g.out, *g.kernel, g.stride[0], *g.pad, *g.padded,
            self.strip,
        )  # fmt: skip
        issue(
            kernels.reduce, LANES * self.nv, sums, bias_sums, flat(dw), EMPTY if db is None else flat(db), self.parts,
            g.groups, g.outputs, g.channels * g.taps, self.padded_channels * g.taps,
        )  # fmt: skip


def no_buffer(shape: Any, **_: Any) -> None:
    """For an engine of which only the price is asked."""


class DirectConvolution:
    """The engine: plans all three directions, or one product where the kernel covers the whole image."""

    def __init__(self, shape: ConvShape, buffer: Buffer, dtype: str = "float32"):
        g = Geometry.of(shape)
        self.product: DirectProduct | None = None
        if g.groups == 1 and g.kernel == g.size and g.pad == (0, 0):
            inner = shape.channels * prod(shape.spatial)
            self.product = DirectProduct(ProductShape(shape.num, inner, shape.num_output), buffer, dtype)
            return
        self.forward_tiles = Forward(g, partial(buffer, way="forward"))
        self.weight_tiles = Weights(g, partial(buffer, way="weights"))
        self.data_tiles = self.plan_data(g, partial(buffer, way="data"))

    @staticmethod
    def plan_data(g: Geometry, buffer: Buffer) -> Forward | Columns:
        beside = g.stride == (1, 1) and all(p < k for p, k in zip(g.pad, g.kernel, strict=True))
        if beside and (g.taps == 1 or Forward(g.transposed(), no_buffer).price <= Columns(g, no_buffer).price):
            return Forward(g.transposed(), buffer, flipped=True)
        return Columns(g, buffer)

    @staticmethod
    def supports(shape: ConvShape, dtype: str, target: str) -> bool:
        """Float32 on the host, one or two axes, no dilation."""
        plain = len(shape.spatial) in (1, 2) and all(d == 1 for d in shape.dilation)
        return target == "cpu" and np.dtype(dtype) == np.float32 and plain

    def finish(self, code: int) -> bool:
        """Run ``code`` on the output, too, while it is in the cache; False where that is not done."""
        if self.product:
            return False
        self.forward_tiles.finish = code
        return True

    def forward(self, x: Array, w: Array, b: Array | None, y: Array) -> None:
        if self.product:
            self.product.forward(x, w, b, y)
        else:
            self.forward_tiles(x, w, b, y)

    def backward_data(self, dy: Array, w: Array, dx: Array) -> None:
        if self.product:
            self.product.backward_data(dy, w, dx)
        elif isinstance(self.data_tiles, Forward):
            self.data_tiles(dy, w, None, dx)
        else:
            self.data_tiles(dy, w, dx)

    def backward_weights(self, x: Array, dy: Array, dw: Array, db: Array | None) -> None:
        if self.product:
            self.product.backward_weights(x, dy, dw, db)
        else:
            self.weight_tiles(x, dy, dw, db)


def flat(array: Array) -> Array:
    """The array as one axis; never a copy."""
    view = array.reshape(-1)
    assert np.may_share_memory(view, array) or array.size == 0
    return view
