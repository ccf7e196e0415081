"""DEPTHWISE: convolution of each channel with a kernel of its own, as MobileNets have it.  For hosts; float32; 2-D.

There is nothing to sum over but the taps, so what DIRECT puts into a vector's lanes, the output channels of a group, is
one of sixteen.  Here the lanes are 16 windows of a row, as in pooling, and the taps of a row are loads a cell apart
whose masks are the padding: nothing is packed, padded or copied.  A row of cells is read once for all rows of windows
over it, whose sums move through the registers.  The gradient of the data is the same with sums for cells in the place
of sums for windows, and that of the weights has one vector of sums for each tap.  Threads share planes, or channels
where weights gain, so that the order of each sum is one.

Howard et al., *MobileNets: efficient convolutional neural networks for mobile vision applications*, 2017.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numba import get_num_threads

from .aligned import aligned_zeros
from .direct import EMPTY, flat
from .host import masks
from .shapes import ConvShape
from .specialise import issue, specialise

Array = np.ndarray
WIDEST = 7  # kernels and strides are unrolled


class DepthwiseConvolution:
    """The engine."""

    def __init__(self, shape: ConvShape, buffer: Callable[..., Any], dtype: str = "float32"):
        self.shape, self.threads, self.code = shape, get_num_threads(), 0
        self.zeros = aligned_zeros(max(shape.spatial[1], shape.out_spatial[1], shape.channels))  # a row, or biases

    @staticmethod
    def supports(shape: ConvShape, dtype: str, target: str) -> bool:
        """Float32 on the host, two axes, a group for each channel and output, up to 7x7, stride or dilation."""
        able = target == "cpu" and np.dtype(dtype) == np.float32 and masks() and len(shape.spatial) == 2
        fits = max(shape.kernel + shape.stride) <= WIDEST and 1 in (shape.stride[0], shape.dilation[0])
        return able and fits and shape.group == shape.channels == shape.num_output

    def finish(self, code: int) -> bool:
        """Run ``code`` on the output, too, while it is in the cache."""
        self.code = code
        return True

    @property
    def tile(self) -> Any:
        (kh, kw), (sh, sw), (_, dw) = self.shape.kernel, self.shape.stride, self.shape.dilation
        return specialise("depthwise_tile", KH=kh, KW=kw, SH=sh, SW=sw, DW=dw)

    @property
    def sizes(self) -> tuple[int, ...]:
        s = self.shape
        return (s.channels, *s.spatial, *s.out_spatial, prod(s.kernel), s.dilation[0], *s.pad, self.threads)

    def forward(self, x: Array, w: Array, b: Array | None, y: Array) -> None:
        self.each_plane(self.tile.forward, self.code, x, y, w, self.zeros if b is None else flat(b))

    def backward_data(self, dy: Array, w: Array, dx: Array) -> None:
        self.each_plane(self.tile.backward_data, 0, dx, dy, w, self.zeros)

    def each_plane(self, tile: Any, finish: int, cells: Array, windows: Array, w: Array, b: Array) -> None:
        planes = self.shape.num * self.shape.channels
        issue(
            specialise("depthwise").each_plane, tile.address, finish, flat(cells), flat(windows), flat(w), b,
            self.zeros, planes, *self.sizes,
        )  # fmt: skip

    def backward_weights(self, x: Array, dy: Array, dw: Array, db: Array | None) -> None:
        issue(
            specialise("depthwise").each_channel, self.tile.backward_weights.address, flat(x), flat(dy), flat(dw),
            EMPTY if db is None else flat(db), self.zeros, self.shape.num, *self.sizes,
        )  # fmt: skip
