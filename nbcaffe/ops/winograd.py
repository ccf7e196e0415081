"""WINOGRAD: 3x3 and 5x5 convolution of stride 1 by fewer multiplications.  For hosts; float32; two axes.

Seen as polynomials, 4 outputs of a filter of r taps are a product of values at ``n = r + 3`` numbers: n
multiplications do the work of 4 r, and along both axes 36 do that of 144 (r = 3), 64 that of 400 (r = 5).  Tiles of
inputs, filters and outputs are taken to and from these values, their *spectra*, by additions and a few
multiplications with small constants (:mod:`nbcaffe.ops.cook_toom`).  What is left in between, for each of the n x n
positions, is a matrix product over channels.  The gradient of the data is the same convolution with turned filters;
that of the weights takes the top's diff for the filter and sums over tiles.  Work goes by strips of tiles, few enough
to stay in the cache, and each sum has one order whatever the number of threads.

The price is accuracy: with data and weights of unit variance and up to 512 channels errors stay under ``TOLERANCE``
times the largest value, where DIRECT's stay under 1e-5.  A NaN or an infinity reaches all outputs of the tiles that
see it.

Lavin and Gray, *Fast algorithms for convolutional neural networks*, arXiv 1509.09308 (2015).
"""

from functools import partial
from math import prod

import numpy as np
from numba import get_num_threads

from .direct import EMPTY, LANES, SLACK, Array, Buffer, Geometry, ceil, cycles, flat, tiles
from .shapes import ConvShape
from .specialise import issue, specialise

M = 4  # outputs of a tile along each axis
TOLERANCE = 3e-5
KERNELS = (3, 5)
TILES = 32  # whose spectra are held at a time; half of them where the filters' spectra are small and stay near, too
TILES_SUMMED = 64  # the same for the gradient of the weights
SMALL, SMALL_SUMMED = 1 << 19, 1 << 17  # floats


def floats_apart(count: int) -> int:
    """A distance for rows of ``count`` floats: whole cache lines, and an odd number, which use all of the cache."""
    return (ceil(count, LANES) | 1) * LANES


def choose_tile(rows: int, columns: int) -> tuple[int, int]:
    """The tile (MR, NV) that does a product of this size in the fewest cycles."""
    return min(tiles(), key=lambda tile: ceil(rows, tile[0]) * ceil(columns, LANES * tile[1]) * cycles(*tile))


class Forward:
    """The convolution itself and, with flipped weights, its data gradient."""

    def __init__(self, g: Geometry, buffer: Buffer, *, flipped: bool = False):
        self.g, self.flipped, self.threads = g, flipped, get_num_threads()
        self.finish = 0  # code to run on what is written, or 0
        self.n = M + g.kernel[0] - 1
        down, across = ceil(g.out[0], M), ceil(g.out[1], M)
        strips = g.images * down
        count = TILES // 2 if self.n**2 * g.channels * g.outputs <= SMALL else TILES
        self.together = min(ceil(count, across), ceil(strips * g.groups, self.threads), strips)
        self.mr, self.nv = choose_tile(self.together * across, g.outputs)
        self.lanes = LANES * self.nv
        self.blocks, rows = ceil(g.outputs, self.lanes), ceil(self.together * across, self.mr) * self.mr
        self.pitch, self.sums_pitch = floats_apart(g.channels), floats_apart(self.blocks * self.lanes)
        self.apart, self.sums_apart = floats_apart(rows * self.pitch), floats_apart(rows * self.sums_pitch)
        weights = g.groups * self.blocks * g.channels * self.lanes
        self.filters_apart = floats_apart(weights)
        self.packed = buffer((weights * g.taps + SLACK,))
        self.filters = buffer((self.n**2 * self.filters_apart,))
        self.bias, self.zeros = buffer((g.groups * self.blocks * self.lanes,)), buffer((self.blocks * self.lanes,))
        strip = self.n * (across * M + g.kernel[0]) * LANES + LANES * LANES
        self.strips = buffer((self.threads * strip,))
        self.spectra = buffer((self.threads * self.n**2 * self.apart,))
        self.sums = buffer((self.threads * self.n**2 * self.sums_apart,))

    def __call__(self, x: Array, w: Array, b: Array | None, y: Array) -> None:
        g, packing, kernels = self.g, specialise("conv_pack"), specialise("winograd")
        transforms = specialise("winograd_tile", M=M, R=g.kernel[0])
        packed, filters, bias, zeros = self.packed.data, self.filters.data, self.bias.data, self.zeros.data
        if self.flipped:
            issue(packing.pack_flipped, flat(w), packed, g.groups, g.channels, g.outputs, g.taps, self.lanes)
        else:
            issue(packing.pack, flat(w), packed, g.groups, g.outputs, g.channels * g.taps, self.lanes)
        issue(packing.pack_bias, EMPTY if b is None else flat(b), bias, g.groups, g.outputs, self.lanes)
        issue(packing.pack_bias, EMPTY, zeros, 1, g.outputs, self.lanes)
        issue(
            kernels.filter_spectra, transforms.filters.address, packed, filters, g.groups * self.blocks, g.channels,
            g.taps, self.lanes, self.filters_apart,
        )  # fmt: skip
        product = specialise("winograd_product", MR=self.mr, NV=self.nv).product.address
        issue(
            kernels.forward, transforms.inputs.address, product, transforms.outputs.address, self.finish, self.lanes,
            flat(x), filters, bias, zeros, flat(y), self.strips.data, self.spectra.data, self.sums.data, g.images,
            g.groups, g.channels, *g.size, g.outputs, *g.out, *g.pad, M, self.n, self.together, self.pitch, self.apart,
            self.filters_apart, self.sums_pitch, self.sums_apart, self.threads,
        )  # fmt: skip


