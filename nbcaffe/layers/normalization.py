"""Normalization inside one item: by neighbours (LRN), or to mean 0 and variance 1 (MVN)."""

import math
from collections.abc import Sequence
from math import prod

from ..blob import Blob
from ..kernel import device, kernel, real, team_range
from ..layer import Layer
from ..params import Bool, Choice, Float, Int
from ..sums import lanes_for, row_dots, row_moments, row_sums


@device
def shrink(scale, beta):
    """``scale ** -beta``; roots are six times as fast as exp and log, and 0.75 is what nets have."""
    if beta == 0.75:
        return 1.0 / math.sqrt(scale * math.sqrt(scale))
    return math.exp(-beta * math.log(scale))


@kernel(team=True)
def across(p, x, y, channels, size, k, alpha, beta):
    """One plane; ``y`` first holds the squares of the planes around it."""
    width, c = x.shape[1], p % channels
    for i in team_range(width):
        y[p, i] = 0.0
    for q in range(p - min(c, size // 2), p + min(channels - c, size // 2 + 1)):
        for i in team_range(width):
            y[p, i] += x[q, i] * x[q, i]
    for i in team_range(width):
        y[p, i] = x[p, i] * shrink(k + alpha * y[p, i], beta)


@kernel(team=True)
def across_slopes(p, x, dy, dx, slopes, channels, size, k, alpha, beta):
    """The direct part of the gradient, and what the planes around get of it, without their own value."""
    width, c = x.shape[1], p % channels
    for i in team_range(width):
        dx[p, i] = 0.0
    for q in range(p - min(c, size // 2), p + min(channels - c, size // 2 + 1)):
        for i in team_range(width):
            dx[p, i] += x[q, i] * x[q, i]
    for i in team_range(width):
        scale = k + alpha * dx[p, i]
        dx[p, i] = dy[p, i] * shrink(scale, beta)
        slopes[p, i] = x[p, i] * dx[p, i] / scale


@kernel(team=True)
def across_backward(p, x, slopes, dx, channels, size, factor):
    width, c = x.shape[1], p % channels
    for q in range(p - min(c, size // 2), p + min(channels - c, size // 2 + 1)):
        for i in team_range(width):
            dx[p, i] -= factor * x[p, i] * slopes[q, i]


@kernel
def beside(p, h, a, b, out, reach):
    """Products of ``a`` and ``b`` summed over ``reach`` columns to each side."""
    width = a.shape[2]
    for w in range(width):
        out[p, h, w] = 0.0
    for j in range(2 * reach + 1):
        for w in range(max(0, reach - j), min(width, width + reach - j)):
            out[p, h, w] += a[p, h, w + j - reach] * b[p, h, w + j - reach]


@kernel
def within(p, h, x, sums, y, reach, alpha, beta):
    """One row; ``y`` first holds the squares of the square around each value."""
    _, height, width = x.shape
    for w in range(width):
        y[p, h, w] = 0.0
    for v in range(max(0, h - reach), min(height, h + reach + 1)):
        for w in range(width):
            y[p, h, w] += sums[p, v, w]
    for w in range(width):
        y[p, h, w] = x[p, h, w] * shrink(1.0 + alpha * y[p, h, w], beta)


@kernel
def within_slopes(p, h, sums, dy, dx, slopes, reach, alpha, beta):
    _, height, width = dy.shape
    for w in range(width):
        dx[p, h, w] = 0.0
    for v in range(max(0, h - reach), min(height, h + reach + 1)):
        for w in range(width):
            dx[p, h, w] += sums[p, v, w]
    for w in range(width):
        scale = 1.0 + alpha * dx[p, h, w]
        dx[p, h, w] = dy[p, h, w] * shrink(scale, beta)
        slopes[p, h, w] = dx[p, h, w] / scale


@kernel
def within_backward(p, h, x, sums, dx, reach, factor):
    _, height, width = x.shape
    for v in range(max(0, h - reach), min(height, h + reach + 1)):
        for w in range(width):
            dx[p, h, w] -= factor * x[p, h, w] * sums[p, v, w]


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
        self.planes = (prod(shape[:2]), prod(shape[2:]))
        self.pixels = (prod(shape[:-2]), *shape[-2:])
        self.channels = shape[1]
        self.slopes = self.buffer(bottom[0].count)
        self.sums = self.buffer(bottom[0].count if self.norm_region == "WITHIN_CHANNEL" else 0)
        return [shape]

    @property
    def reach(self) -> int:
        return self.local_size // 2

    def forward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        x, y = bottom[0].data, top[0].data
        if self.norm_region == "ACROSS_CHANNELS":
            numbers = (self.channels, self.local_size, self.k, self.alpha / self.local_size, self.beta)
            across[self.planes[0]](x.reshape(self.planes), y.reshape(self.planes), *numbers)
            return
        x, y, sums = (a.reshape(self.pixels) for a in (x, y, self.sums.data))
        beside[self.pixels[:2]](x, x, sums, self.reach)
        within[self.pixels[:2]](x, sums, y, self.reach, self.alpha / self.local_size**2, self.beta)

    def backward(self, bottom: Sequence[Blob], top: Sequence[Blob]) -> None:
        if not self.propagate_down[0]:
            return
        arrays = (bottom[0].data, top[0].diff, bottom[0].diff, self.slopes.data)
        if self.norm_region == "ACROSS_CHANNELS":
            x, dy, dx, slopes = (a.reshape(self.planes) for a in arrays)
            rows, alpha, window = self.planes[0], self.alpha / self.local_size, (self.channels, self.local_size)
            across_slopes[rows](x, dy, dx, slopes, *window, self.k, alpha, self.beta)
            across_backward[rows](x, slopes, dx, *window, 2.0 * alpha * self.beta)
            return
        x, dy, dx, slopes, sums = (a.reshape(self.pixels) for a in (*arrays, self.sums.data))
        rows, alpha = self.pixels[:2], self.alpha / self.local_size**2  # type: ignore[assignment]
        beside[rows](x, x, sums, self.reach)
        within_slopes[rows](sums, dy, dx, slopes, self.reach, alpha, self.beta)
        beside[rows](x, slopes, sums, self.reach)
        within_backward[rows](x, sums, dx, self.reach, 2.0 * alpha * self.beta)


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
