"""Normalization inside one item: by neighbours (LRN), or to mean 0 and variance 1 (MVN)."""

import math
from collections.abc import Sequence
from math import prod

from ..blob import Blob
from ..kernel import kernel, real
from ..layer import Layer
from ..ops.lrn import lrn
from ..ops.shapes import LrnShape
from ..params import Bool, Choice, Float, Int
from ..sums import lanes_for, row_dots, row_moments, row_sums


class LRN(Layer):
    """Local response normalization: each value is divided by a power of its neighbours' energy.

    ``y = x (k + alpha / n sum x^2) ** -beta`` over ``local_size`` channels around it (ACROSS_CHANNELS, n is
    ``local_size``; neighbours that do not exist count as 0), or ``x (1 + alpha / n sum x^2) ** -beta`` over a square in
    its own plane (WITHIN_CHANNEL, n is ``local_size ** 2``, at the border too, and ``k`` has no effect).

    Krizhevsky et al., *ImageNet classification with deep convolutional neural networks*, NIPS 2012.
    """

    per_sample = True
    local_size = Int(5, ge=1, doc="how many channels, or how wide a square; odd")
    alpha = Float(1.0, doc="weight of the neighbours' mean square")
    beta = Float(0.75, doc="the power")
    norm_region = Choice("ACROSS_CHANNELS", "WITHIN_CHANNEL", doc="where the neighbours are")
    k = Float(1.0, doc="what the sum starts from; ACROSS_CHANNELS only")
    engine = Choice("DEFAULT", "CAFFE", "CUDNN", doc="accepted for Caffe's files; changes nothing here")
    backward_needs = frozenset({"bottom"})
    bottom_shapes = ((2, 6, 4, 3),)
    examples = (
        {},
        {"local_size": 3, "alpha": 2, "beta": 0.5, "k": 2, "bottom": [(2, 4, 5)]},
        {"local_size": 3, "alpha": 2, "norm_region": "WITHIN_CHANNEL", "bottom": [(1, 2, 5, 4)]},
    )

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape, needed = bottom[0].shape, 3 if self.norm_region == "WITHIN_CHANNEL" else 2
        if self.local_size % 2 == 0:
            self.fail(f"local_size must be odd, so that it has a middle; got {self.local_size}")
        if len(shape) < needed:
            self.fail(f"{self.norm_region} needs a bottom of at least {needed} axes, got {shape}")
        square = self.norm_region == "WITHIN_CHANNEL"
        images, steps = (prod(shape[:-2]), shape[-2]) if square else shape[:2]
        neighbours, k = self.local_size ** (2 if square else 1), 1.0 if square else self.k
        sizes = (images, steps, prod(shape) // max(images * steps, 1))
        planned = LrnShape(*sizes, self.local_size, square, k, self.alpha / neighbours, self.beta)
        self.op = lrn(planned, self.buffer, self.dtype, self.target)
        return [shape]

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        self.op.forward(bottom[0].data, top[0].data)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if self.propagate_down[0]:
            self.op.backward(bottom[0].data, top[0].diff, bottom[0].diff)


@kernel
def standardize(row, i, x, mean, spread, y, eps, scales):
    deviation = math.sqrt(spread[row] / real(x.shape[1])) + eps
    y[row, i] = (x[row, i] - mean[row]) / (deviation if scales != 0 else 1.0)


@kernel
def standardize_backward(row, i, y, dy, spread, sums, dots, dx, eps, scales):
    count = real(y.shape[1])
    deviation = math.sqrt(spread[row] / count) + eps
    lost = sums[row] + (dots[row] * y[row, i] if scales != 0 else 0.0)
    dx[row, i] = (dy[row, i] - lost / count) / (deviation if scales != 0 else 1.0)


class MVN(Layer):
    """Mean-variance normalization: ``(x - mean) / (deviation + eps)`` of each plane, or of each item as a whole.

    As in Caffe the gradient takes ``eps`` for a part of the deviation, which is right as long as it is small.
    """

    normalize_variance = Bool(True, doc="divide by the standard deviation; if not, subtract the mean only")
    across_channels = Bool(False, doc="one mean and one deviation for all channels of an item")
    eps = Float(1e-9, ge=0, doc="added to the standard deviation")
    inplace = True
    backward_needs = frozenset({"top"})
    examples = ({}, {"across_channels": True}, {"normalize_variance": False, "bottom": [(3, 7)]})

    def setup(self, bottom: Sequence[Blob]) -> list[tuple[int, ...]]:
        shape, axes = bottom[0].shape, 1 if self.across_channels else 2
        if len(shape) < axes:
            self.fail(f"needs a bottom of at least {axes} axes, got {shape}")
        self.rows = (prod(shape[:axes]), prod(shape[axes:]))
        self.lanes, self.mean = self.buffer(lanes_for(self.rows)), self.buffer(self.rows[0])
        self.spread = self.buffer(self.rows[0], keep=True)
        self.sums, self.dots = (self.buffer(self.rows[0]) for _ in range(2))
        return [shape]

    @property
    def numbers(self) -> tuple[float, int]:
        return self.eps, int(self.normalize_variance)

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        x, y = (b.data.reshape(self.rows) for b in (bottom[0], top[0]))
        row_moments[self.rows[0]](x, self.lanes.data, self.mean.data, self.spread.data)
        standardize[self.rows](x, self.mean.data, self.spread.data, y, *self.numbers)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if not self.propagate_down[0]:
            return
        y, dy, dx = (a.reshape(self.rows) for a in (top[0].data, top[0].diff, bottom[0].diff))
        sums, dots = self.sums.data, self.dots.data
        row_sums[self.rows[0]](dy, dy, self.lanes.data, sums)
        row_dots[self.rows[0]](dy, y, self.lanes.data, dots)
        standardize_backward[self.rows](y, dy, self.spread.data, sums, dots, dx, *self.numbers)