class Weights:
    """The gradients of weights and bias."""

    def __init__(self, g: Geometry, buffer: Buffer):
        self.g, self.n = g, M + g.kernel[0] - 1
        down, across = ceil(g.out[0], M), ceil(g.out[1], M)
        count = TILES_SUMMED // 2 if self.n**2 * g.channels * g.outputs <= SMALL_SUMMED else TILES_SUMMED
        self.together = min(ceil(count, across), g.images * down)
        self.mr, self.nv = choose_tile(g.channels, g.outputs)
        self.lanes = LANES * self.nv
        outputs, count = ceil(g.outputs, self.lanes) * self.lanes, self.together * across
        self.pitch, self.diffs_pitch = floats_apart(g.channels), floats_apart(outputs)
        self.apart, self.diffs_apart = floats_apart(count * self.pitch), floats_apart(count * self.diffs_pitch)
        self.products_apart = floats_apart(ceil(g.channels, self.mr) * self.mr * self.diffs_pitch)
        strip = self.n * (across * M + g.kernel[0]) * LANES
        self.strips = buffer((self.together * strip,))
        self.spectra = buffer((self.n**2 * self.apart + SLACK,))
        self.diffs = buffer((self.n**2 * self.diffs_apart,))
        self.products = buffer((self.n**2 * self.products_apart,))
        self.zeros = buffer((outputs,))
        width = ceil(g.outputs, LANES) * LANES
        self.bias_rows, self.bias_sums = buffer((self.together * width,)), buffer((g.groups * width,))
        self.sums = buffer((g.groups * width * g.channels * g.taps + LANES * LANES,))

    def __call__(self, x: Array, dy: Array, dw: Array, db: Array | None) -> None:
        g, weights = self.g, self.g.channels * self.g.taps
        transforms = specialise("winograd_tile", M=M, R=g.kernel[0])
        product = specialise("winograd_product", MR=self.mr, NV=self.nv).product.address
        issue(specialise("conv_pack").pack_bias, EMPTY, self.zeros.data, 1, g.outputs, self.lanes)
        issue(
            specialise("winograd").backward_weights, transforms.inputs.address, transforms.output_diffs.address,
            product, transforms.filter_diffs.address, self.lanes, flat(x), flat(dy), self.zeros.data,
            self.strips.data, self.spectra.data, self.diffs.data, self.products.data, self.sums.data,
            self.bias_rows.data, self.bias_sums.data, g.images, g.groups, g.channels, *g.size, g.outputs, *g.out,
            *g.pad, M, self.n, self.together, self.pitch, self.apart, self.diffs_pitch, self.diffs_apart,
            self.products_apart,
        )  # fmt: skip
        issue(
            specialise("conv_weights").reduce, LANES, self.sums.data, self.bias_sums.data, flat(dw),
            EMPTY if db is None else flat(db), 1, g.groups, g.outputs, weights, weights,
        )  # fmt: skip


class WinogradConvolution:
    """The engine: plans all three directions."""

    def __init__(self, shape: ConvShape, buffer: Buffer, dtype: str = "float32"):
        self.shape, g = shape, Geometry.of(shape)
        self.forward_tiles = Forward(g, partial(buffer, way="forward"))
        self.weight_tiles = Weights(g, partial(buffer, way="weights"))
        self.data_tiles = Forward(g.transposed(), partial(buffer, way="data"), flipped=True)

    @staticmethod
    def supports(shape: ConvShape, dtype: str, target: str) -> bool:
        """Float32 on the host, kernels of 3x3 or 5x5, stride 1, no dilation."""
        small = len(shape.kernel) == 2 and shape.kernel[0] == shape.kernel[1] and shape.kernel[0] in KERNELS
        ones = prod(shape.stride) == prod(shape.dilation) == 1
        return target == "cpu" and np.dtype(dtype) == np.float32 and small and ones

    @staticmethod
    def pays(shape: ConvShape) -> bool:
        """Enough channels to fill vectors in each direction, enough tiles to pay for the filters' transform."""
        channels = min(shape.channels, shape.num_output) // shape.group
        narrowest, least = {3: (32, 32), 5: (16, 128)}[shape.kernel[0]]  # measured: docs/decisions.md
        return channels >= narrowest and shape.num * prod(ceil(size, M) for size in shape.out_spatial) >= least

    def finish(self, code: int) -> bool:
        """Run ``code`` on the output, too, while it is in the cache; False where that is not done."""
        self.forward_tiles.finish = code
        return True

    def forward(self, x: Array, w: Array, b: Array | None, y: Array) -> None:
        self.forward_tiles(x, w, b, y)

    def backward_data(self, dy: Array, w: Array, dx: Array) -> None:
        self.data_tiles(dy, w, None, dx)

    def backward_weights(self, x: Array, dy: Array, dw: Array, db: Array | None) -> None:
        self.weight_tiles(x, dy, dw, db)
