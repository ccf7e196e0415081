"""BLAS: NumPy's own matrix products, and an im2col in front of them for convolution.

For hosts; float32 and float64; up to three axes, any dilation.  Slower than DIRECT where both can be used.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ..kernel import launch
from ..threads import one_blas_thread
from .shapes import ConvShape, ProductShape
from .specialise import issue, specialise

Array = np.ndarray
Buffer = Callable[..., Any]
FLOATS = ("float32", "float64")


class BlasConvolution:
    """One image after the other: columns, then a product per group."""

    def __init__(self, shape: ConvShape, buffer: Buffer, dtype: str = "float32"):
        self.shape = shape
        self.inner, self.pixels = prod(shape.weight_shape[1:]), prod(shape.out_spatial)
        columns = shape.channels * prod(shape.kernel) * self.pixels
        self.columns = buffer((columns,), dtype)
        self.sum = buffer((prod(shape.weight_shape),), dtype, way="weights")
        axes = (shape.spatial, shape.out_spatial, shape.kernel, shape.stride, shape.pad, shape.dilation)
        missing = 3 - len(shape.spatial)
        self.axes = [np.array((0 if i == 4 else 1,) * missing + a, np.int64) for i, a in enumerate(axes)]

    @staticmethod
    def supports(shape: ConvShape, dtype: str, target: str) -> bool:
        """Floats on the host, one to three axes."""
        return target == "cpu" and np.dtype(dtype).name in FLOATS and 1 <= len(shape.spatial) <= 3

    def parts(self, images: Array, w: Array) -> tuple[Array, Array, Array]:
        """The columns, an output-shaped array's images and the weights, each by group."""
        s = self.shape
        columns = self.columns.data.reshape(s.group, self.inner, self.pixels)
        tops = images.reshape(s.num, s.group, s.num_output // s.group, self.pixels)
        return columns, tops, w.reshape(s.group, s.num_output // s.group, self.inner)

    def unfold(self, x: Array) -> None:
        issue(specialise("im2col").im2col, x.reshape(-1), self.columns.data, self.shape.channels, *self.axes)

    def forward(self, x: Array, w: Array, b: Array | None, y: Array) -> None:
        columns, tops, weights = self.parts(y, w)
        for image, top in zip(x, tops, strict=True):
            self.unfold(image)
            launch(multiply, weights, columns, top)
        if b is not None:
            launch(add_channels, y, b.reshape(1, -1, *[1] * (y.ndim - 2)))

    def backward_data(self, dy: Array, w: Array, dx: Array) -> None:
        columns, tops, weights = self.parts(dy, w)
        for image, top in zip(dx, tops, strict=True):
            launch(multiply, weights.transpose(0, 2, 1), top, columns)
            issue(
                specialise("im2col").col2im, self.columns.data, image.reshape(-1), self.shape.channels, *self.axes
            )  # fmt: skip

    def backward_weights(self, x: Array, dy: Array, dw: Array, db: Array | None) -> None:
        columns, tops, weights = self.parts(dy, dw)
        for image, top in zip(x, tops, strict=True):
            self.unfold(image)
            launch(multiply_add, top, columns.transpose(0, 2, 1), weights, self.sum.data.reshape(weights.shape))
        if db is not None:
            launch(sum_channels, dy.reshape(*dy.shape[:2], -1), db.reshape(-1))


class BlasProduct:
    """The inner product as NumPy has it."""

    def __init__(self, shape: ProductShape, buffer: Buffer, dtype: str = "float32"):
        self.shape = shape
        self.sum = buffer(shape.weight_shape, dtype, way="weights")

    @staticmethod
    def supports(shape: ProductShape, dtype: str, target: str) -> bool:
        """Floats on the host."""
        return target == "cpu" and np.dtype(dtype).name in FLOATS

    def matrices(self, x: Array, w: Array, y: Array) -> tuple[Array, Array, Array]:
        s = self.shape
        w = w.reshape(s.weight_shape)
        return x.reshape(s.rows, s.inner), w if s.transpose else w.T, y.reshape(s.rows, s.cols)

    def forward(self, x: Array, w: Array, b: Array | None, y: Array) -> None:
        x, wt, y = self.matrices(x, w, y)
        launch(multiply, x, wt, y)
        if b is not None:
            launch(add_channels, y, b.reshape(1, -1))

    def backward_data(self, dy: Array, w: Array, dx: Array) -> None:
        dx, wt, dy = self.matrices(dx, w, dy)
        launch(multiply, dy, wt.T, dx)

    def backward_weights(self, x: Array, dy: Array, dw: Array, db: Array | None) -> None:
        x, dwt, dy = self.matrices(x, dw, dy)
        a, b = (x.T, dy) if self.shape.transpose else (dy.T, x)
        launch(multiply_add, a, b, dwt if self.shape.transpose else dwt.T, self.sum.data)
        if db is not None:
            launch(sum_channels, dy[:, :, None], db.reshape(-1))


def multiply(a: Array, b: Array, out: Array) -> None:
    """One thread: OpenBLAS splits sums by the number of its threads, and the bits would depend on it."""
    with one_blas_thread():
        np.matmul(a, b, out=out)


def multiply_add(a: Array, b: Array, out: Array, spare: Array) -> None:
    multiply(a, b, spare)
    out += spare


def add_channels(y: Array, b: Array) -> None:
    y += b


def sum_channels(dy: Array, db: Array) -> None:
    db += dy.sum(axis=(0, 2))
