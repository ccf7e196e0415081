"""What an engine needs to know about an operation before it can plan it: sizes, and nothing else."""

from dataclasses import dataclass
from functools import cached_property
from math import prod


@dataclass(frozen=True)
class ConvShape:
    """A convolution: ``(num, channels, *spatial)`` in, ``(num, num_output, *out_spatial)`` out.

    The weights are ``(num_output, channels / group, *kernel)``.
    """

    num: int
    channels: int
    spatial: tuple[int, ...]
    num_output: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    pad: tuple[int, ...]
    dilation: tuple[int, ...]
    group: int = 1

    @cached_property
    def out_spatial(self) -> tuple[int, ...]:
        axes = zip(self.spatial, self.kernel, self.stride, self.pad, self.dilation, strict=True)
        return tuple((size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in axes)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return (self.num_output, self.channels // self.group, *self.kernel)

    @property
    def top_shape(self) -> tuple[int, ...]:
        return (self.num, self.num_output, *self.out_spatial)

    @property
    def bottom_shape(self) -> tuple[int, ...]:
        return (self.num, self.channels, *self.spatial)

    @property
    def multiply_adds(self) -> int:
        return self.num * prod(self.out_spatial) * prod(self.weight_shape)


@dataclass(frozen=True)
class ProductShape:
    """``y[rows, cols] = x[rows, inner] w[cols, inner]^T + b``; with ``transpose`` w is ``[inner, cols]``."""

    rows: int
    inner: int
    cols: int
    transpose: bool = False

    @property
    def weight_shape(self) -> tuple[int, int]:
        return (self.inner, self.cols) if self.transpose else (self.cols, self.inner)

    @property
    def multiply_adds(self) -> int:
        return self.rows * self.inner * self.cols


@dataclass(frozen=True)
class PoolShape:
    """Windows over ``planes`` planes of ``size``, which give planes of ``out``; pairs are (vertical, horizontal)."""

    planes: int
    size: tuple[int, int]
    out: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pad: tuple[int, int]

    @property
    def whole(self) -> bool:
        """Whether there is one window, which is the plane."""
        return self.kernel == self.size and self.out == (1, 1) and self.pad == (0, 0)


@dataclass(frozen=True)
class LrnShape:
    """Local response normalization of ``(images, steps, pixels)``, ``y = x (k + alpha sum x^2) ** -beta``.

    Steps are the channels, or the rows of a plane where a square of ``size`` counts; the other neighbours are ``size``
    channels.
    """

    images: int
    steps: int
    pixels: int
    size: int
    square: bool
    k: float
    alpha: float
    beta: float

    @property
    def reach(self) -> int:
        return self.size // 2

    @property
    def factor(self) -> float:
        """Of what the neighbours' scales take from the gradient."""
        return 2.0 * self.alpha * self.beta
